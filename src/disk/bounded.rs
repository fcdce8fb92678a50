//! Caches with a bound that they never pass. A bound of 0 keeps nothing.
//!
//! Nothing that may wait for a disk happens under a cache's lock: who serves connections takes it, too, and disks share it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter, Weighter};

/// A cache of at most `most` entries.
pub(super) fn by_number<K: Eq + Hash, V: Clone>(most: usize) -> Cache<K, V> {
    // One shard: rounding up for several would pass the bound.
    by_weight(u64::try_from(most).unwrap_or(u64::MAX), most, 1, UnitWeighter)
}

/// A cache of entries that weigh at most `weight` together; about `entries` of them fit. An entry heavier than a
/// shard's part of the weight is not kept.
pub(super) fn by_weight<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone>(
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

/// Takes out the entries of which `is_over` says so; how many. It may wait for a disk: it is asked, and entries are dropped,
/// outside of the cache's lock.
pub(super) fn take_out<K: Eq + Hash + Clone, V>(
    cache: &Cache<K, Arc<V>>,
    is_over: impl Fn(&V) -> bool,
) -> usize {
    let found = cache.iter().map(|(_, entry)| entry).filter(|entry| is_over(entry));
    // Held, so that no other entry has the same address meanwhile.
    let over: HashMap<*const V, Arc<V>> = found.map(|entry| (Arc::as_ptr(&entry), entry)).collect();
    if !over.is_empty() {
        cache.retain(|_, entry| !over.contains_key(&Arc::as_ptr(entry)));
    }
    over.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_asked_and_dropped_outside_of_the_lock() {
        /// Takes the lock when it is dropped.
        struct Entry(std::sync::Weak<Cache<i32, Arc<Self>>>, i32);
        impl Drop for Entry {
            fn drop(&mut self) {
                self.0.upgrade().inspect(|cache| assert!(cache.try_get(&0).is_ok()));
            }
        }
        let cache = Arc::new(by_number(8));
        (0..8).for_each(|n| cache.insert(n, Arc::new(Entry(Arc::downgrade(&cache), n))));
        let is_over = |entry: &Entry| {
            assert!(cache.try_get(&0).is_ok(), "the lock is free");
            entry.1 % 2 == 1
        };
        assert_eq!(take_out(&cache, is_over), 4);
        assert_eq!((cache.len(), cache.get(&2).is_some(), cache.get(&3).is_some()), (4, true, false));
    }

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
