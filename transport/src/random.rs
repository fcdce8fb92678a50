//! The operating system's randomness.

use sealed_shuffle_protocol::crypto::random::{Random, RandomError};

/// Random bytes from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(out).map_err(RandomError::new)
    }
}

/// `N` random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes)?;
    Ok(bytes)
}
