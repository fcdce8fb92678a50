//! The ciphers of `auth-conf`, and their keys.
//!
//! Source: RFC 2831, sections 2.3 and 2.4; DigestMD5Base.DigestPrivacy of the JDK 17 for the keys of DES.

use std::str::FromStr;

use zeroize::Zeroizing;

use crate::cipher::Role;
use crate::crypto::des::{CbcDecryptor, CbcEncryptor};
use crate::crypto::md5::{self, HmacKey};
use crate::crypto::rc4::Rc4;
use crate::secret::Secret;

named! {
    /// A privacy cipher of DIGEST-MD5, strongest first: the order in which a client prefers them. The names are those
    /// of the challenge.
    SaslCipher {
        /// `3des`: two-key triple DES in CBC mode.
        TripleDes = "3des",
        /// `rc4`: RC4 with a key of 128 bits.
        Rc4 = "rc4",
        /// `des`: DES in CBC mode.
        Des = "des",
        /// `rc4-56`: RC4 with a key of 56 bits.
        Rc4_56 = "rc4-56",
        /// `rc4-40`: RC4 with a key of 40 bits.
        Rc4_40 = "rc4-40",
    }
}

impl SaslCipher {
    /// By the name on the wire.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.name().as_bytes() == name)
    }

    /// Bytes of padding behind a message of `len` bytes.
    pub(super) fn padding(self, len: usize) -> usize {
        match self {
            Self::TripleDes | Self::Des => 8 - (len + MAC) % 8,
            Self::Rc4 | Self::Rc4_56 | Self::Rc4_40 => 0,
        }
    }

    /// Bytes of HA1 that the sealing keys are made of.
    fn strength(self) -> usize {
        match self {
            Self::TripleDes | Self::Rc4 | Self::Des => 16,
            Self::Rc4_56 => 7,
            Self::Rc4_40 => 5,
        }
    }
}

/// Bytes of a MAC, cut short.
pub(super) const MAC: usize = 10;

impl FromStr for SaslCipher {
    type Err = UnknownSaslCipher;

    /// Reads the name, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownSaslCipher> {
        Self::named(name.to_ascii_lowercase().as_bytes()).ok_or_else(|| UnknownSaslCipher(name.to_owned()))
    }
}

/// A cipher that DIGEST-MD5 does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no SASL cipher: use 3des, rc4, des, rc4-56 or rc4-40")]
pub struct UnknownSaslCipher(String);

/// The keys of a sealed connection: one for signing and one for sealing in each direction. Wiped on drop.
#[derive(Debug)]
pub struct SaslKeys {
    cipher: SaslCipher,
    to_server: DirectionKeys,
    to_client: DirectionKeys,
}

#[derive(Debug)]
struct DirectionKeys {
    signing: Secret<{ md5::DIGEST }>,
    sealing: Secret<{ md5::DIGEST }>,
}

impl SaslKeys {
    /// The cipher that they are for.
    pub fn cipher(&self) -> SaslCipher {
        self.cipher
    }

    pub(super) fn derive(cipher: SaslCipher, ha1: &Secret<{ md5::DIGEST }>) -> Self {
        let ha1 = ha1.as_bytes();
        let direction = |signing: &[u8], sealing: &[u8]| DirectionKeys {
            signing: md5::hash(&[ha1, signing]),
            sealing: md5::hash(&[&ha1[..cipher.strength()], sealing]),
        };
        Self {
            cipher,
            to_server: direction(
                b"Digest session key to client-to-server signing key magic constant",
                b"Digest H(A1) to client-to-server sealing key magic constant",
            ),
            to_client: direction(
                b"Digest session key to server-to-client signing key magic constant",
                b"Digest H(A1) to server-to-client sealing key magic constant",
            ),
        }
    }

    /// The keys with which one end signs and seals, and those with which it opens and verifies.
    pub(super) fn into_ends(self, role: Role) -> ((HmacKey, Sealer), (HmacKey, Opener)) {
        let (outbound, inbound) = match role {
            Role::Client => (&self.to_server, &self.to_client),
            Role::Server => (&self.to_client, &self.to_server),
        };
        let out = (HmacKey::new(outbound.signing.as_bytes()), Sealer::new(self.cipher, &outbound.sealing));
        (out, (HmacKey::new(inbound.signing.as_bytes()), Opener::new(self.cipher, &inbound.sealing)))
    }
}

/// Encrypts one direction, from its first token to its last.
pub(super) enum Sealer {
    Cbc(CbcEncryptor),
    Rc4(Rc4),
}

impl Sealer {
    fn new(cipher: SaslCipher, key: &Secret<{ md5::DIGEST }>) -> Self {
        match cipher {
            SaslCipher::TripleDes => Self::Cbc(CbcEncryptor::triple(&triple_des_key(key), des_iv(key))),
            SaslCipher::Des => Self::Cbc(CbcEncryptor::single(&des_key(des_halves(key).0), des_iv(key))),
            SaslCipher::Rc4 | SaslCipher::Rc4_56 | SaslCipher::Rc4_40 => Self::Rc4(Rc4::new(key.as_bytes())),
        }
    }

    pub(super) fn apply(&mut self, text: &mut [u8]) {
        match self {
            Self::Cbc(chain) => chain.apply(text),
            Self::Rc4(stream) => stream.apply(text),
        }
    }
}

/// Decrypts one direction, from its first token to its last.
pub(super) enum Opener {
    Cbc(CbcDecryptor),
    Rc4(Rc4),
}

