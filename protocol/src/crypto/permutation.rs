//! AES-128 on single blocks: a permutation of the 128-bit numbers that only a holder of the key can follow, in either
//! direction (FIPS 197).
//!
//! **Usage limits.** Distinct numbers become distinct blocks, always. They look like random blocks up to q^2 / 2^129 for
//! q of them: random blocks would begin to repeat there, and these never do.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// A keyed permutation. Its key schedule is wiped on drop. Numbers are blocks in big-endian order.
pub struct Permutation(Box<Aes128>);

impl Permutation {
    /// The permutation of this key.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(Box::new(Aes128::new(key.into())))
    }

    /// The block in the place of `number`.
    pub fn apply(&self, number: u128) -> [u8; 16] {
        let mut block = number.to_be_bytes().into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// The number in whose place `block` stands.
    pub fn invert(&self, block: [u8; 16]) -> u128 {
        let mut block = block.into();
        self.0.decrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }
}

impl std::fmt::Debug for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permutation(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix C.1.
    #[test]
    fn matches_the_vector_of_the_standard_and_turns_back() {
        let permutation = Permutation::new(&0x00010203_04050607_08090a0b_0c0d0e0f_u128.to_be_bytes());
        let (number, block) =
            (0x00112233_44556677_8899aabb_ccddeeff, 0x69c4e0d8_6a7b0430_d8cdb780_70b4c55a_u128);
        assert_eq!(permutation.apply(number), block.to_be_bytes());
        assert_eq!(permutation.invert(block.to_be_bytes()), number);
    }
}
