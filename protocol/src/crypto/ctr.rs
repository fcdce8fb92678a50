//! AES in counter mode with 128, 192 and 256 bit keys and a 128-bit counter (NIST SP 800-38A, section 6.5).
//!
//! Key stream block `n` is AES(key, (IV + n) mod 2^128), big endian. The mode is written here, over the
//! cipher of the `aes` crate, for speed: with counters made and text combined inside the crate's own
//! vector backend a byte costs half of what the general `ctr` crate takes for it. A property test holds
//! it to that crate.
//!
//! **Usage limits.** No position of a key stream may be used twice. Nothing is authenticated.

use aes::cipher::consts::U16;
use aes::cipher::inout::InOut;
use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    ParBlocks,
};
use aes::{Aes128, Aes192, Aes256};
use zeroize::Zeroizing;

/// Bytes of a block, and of the IV.
const BLOCK: usize = 16;

/// A key stream and the position in it. Key schedule and key stream bytes are wiped on drop.
pub struct KeyStream {
    cipher: Cipher,
    /// The block after the one at hand.
    next: u128,
    /// The block at hand; its last `left` bytes are unused.
    block: Zeroizing<[u8; BLOCK]>,
    left: usize,
}

enum Cipher {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl KeyStream {
    /// Starts at `iv` under a 128-bit key.
    pub fn aes_128(key: &[u8; 16], iv: &[u8; BLOCK]) -> Self {
        Self::new(Cipher::Aes128(Box::new(Aes128::new(key.into()))), iv)
    }

    /// Starts at `iv` under a 192-bit key.
    pub fn aes_192(key: &[u8; 24], iv: &[u8; BLOCK]) -> Self {
        Self::new(Cipher::Aes192(Box::new(Aes192::new(key.into()))), iv)
    }

    /// Starts at `iv` under a 256-bit key.
    pub fn aes_256(key: &[u8; 32], iv: &[u8; BLOCK]) -> Self {
        Self::new(Cipher::Aes256(Box::new(Aes256::new(key.into()))), iv)
    }

    fn new(cipher: Cipher, iv: &[u8; BLOCK]) -> Self {
        Self { cipher, next: u128::from_be_bytes(*iv), block: Zeroizing::new([0; BLOCK]), left: 0 }
    }

    /// Adds the next bytes of the stream to `text`: encrypts, or decrypts.
    pub fn apply(&mut self, text: &mut [u8]) {
        let (begun, text) = text.split_at_mut(self.left.min(text.len()));
        self.apply_begun(begun);
        let (whole, rest) = text.split_at_mut(text.len() - text.len() % BLOCK);
        self.apply_whole(whole);
        if !rest.is_empty() {
            let mut block = Zeroizing::new([0; BLOCK]);
            self.apply_whole(&mut *block);
            self.block = block;
            self.left = BLOCK;
            self.apply_begun(rest);
        }
    }

    /// Takes from the block at hand what it still has.
    fn apply_begun(&mut self, text: &mut [u8]) {
        add(text, &self.block[BLOCK - self.left..]);
        self.left -= text.len();
    }

    /// `text` is whole blocks.
    fn apply_whole(&mut self, text: &mut [u8]) {
        let blocks = Blocks { next: &mut self.next, text };
        match &self.cipher {
            Cipher::Aes128(cipher) => cipher.encrypt_with_backend(blocks),
            Cipher::Aes192(cipher) => cipher.encrypt_with_backend(blocks),
            Cipher::Aes256(cipher) => cipher.encrypt_with_backend(blocks),
        }
    }
}

impl std::fmt::Debug for KeyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyStream(redacted)")
    }
}

/// Whole blocks of text that wait for the key stream from `next` on. Runs inside the backend that the
/// processor has, compiled for its instructions.
struct Blocks<'a> {
    next: &'a mut u128,
    text: &'a mut [u8],
}

impl BlockSizeUser for Blocks<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Blocks<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut stream = ParBlocks::<B>::default();
        let mut counters = Counters::<B>::new(*self.next);
        let mut batches = self.text.chunks_exact_mut(stream.len() * BLOCK);
        for batch in &mut batches {
            backend.encrypt_par_blocks(InOut::from((counters.take(), &mut stream)));
            // As one run of bytes: wider sums than block by block.
            add(batch, Block::<B>::cast_slice_to_core(&stream).as_flattened());
        }
        *self.next = counters.next;
        for text in batches.into_remainder().chunks_exact_mut(BLOCK) {
            let mut block: Block<B> = self.next.to_be_bytes().into();
            *self.next = self.next.wrapping_add(1);
            backend.encrypt_block((&mut block).into());
            add(text, &block);
        }
    }
}

