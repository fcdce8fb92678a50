//! The salts that a peer has used, as many as fit a bound.

use std::collections::HashSet;

/// Salts of one generation: what a table of 2048 places takes.
const GENERATION: usize = 1792;

/// The first 8 bytes of the last salts: of the last 1792 at least, of the last 3583 at most.
///
/// Salts that came in a message are remembered in two generations. A full one takes the place of the one before it, whose
/// memory is used anew. A salt that repeats is always noticed while it is remembered. One that does not is taken for a
/// repeated one with a chance of 2^-52, since half a salt and less is kept.
///
/// **Memory** grows with use: none before the first salt, 37 KB at most. The hash has a key of this process, so a peer
/// cannot choose salts that collide.
#[derive(Default)]
pub(super) struct Window {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Window {
    /// Remembers a salt, and says whether it is new.
    pub(super) fn insert(&mut self, salt: &[u8; 16]) -> bool {
        let [start @ .., _, _, _, _, _, _, _, _] = *salt;
        let start = u64::from_be_bytes(start);
        if self.old.contains(&start) || !self.young.insert(start) {
            return false;
        }
        if self.young.len() == GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(n: usize) -> [u8; 16] {
        (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
    }

    #[test]
    fn the_last_salts_are_remembered_however_many_came_before() {
        for count in [1, 2, GENERATION - 1, GENERATION, GENERATION + 1, 2 * GENERATION, 5 * GENERATION + 7] {
            let mut window = Window::default();
            assert!((0..count).all(|n| window.insert(&salt(n))), "{count}: a new one is new");
            for n in count.saturating_sub(GENERATION)..count {
                assert!(!window.insert(&salt(n)), "{count}: {n}");
            }
            assert!(window.insert(&salt(count)), "{count}: the next is new");
        }
    }

    #[test]
    fn memory_grows_with_use_up_to_a_bound() {
        let after = |count: usize| {
            let held = allocation_counter::measure(|| {
                let mut window = Window::default();
                (0..count).for_each(|n| assert!(window.insert(&salt(n))));
                std::mem::forget(window);
            });
            held.bytes_current
        };
        assert_eq!(after(0), 0);
        assert!(after(20) < 1 << 10, "{}", after(20));
        assert!(after(100_000) <= 37_000, "{}", after(100_000));
    }
}
