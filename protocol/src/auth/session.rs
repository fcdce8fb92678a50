//! Which cipher a session uses: configured on a client, recognised on a server.
//!
//! ```text
//! client ─────────────────────────────► Ctr | Gcm
//! server ── Undecided ── first 9 bytes ─► Ctr | Gcm      nothing fits ─► Failed
//! ```
//!
//! Spark's handshake does not say which engine version and cipher follow. A server can tell, since it has
//! nothing to send before the client's first bytes, and since both a frame and a GCM message begin
//! with a length whose upper half is zero. The nine bytes belong to the stream: they are opened again
//! from position 0. Four comparisons with a chance of a wrong match of about 2^-32 each.

use bytes::BytesMut;

use super::session_keys::SessionKeys;
use crate::cipher::{
    CipherError, CtrLayer, EngineVersion, GcmKeySize, GcmLayer, Layer, Layout, Role, Segment, SessionCipher,
    SessionMode,
};
use crate::crypto::ctr::KeyStream;
use crate::crypto::random::Random;
use crate::message::{LENGTH_LEN, MAX_PAYLOAD, MessageKind};

/// Bytes that decide.
const PROBE: usize = 9;

/// The form of a client's first plaintext: the test that tells key streams apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirstBytes {
    /// A frame of Spark's transport that holds a request.
    Frame,
    /// A TLS record of application data: the cipher lies outside TLS. A wrong match has a chance of 2^-26.
    TlsRecord,
}

impl FirstBytes {
    /// Whether a stream can begin so.
    fn fits(self, first: &[u8; PROBE]) -> bool {
        match self {
            Self::Frame => {
                let [length @ .., kind] = first;
                // The length counts itself, and a type byte at least.
                let lengths = LENGTH_LEN as u64 + 1..=LENGTH_LEN as u64 + MAX_PAYLOAD;
                lengths.contains(&u64::from_be_bytes(*length))
                    && MessageKind::from_byte(*kind).is_ok_and(MessageKind::is_request)
            }
            Self::TlsRecord => {
                // Type, version, and what a record holds at most (RFC 8446, section 5.2).
                first[..3] == [23, 3, 3] && u16::from_be_bytes([first[3], first[4]]) <= (16 << 10) + 256
            }
        }
    }
}

/// The AES session of a connection whose handshake is done.
///
/// Client to server runs under `outputIv`, server to client under `inputIv`: the names are the client's.
pub struct AesSession(State);

enum State {
    Undecided(Box<Recognition>),
    Open(SessionMode, Box<dyn Layer>),
    Failed,
}

struct Recognition {
    keys: SessionKeys,
    first: FirstBytes,
    random: Box<dyn Random>,
}

impl AesSession {
    /// A client's session, in the mode that it is configured for.
    pub fn client(keys: SessionKeys, mode: SessionMode, random: Box<dyn Random>) -> Self {
        Self(State::Open(mode, layer(keys, mode, Role::Client, random)))
    }

    /// A server's session, which learns its mode from what the client sends first.
    ///
    /// Until then it cannot seal. It recognises all modes: whether to serve the one found is for the
    /// caller to decide, from [`AesSession::mode`].
    pub fn server(keys: SessionKeys, first: FirstBytes, random: Box<dyn Random>) -> Self {
        Self(State::Undecided(Box::new(Recognition { keys, first, random })))
    }

    /// The mode, once known.
    pub fn mode(&self) -> Option<SessionMode> {
        match &self.0 {
            State::Open(mode, _) => Some(*mode),
            State::Undecided(_) | State::Failed => None,
        }
    }
}

impl Layer for AesSession {
    /// While undecided: no room, and nothing that [`Layer::seal`] would take.
    fn layout(&self) -> Layout {
        match &self.0 {
            State::Open(_, layer) => layer.layout(),
            State::Undecided(_) | State::Failed => Layout::BARE,
        }
    }

    fn mode(&self) -> Option<SessionMode> {
        Self::mode(self)
    }

