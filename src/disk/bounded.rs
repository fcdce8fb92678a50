//! Caches with a bound that they never pass. A bound of 0 keeps nothing.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter, Weighter};

/// A cache of at most `most` entries.
pub(super) fn by_number<K: Eq + std::hash::Hash, V: Clone>(most: usize) -> Cache<K, V> {
    // One shard: rounding up for several would pass the bound.
    by_weight(u64::try_from(most).unwrap_or(u64::MAX), most, 1, UnitWeighter)
}

/// A cache of entries that weigh at most `weight` together; about `entries` of them fit. An entry heavier than a
/// shard's part of the weight is not kept.
pub(super) fn by_weight<K: Eq + std::hash::Hash, V: Clone, W: Weighter<K, V> + Clone>(
    weight: u64,
    entries: usize,
    shards: usize,
    weighter: W,
) -> Cache<K, V, W> {
    let options = OptionsBuilder::new()
        .shards(shards)
        .estimated_items_capacity(entries)
        .weight_capacity(weight)
        .build()
        .expect("the two numbers that it asks for are set");
    Cache::with_options(options, weighter, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_is_never_passed_and_a_bound_of_0_keeps_nothing() {
        for most in [0, 1, 4, 100] {
            let cache = by_number(most);
            for n in 0..1000 {
                cache.insert(n, n);
                assert!(cache.len() <= most, "{} of {most}", cache.len());
            }
            assert_eq!(cache.len(), most);
        }
    }
}
