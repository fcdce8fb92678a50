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
