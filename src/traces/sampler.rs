//! Which requests are traced: each with the same chance, whatever it is and whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use sealed_shuffle_transport::random::random_bytes;

/// Decides by chance. Threads share it without a lock.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Of all numbers of 64 bits, those below it are taken; all of them at `None`.
    below: Option<u64>,
    state: AtomicU64,
}

impl Sampler {
    /// Takes the part `rate` of all, from 0 to 1.
    pub(super) fn of(rate: f64) -> Self {
        // Numbers that nobody can foresee, so that no peer picks its requests. Without any the same ones come at each start.
        let seed = random_bytes().map_or(0, u64::from_le_bytes);
        Self { below: (rate < 1.0).then(|| part(rate)), state: AtomicU64::new(seed) }
    }

    /// Whether the next one is taken.
    pub(super) fn takes_next(&self) -> bool {
        match self.below {
            None => true,
            Some(0) => false,
            // The steps of SplitMix64.
            Some(below) => mixed(self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)) < below,
        }
    }
}

/// The part of all numbers of 64 bits.
fn part(rate: f64) -> u64 {
    // A rate below 1 gives less than 2^64, and `as` holds at the ends.
    (rate.max(0.0) * 2_f64.powi(64)) as u64
}

fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: f64, of: usize) -> usize {
        let sampler = Sampler { below: Sampler::of(rate).below, state: AtomicU64::new(7) };
        (0..of).filter(|_| sampler.takes_next()).count()
    }

    #[test]
    fn so_many_are_taken_as_the_rate_says() {
        assert_eq!((taken(0.0, 1000), taken(1.0, 1000)), (0, 1000));
        for (rate, all) in [(0.5, 10_000), (0.01, 100_000)] {
            let (wanted, taken) = (rate * all as f64, taken(rate, all) as f64);
            assert!((taken - wanted).abs() < wanted / 5.0, "{taken} of {wanted}");
        }
    }

    #[test]
    fn nobody_can_tell_which_ones() {
        let draw = || {
            let sampler = Sampler::of(0.5);
            (0..64).map(|_| sampler.takes_next()).collect::<Vec<_>>()
        };
        assert_ne!(draw(), draw());
    }
}
