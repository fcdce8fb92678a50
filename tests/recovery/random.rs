//! Chance that can be repeated: `SEALED_SHUFFLE_SEED` is the seed of another run.

use std::ops::Range;

/// SplitMix64.
pub(crate) struct Chance(u64);

impl Chance {
    /// From the environment, or anew; says which.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("SEALED_SHUFFLE_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given
            .unwrap_or_else(|| u64::from_be_bytes(sealed_shuffle_transport::random::random_bytes().unwrap()));
        eprintln!("the same again: SEALED_SHUFFLE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.within(0..n) == 0
    }
}
