//! The salts of AES/GCM: what this end gives out, and what it makes of the peer's.
//!
//! Spark's format has a salt for each message, and says neither who sends a message nor which one it is. Spark draws
//! its salts. Ours look as random, and say both to whoever has the session key:
//!
//! ```text
//! first 16 bytes of a salt    AES-128(K, direction << 64 | number)      direction 0 to the server, 1 to the client
//! K                           HKDF-SHA256(session key, no salt, info = "sealed-shuffle salts")
//! ```
//!
//! So a message of ours that comes back is known by its direction, and between two ends of this crate each message must
//! have the next number: one that is repeated, dropped or moved is refused. Salts of Spark do not turn back into a number
//! with 63 zeros in front, but for a chance of 2^-63 each. They are remembered in a [`Window`], which notices the
//! repeated ones. A salt cannot be exchanged: it makes the key of its message.
//!
//! **Usage limits**: a session key serves one connection, with one of these at each end. Salts of ours never repeat
//! within it, whatever the random source does. 2^64 messages in each direction.

use super::layer::CipherError;
use super::role::Role;
use super::window::Window;
use crate::crypto::hkdf;
use crate::crypto::permutation::Permutation;

/// Bytes of a salt that say what it is: all of it in version 2 sessions, half of it in version 1.
pub(super) const START: usize = 16;

/// The salts of both directions, at one end.
pub(super) struct Salts {
    permutation: Permutation,
    role: Role,
    /// The number of the next message that is sealed.
    next: u64,
    /// The number of the next message of a peer that numbers.
    due: u64,
    /// What peers sent that do not.
    window: Window,
}

impl Salts {
    pub(super) fn new(session_key: &[u8], role: Role) -> Self {
        let key = hkdf::derive(session_key, &[], &[b"sealed-shuffle salts"]);
        Self {
            permutation: Permutation::new(key.as_bytes()),
            role,
            next: 0,
            due: 0,
            window: Window::default(),
        }
    }

    /// Starts the next salt.
    pub(super) fn take(&mut self) -> Result<[u8; START], CipherError> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(CipherError::Failed)?;
        Ok(self.permutation.apply(Position { sender: self.role, number }.encode()))
    }

    /// Judges how the salt of a peer's message starts. An error ends the connection, and so does a message that does not
    /// verify: only then does this remember a salt of someone without the key.
    pub(super) fn admit(&mut self, start: &[u8; START]) -> Result<(), CipherError> {
        match Position::decode(self.permutation.invert(*start)) {
            Some(Position { sender, .. }) if sender == self.role => Err(CipherError::Reflected),
            Some(Position { number, .. }) if number == self.due => {
                self.due = number.saturating_add(1);
                Ok(())
            }
            Some(Position { number, .. }) if number < self.due => Err(CipherError::Replayed),
            Some(Position { number, .. }) => Err(CipherError::Missing { due: self.due, came: number }),
            None if self.window.insert(start) => Ok(()),
            None => Err(CipherError::Replayed),
        }
    }
}

/// A message among all of a connection.
struct Position {
    sender: Role,
    number: u64,
}

impl Position {
    fn encode(&self) -> u128 {
        let direction = match self.sender {
            Role::Client => 0,
            Role::Server => 1,
        };
        direction << 64 | u128::from(self.number)
    }

    /// `None` where it is none, as nearly always with a salt that was drawn.
    fn decode(code: u128) -> Option<Self> {
        let sender = match code >> 64 {
            0 => Role::Client,
            1 => Role::Server,
            _ => return None,
        };
        Some(Self { sender, number: code as u64 })
    }
}
