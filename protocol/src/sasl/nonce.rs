//! The nonce of either end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::random::{Random, RandomError};

/// Characters of a nonce: Base64 of 30 bytes.
pub(super) const NONCE: usize = 40;

/// A nonce as Spark's JVM makes it. Not secret, but never the same twice.
pub(super) fn nonce(random: &mut dyn Random) -> Result<[u8; NONCE], RandomError> {
    let mut raw = [0; NONCE / 4 * 3];
    random.fill(&mut raw)?;
    let mut text = [0; NONCE];
    STANDARD.encode_slice(raw, &mut text).expect("30 bytes are 40 characters of Base64");
    Ok(text)
}
