//! PBKDF2 (RFC 8018, section 5.2) with HMAC, for the handshake of Spark 2.2 to 3.0 alone.
//!
//! **Usage limits.** The work grows with iterations times blocks of output; both come from a peer, so callers bound
//! them first. A secret that is itself random needs no iterations; one that is a word is not saved by 1024 of them.

use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The digest inside the HMAC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Fills `out` from password and salt.
pub fn derive(digest: Digest, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
    match digest {
        Digest::Sha1 => pbkdf2_hmac::<Sha1>(password, salt, iterations, out),
        Digest::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, out),
        Digest::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6070, third vector.
    #[test]
    fn derives_as_the_rfc_does() {
        let mut out = [0; 16];
        derive(Digest::Sha1, b"password", b"salt", 4096, &mut out);
        assert_eq!(out, 0x4b007901_b765489a_bead49d9_26f721d0_u128.to_be_bytes());
    }

    /// RFC 7914, section 11, first vector.
    #[test]
    fn derives_with_sha_256_as_the_rfc_does() {
        let mut out = [0; 16];
        derive(Digest::Sha256, b"passwd", b"salt", 1, &mut out);
        assert_eq!(out, 0x55ac046e_56e3089f_ec1691c2_2544b605_u128.to_be_bytes());
    }
}
