//! DES and two-key triple DES (FIPS 46-3) in CBC mode, in place: ciphers that SASL DIGEST-MD5 has.
//!
//! **Usage limits.** DES can be searched through. Either repeats blocks after some 2^32 of them, 32 GiB under one
//! key, and then shows sums of plaintext (Sweet32). Kept for Spark peers that can do nothing else; policy decides
//! whether they are served.

use cbc::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use des::{Des, TdesEde2};

/// Bytes of a block, and of the IV.
pub const BLOCK: usize = 8;

/// A chain of blocks that is encrypted. Keys and chain are wiped on drop by the library behind it.
pub struct CbcEncryptor(Chain<cbc::Encryptor<Des>, cbc::Encryptor<TdesEde2>>);

/// A chain of blocks that is decrypted. Keys and chain are wiped on drop by the library behind it.
pub struct CbcDecryptor(Chain<cbc::Decryptor<Des>, cbc::Decryptor<TdesEde2>>);

enum Chain<D, T> {
    Single(Box<D>),
    Triple(Box<T>),
}

impl CbcEncryptor {
    /// DES. The lowest bit of each key byte is ignored.
    pub fn single(key: &[u8; 8], iv: &[u8; BLOCK]) -> Self {
        Self(Chain::Single(Box::new(cbc::Encryptor::new(key.into(), iv.into()))))
    }

    /// Triple DES: encrypt with the first 8 bytes, decrypt with the others, encrypt with the first.
    pub fn triple(key: &[u8; 16], iv: &[u8; BLOCK]) -> Self {
        Self(Chain::Triple(Box::new(cbc::Encryptor::new(key.into(), iv.into()))))
    }

    /// Encrypts the next blocks of the chain where they lie.
    ///
    /// # Panics
    ///
    /// When `text` is not whole blocks.
    pub fn apply(&mut self, text: &mut [u8]) {
        match &mut self.0 {
            Chain::Single(chain) => chain.encrypt_blocks(whole_blocks(text)),
            Chain::Triple(chain) => chain.encrypt_blocks(whole_blocks(text)),
        }
    }
}

impl CbcDecryptor {
    /// The other end of [`CbcEncryptor::single`].
    pub fn single(key: &[u8; 8], iv: &[u8; BLOCK]) -> Self {
        Self(Chain::Single(Box::new(cbc::Decryptor::new(key.into(), iv.into()))))
    }

    /// The other end of [`CbcEncryptor::triple`].
    pub fn triple(key: &[u8; 16], iv: &[u8; BLOCK]) -> Self {
        Self(Chain::Triple(Box::new(cbc::Decryptor::new(key.into(), iv.into()))))
    }

    /// Decrypts the next blocks of the chain where they lie.
    ///
    /// # Panics
    ///
    /// When `text` is not whole blocks.
    pub fn apply(&mut self, text: &mut [u8]) {
        match &mut self.0 {
            Chain::Single(chain) => chain.decrypt_blocks(whole_blocks(text)),
            Chain::Triple(chain) => chain.decrypt_blocks(whole_blocks(text)),
        }
    }
}

fn whole_blocks(text: &mut [u8]) -> &mut [Block<Des>] {
    let (blocks, rest) = Block::<Des>::slice_as_chunks_mut(text);
    assert!(rest.is_empty(), "CBC works on whole blocks");
    blocks
}

impl std::fmt::Debug for CbcEncryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CbcEncryptor(redacted)")
    }
}

impl std::fmt::Debug for CbcDecryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CbcDecryptor(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 8] = 0x0123456789abcdef_u64.to_be_bytes();
    const IV: [u8; 8] = 0x1234567890abcdef_u64.to_be_bytes();
    const PLAIN: [u8; 24] = *b"Now is the time for all ";

    /// FIPS 81, table C1.
    #[test]
    fn chains_as_the_standard_does_however_it_is_cut() {
        let mut text = PLAIN;
        let mut encryptor = CbcEncryptor::single(&KEY, &IV);
        let (front, back) = text.split_at_mut(8);
        encryptor.apply(front);
        encryptor.apply(back);
        let expected = [0xe5c7cdde872bf27c_u64, 0x43e934008c389c0f, 0x683788499a7c05f6];
        assert_eq!(text[..], expected.map(u64::to_be_bytes).concat());

        let mut decryptor = CbcDecryptor::single(&KEY, &IV);
        let (front, back) = text.split_at_mut(16);
        decryptor.apply(front);
        decryptor.apply(back);
        assert_eq!(text, PLAIN);
    }

    /// With equal halves the second step undoes the first.
    #[test]
    fn triple_with_one_key_is_single() {
        let key: [u8; 16] = [KEY, KEY].concat().try_into().unwrap();
        let (mut triple, mut single) = (PLAIN, PLAIN);
        CbcEncryptor::triple(&key, &IV).apply(&mut triple);
        CbcEncryptor::single(&KEY, &IV).apply(&mut single);
        assert_eq!(triple, single);
    }

    #[test]
    fn triple_opens_what_it_sealed() {
        let key = 0x01234567_89abcdef_fedcba98_76543210_u128.to_be_bytes();
        let mut text = PLAIN;
        CbcEncryptor::triple(&key, &IV).apply(&mut text);
        assert_ne!(text, PLAIN);
        CbcDecryptor::triple(&key, &IV).apply(&mut text);
        assert_eq!(text, PLAIN);
    }
}
