//! MD5 (RFC 1321) and HMAC-MD5 (RFC 2104), for SASL DIGEST-MD5 alone: Spark offers nothing newer there.
//!
//! **Usage limits.** MD5 does not resist collisions. Its uses here need less: a keyed digest of a
//! password, and a message authentication code.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use crate::secret::Secret;

/// Bytes of a digest.
pub const DIGEST: usize = 16;

/// The digest of `parts`, one behind the other. Treated as secret: most of what is hashed here is.
pub fn hash(parts: &[&[u8]]) -> Secret<DIGEST> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    let filled: Result<_, std::convert::Infallible> = Secret::fill_with(|out: &mut [u8; DIGEST]| {
        md5.finalize_into(out.into());
        Ok(())
    });
    match filled {
        Ok(digest) => digest,
        Err(never) => match never {},
    }
}

/// A key, expanded once for all messages. Wiped on drop by the library behind it.
pub struct HmacKey(Hmac<Md5>);

impl HmacKey {
    /// Expands a key.
    pub fn new(key: &[u8; DIGEST]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The tag over `parts`, one behind the other.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; DIGEST] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321, A.5.
    #[test]
    fn hashes_as_the_rfc_does() {
        let expected = 0xc3fcd3d7_6192e400_7dfb496c_ca67e13b_u128.to_be_bytes();
        assert_eq!(hash(&[b"abcdefghijklm", b"", b"nopqrstuvwxyz"]).as_bytes(), &expected);
    }

    /// RFC 2202, section 2, case 1.
    #[test]
    fn authenticates_as_the_rfc_does() {
        let expected = 0x9294727a_3638bb1c_13f48ef8_158bfc9d_u128.to_be_bytes();
        assert_eq!(HmacKey::new(&[0x0b; 16]).tag(&[b"Hi ", b"There"]), expected);
    }
}
