//! HKDF-SHA256 (RFC 5869), extract and expand in one step.

use ::hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::secret::Secret;

/// Derives `N` bytes from `ikm`; an empty `salt` counts as 32 zero bytes, as the RFC says.
///
/// `info` is given in parts that are hashed one after the other. The pseudorandom key and the state of
/// the hash are wiped.
pub fn derive<const N: usize>(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 yields at most 255 hashes") }

    let (mut prk, hkdf) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    prk.zeroize();
    Secret::fill_with(|out| hkdf.expand_multi_info(info, out)).expect("N was checked against HKDF's bound")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, A.1 and A.3.
    #[test]
    fn matches_the_rfc_with_and_without_salt() {
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let salted: Secret<42> = derive(&[0x0b; 22], &salt, &[&info[..4], &info[4..]]);
        assert_eq!(salted.as_bytes()[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        assert_eq!(salted.as_bytes()[38..], [0x87, 0x18, 0x58, 0x65]);

        let bare: Secret<42> = derive(&[0x0b; 22], &[], &[]);
        assert_eq!(bare.as_bytes()[..8], [0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f]);
        assert_eq!(bare.as_bytes()[38..], [0xb6, 0x1a, 0x96, 0xc8]);
    }
}
