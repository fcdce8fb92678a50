//! Key bytes and shared secrets, which nobody else may read.
//!
//! Both types are wiped when dropped, print as `redacted`, compare in constant time and cannot be
//! cloned. Key bytes lie on the heap, so that moving a [`Secret`] leaves no copy behind.
//! [`crate::auth`] and [`crate::cipher`] are the callers.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes: a session key, a private key, an intermediate of a derivation.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Moves `bytes` to the heap and wipes the argument.
    ///
    /// The caller's own copy, if the array was copied to get here, is the caller's to wipe:
    /// [`Secret::fill_with`] needs no such copy.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// Lets `fill` write the bytes in place.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeroed();
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes. Do not copy them to where nobody wipes.
    pub fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    fn zeroed() -> Self {
        Self(Box::new([0; N]))
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    /// Takes the same time wherever the difference lies.
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(redacted)")
    }
}

/// The text of a shared secret (`spark.authenticate.secret`), as Spark uses it: its UTF-8 bytes, no
/// decoding and no hashing.
///
/// One secret serves many connections: keep it in an [`Arc`](std::sync::Arc).
pub struct AppSecret(Zeroizing<String>);

impl AppSecret {
    /// Takes the text over; it is not copied.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The bytes that key derivation starts from.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether there is no text at all: no protection whatsoever.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for AppSecret {
    /// Takes the same time wherever the difference lies; unequal lengths show.
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for AppSecret {}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_content() {
        let key = Secret::new(*b"sixteen byte key");
        let text = AppSecret::new("open sesame".to_owned());
        assert_eq!(format!("{key:?} {text:?}"), "Secret<16>(redacted) AppSecret(redacted)");
    }

    #[test]
    fn equality_is_of_content() {
        assert_eq!(Secret::new([7; 16]), Secret::new([7; 16]));
        assert_ne!(Secret::new([7; 16]), Secret::new([8; 16]));
        assert_eq!(AppSecret::new("a".into()), AppSecret::new("a".into()));
        assert_ne!(AppSecret::new("a".into()), AppSecret::new("ab".into()));
    }

    #[test]
    fn a_failed_fill_is_no_secret() {
        let failed = Secret::<4>::fill_with(|out| {
            out[0] = 1;
            Err("no entropy")
        });
        assert_eq!(failed, Err("no entropy"));
    }
}
