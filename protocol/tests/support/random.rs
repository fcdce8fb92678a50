//! Randomness that tests can repeat.
#![allow(dead_code)] // each test crate uses its part

use sealed_shuffle_protocol::crypto::random::{Random, RandomError};

/// Gives out what it was made with, then fails.
pub(crate) struct Fixed(pub(crate) Vec<u8>);

impl Random for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        if self.0.len() < out.len() {
            return Err(RandomError::new("the fixed bytes are used up"));
        }
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&std::mem::replace(&mut self.0, rest));
        Ok(())
    }
}

/// SplitMix64: never ends, never surprises.
pub(crate) struct Seeded(pub(crate) u64);

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for byte in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }
}