/// As many counters as the backend encrypts at once.
struct Counters<B: BlockCipherEncBackend<BlockSize = U16>> {
    blocks: ParBlocks<B>,
    next: u128,
    /// The upper 96 bits of all blocks, where they are the same: then the lower 32 are all
    /// that has to be written for the next batch.
    upper: Option<u128>,
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> Counters<B> {
    #[inline(always)]
    fn new(next: u128) -> Self {
        Self { blocks: ParBlocks::<B>::default(), next, upper: None }
    }

    #[inline(always)]
    fn take(&mut self) -> &ParBlocks<B> {
        let first = self.next;
        self.next = first.wrapping_add(self.blocks.len() as u128);
        let upper = first >> 32;
        let is_uniform = self.next >> 32 == upper;
        if is_uniform && self.upper == Some(upper) {
            let low = first as u32;
            for (block, n) in self.blocks.iter_mut().zip(0..) {
                block[12..].copy_from_slice(&low.wrapping_add(n).to_be_bytes());
            }
        } else {
            for (block, n) in self.blocks.iter_mut().zip(0..) {
                *block = first.wrapping_add(n).to_be_bytes().into();
            }
            self.upper = is_uniform.then_some(upper);
        }
        &self.blocks
    }
}

#[inline(always)]
fn add(text: &mut [u8], stream: &[u8]) {
    for (text, stream) in text.iter_mut().zip(stream) {
        *text ^= stream;
    }
}

#[cfg(test)]
mod tests {
    use ctr::Ctr128BE;
    use ctr::cipher::{KeyIvInit, StreamCipher};
    use proptest::prelude::*;

    use super::*;

    /// NIST SP 800-38A, F.5.1 and F.5.5, first two blocks.
    #[test]
    fn matches_the_vectors_of_nist() {
        let iv = 0xf0f1f2f3_f4f5f6f7_f8f9fafb_fcfdfeff_u128.to_be_bytes();
        let plain = [0x6bc1bee2_2e409f96_e93d7e11_7393172a_u128, 0xae2d8a57_1e03ac9c_9eb76fac_45af8e51];
        let narrow = 0x2b7e1516_28aed2a6_abf71588_09cf4f3c_u128.to_be_bytes();
        let sealed = [0x874d6191_b620e326_1bef6864_990db6ce_u128, 0x9806f66b_7970fdff_8617187b_b9fffdff];
        assert_eq!(two_blocks(KeyStream::aes_128(&narrow, &iv), plain), sealed);

        let mut wide = [0; 32];
        wide[..16].copy_from_slice(&0x603deb10_15ca71be_2b73aef0_857d7781_u128.to_be_bytes());
        wide[16..].copy_from_slice(&0x1f352c07_3b6108d7_2d9810a3_0914dff4_u128.to_be_bytes());
        let sealed = [0x601ec313_775789a5_b7a7f504_bbf3d228_u128, 0xf443e3ca_4d62b59a_ca84e990_cacaf5c5];
        assert_eq!(two_blocks(KeyStream::aes_256(&wide, &iv), plain), sealed);
    }

    fn two_blocks(mut stream: KeyStream, plain: [u128; 2]) -> [u128; 2] {
        plain.map(|block| {
            let mut block = block.to_be_bytes();
            stream.apply(&mut block);
            u128::from_be_bytes(block)
        })
    }

    /// Counters whose lower 32 bits, or all bits, overflow soon: within a batch, at its end, after it.
    fn ivs() -> impl Strategy<Value = u128> {
        let edge =
            prop_oneof![Just(u128::MAX), Just((0xabcd << 32) | 0xffff_ffff), Just(u128::from(u64::MAX))];
        prop_oneof![any::<u128>(), (edge, 0..300_u128).prop_map(|(edge, before)| edge - before)]
    }

    proptest! {
        #[test]
        fn is_the_stream_of_the_ctr_crate_however_it_is_cut(
            key in any::<[u8; 32]>(),
            iv in ivs(),
            pieces in prop::collection::vec(0..3000_usize, 1..8),
        ) {
            let iv = iv.to_be_bytes();
            let narrow: &[u8; 16] = key[..16].try_into().unwrap();
            let middle: &[u8; 24] = key[..24].try_into().unwrap();
            let mut wide = vec![0; pieces.iter().sum()];
            Ctr128BE::<Aes256>::new(&key.into(), &iv.into()).apply_keystream(&mut wide);
            prop_assert_eq!(stream(KeyStream::aes_256(&key, &iv), &pieces), wide);
            let mut expected = vec![0; pieces.iter().sum()];
            Ctr128BE::<Aes192>::new(middle.into(), &iv.into()).apply_keystream(&mut expected);
            prop_assert_eq!(stream(KeyStream::aes_192(middle, &iv), &pieces), expected);
            let mut expected = vec![0; pieces.iter().sum()];
            Ctr128BE::<Aes128>::new(narrow.into(), &iv.into()).apply_keystream(&mut expected);
            prop_assert_eq!(stream(KeyStream::aes_128(narrow, &iv), &pieces), expected);
        }
    }

    fn stream(mut stream: KeyStream, pieces: &[usize]) -> Vec<u8> {
        let mut out = vec![0; pieces.iter().sum()];
        let mut rest = out.as_mut_slice();
        for &piece in pieces {
            let (now, later) = rest.split_at_mut(piece);
            stream.apply(now);
            rest = later;
        }
        out
    }
}