impl Opener {
    fn new(cipher: SaslCipher, key: &Secret<{ md5::DIGEST }>) -> Self {
        match cipher {
            SaslCipher::TripleDes => Self::Cbc(CbcDecryptor::triple(&triple_des_key(key), des_iv(key))),
            SaslCipher::Des => Self::Cbc(CbcDecryptor::single(&des_key(des_halves(key).0), des_iv(key))),
            SaslCipher::Rc4 | SaslCipher::Rc4_56 | SaslCipher::Rc4_40 => Self::Rc4(Rc4::new(key.as_bytes())),
        }
    }

    pub(super) fn apply(&mut self, text: &mut [u8]) {
        match self {
            Self::Cbc(chain) => chain.apply(text),
            Self::Rc4(stream) => stream.apply(text),
        }
    }
}

/// The IV is the second half of the sealing key, which the second DES key overlaps: so says the RFC.
fn des_iv(key: &Secret<{ md5::DIGEST }>) -> &[u8; 8] {
    key.as_bytes().last_chunk().expect("a key has 16 bytes")
}

/// The 7-byte halves that the two DES keys are made of; two bytes are left over.
fn des_halves(key: &Secret<{ md5::DIGEST }>) -> (&[u8; 7], &[u8; 7]) {
    let (first, rest) = key.as_bytes().split_first_chunk().expect("a key has 16 bytes");
    (first, rest.first_chunk().expect("9 bytes are left"))
}

fn triple_des_key(key: &Secret<{ md5::DIGEST }>) -> Zeroizing<[u8; 16]> {
    let (first, second) = des_halves(key);
    let mut keys = Zeroizing::new([0; 16]);
    keys[..8].copy_from_slice(&*des_key(first));
    keys[8..].copy_from_slice(&*des_key(second));
    keys
}

/// Spreads 56 bits over the upper seven of each byte. The lowest is parity, which DES ignores.
fn des_key(bits: &[u8; 7]) -> Zeroizing<[u8; 8]> {
    let mut wide = Zeroizing::new([0; 8]);
    wide[1..].copy_from_slice(bits);
    let bits = Zeroizing::new(u64::from_be_bytes(*wide));
    for (i, byte) in wide.iter_mut().enumerate() {
        *byte = ((*bits >> (49 - 7 * i)) as u8) << 1;
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: u128) -> Secret<16> {
        Secret::new(bytes.to_be_bytes())
    }

    #[test]
    fn names_read_back_in_any_case() {
        for cipher in SaslCipher::ALL {
            assert_eq!(cipher.to_string().to_uppercase().parse(), Ok(cipher));
        }
        assert!("aes".parse::<SaslCipher>().is_err());
        assert!(SaslCipher::ALL.is_sorted());
    }

    #[test]
    fn keys_are_the_jdks() {
        let keys = SaslKeys::derive(SaslCipher::TripleDes, &key(0x7e4b265d_c6b4716b_cc14b8ed_eefc9987));
        assert_eq!(keys.to_server.signing, key(0x9e94c6d6_017c7582_6f0fe8be_bb9af156));
        assert_eq!(keys.to_client.signing, key(0xc3badc8e_cc163465_232cb9bf_4546973c));
        assert_eq!(keys.to_server.sealing, key(0x28db0028_29d7d68b_c7f4b980_6fc49ac3));
        assert_eq!(keys.to_client.sealing, key(0x5f785bdd_e8707cb2_5abf397e_276bc232));

        for (cipher, ha1, signing, sealing) in [
            (
                SaslCipher::Rc4,
                0x1ae1ca3a_4b43673e_72480b15_12e0af7b,
                0x685481e6_0a9b6f40_50daf502_4d39979c,
                0x9b097673_9700a9c2_bdfd3e64_2ca0186a,
            ),
            (
                SaslCipher::Des,
                0xcd2c659f_4ebc3a51_91bf55c1_0dbc47ac,
                0xef4edcf1_44b4a866_6d37def2_55cd3c1f,
                0x489e1a45_f0963edb_0f78eba3_b8af3266,
            ),
            (
                SaslCipher::Rc4_56,
                0x9b21cc20_a0a57b19_80042216_8a847bfe,
                0x658d1586_a59ba7ed_3fbc097f_cbf43695,
                0x33d2eb6d_25770481_2356e455_0cc6a5e5,
            ),
            (
                SaslCipher::Rc4_40,
                0xc315297a_9b514fb2_6ae5aaf3_2f33f05b,
                0xf38540b6_9733179c_dda7ca90_950fdf19,
                0x515ec370_7391a9aa_aa3ac030_cf130bae,
            ),
        ] {
            let keys = SaslKeys::derive(cipher, &key(ha1));
            assert_eq!(keys.to_server.signing, key(signing), "{cipher}");
            assert_eq!(keys.to_server.sealing, key(sealing), "{cipher}");
        }
    }

    #[test]
    fn des_keys_are_the_jdks_but_for_parity() {
        let keys = triple_des_key(&key(0x28db0028_29d7d68b_c7f4b980_6fc49ac3));
        let expected = 0x296dc104_834f5ead_8ae3fd97_9802bf89_u128.to_be_bytes();
        assert_eq!(*keys, expected.map(|byte| byte & 0xfe));
        assert_eq!(des_iv(&key(0x0123)), &[0, 0, 0, 0, 0, 0, 1, 0x23]);
    }
}