    fn is_ready(&self) -> bool {
        !matches!(self.0, State::Undecided(_))
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        match &mut self.0 {
            State::Open(_, layer) => layer.seal(segment),
            State::Undecided(_) => Err(CipherError::Undecided),
            State::Failed => Err(CipherError::Failed),
        }
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        if matches!(self.0, State::Undecided(_)) {
            let Some(first) = input.first_chunk::<PROBE>() else {
                return Ok(None);
            };
            self.decide(first)?;
        }
        match &mut self.0 {
            State::Open(_, layer) => layer.open(input),
            State::Undecided(_) | State::Failed => Err(CipherError::Failed),
        }
    }
}

impl AesSession {
    /// From undecided to open, or to failed.
    fn decide(&mut self, first: &[u8; PROBE]) -> Result<(), CipherError> {
        let State::Undecided(undecided) = std::mem::replace(&mut self.0, State::Failed) else {
            return Err(CipherError::Failed);
        };
        let mode = undecided.recognise(first).ok_or(CipherError::Unrecognised)?;
        let Recognition { keys, random, .. } = *undecided;
        self.0 = State::Open(mode, layer(keys, mode, Role::Server, random));
        Ok(())
    }
}

/// The layer of one end in a mode that is known.
fn layer(keys: SessionKeys, mode: SessionMode, role: Role, random: Box<dyn Random>) -> Box<dyn Layer> {
    match (mode.cipher, mode.version) {
        (SessionCipher::Ctr, EngineVersion::V1) => {
            let (outbound, inbound) = counters(&keys, role);
            Box::new(CtrLayer::aes_256(keys.v1(), outbound, inbound))
        }
        (SessionCipher::Ctr, EngineVersion::V2) => {
            let (outbound, inbound) = counters(&keys, role);
            Box::new(CtrLayer::aes_128(keys.v2(), outbound, inbound))
        }
        (SessionCipher::Gcm, EngineVersion::V1) => Box::new(GcmLayer::aes_256(keys.into_v1(), role, random)),
        (SessionCipher::Gcm, EngineVersion::V2) => Box::new(GcmLayer::aes_128(keys.into_v2(), role, random)),
    }
}

/// The initial counters of one end, as (outbound, inbound).
fn counters(keys: &SessionKeys, role: Role) -> (&[u8; 16], &[u8; 16]) {
    match role {
        Role::Client => (keys.output_iv(), keys.input_iv()),
        Role::Server => (keys.input_iv(), keys.output_iv()),
    }
}

impl Recognition {
    /// The strongest mode in which a client can begin so.
    fn recognise(&self, first: &[u8; PROBE]) -> Option<SessionMode> {
        SessionMode::all().rev().find(|mode| self.begins(first, *mode))
    }

    /// Whether a client's stream can begin so in `mode`: GCM shows its header's length in clear, CTR must be deciphered.
    fn begins(&self, first: &[u8; PROBE], mode: SessionMode) -> bool {
        let iv = self.keys.output_iv();
        match (mode.cipher, mode.version) {
            (SessionCipher::Gcm, EngineVersion::V1) => begins_message(first, GcmKeySize::Aes256),
            (SessionCipher::Gcm, EngineVersion::V2) => begins_message(first, GcmKeySize::Aes128),
            (SessionCipher::Ctr, EngineVersion::V1) => {
                self.fits(first, KeyStream::aes_256(self.keys.v1().as_bytes(), iv))
            }
            (SessionCipher::Ctr, EngineVersion::V2) => {
                self.fits(first, KeyStream::aes_128(self.keys.v2().as_bytes(), iv))
            }
        }
    }

    fn fits(&self, first: &[u8; PROBE], mut stream: KeyStream) -> bool {
        let mut plain = *first;
        stream.apply(&mut plain);
        self.first.fits(&plain)
    }
}

/// Whether a GCM message begins so: the upper half of its length is zero, and the header has one length.
fn begins_message(first: &[u8; PROBE], key: GcmKeySize) -> bool {
    first[..4] == [0; 4] && first[8] == key.header_len()
}

impl std::fmt::Debug for AesSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            State::Undecided(undecided) => write!(f, "AesSession({undecided:?})"),
            State::Open(mode, _) => write!(f, "AesSession({mode}, redacted)"),
            State::Failed => f.write_str("AesSession(failed)"),
        }
    }
}

impl std::fmt::Debug for Recognition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recognition").field("first", &self.first).finish_non_exhaustive()
    }
}
