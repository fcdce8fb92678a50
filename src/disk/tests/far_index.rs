//! Indexes that are not kept answer as those that are, and are never read whole.

use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sealed_shuffle_protocol::ids::{MapId, ReduceId};
use sealed_shuffle_transport::region::Region;

use super::fixture::{Fixture, SHUFFLE, SUB_DIRS, app, content, executor, on, replace, text};
use crate::disk::{BlockStore, DiskLimits, LookupError, MapOutput, Proof, Roots};

/// The fixture's files, through a store that keeps no index.
fn far(fixture: &Fixture) -> BlockStore {
    let limits = DiskLimits { kept_index_bytes: 0, ..DiskLimits::default() };
    let store = BlockStore::new(Roots::open([&fixture.root]).unwrap(), limits);
    let dirs = [text(&fixture.dir)];
    store.register(&on(), &app(), &executor(), &dirs, SUB_DIRS, "sort", Proof::Proven).unwrap();
    store
}

fn resolve(store: &BlockStore, map: i64) -> Result<MapOutput, LookupError> {
    store.resolve_map(&on(), &app(), &executor(), SHUFFLE, MapId(map))
}

/// What can be told apart.
fn shown(region: Result<Region, LookupError>) -> Result<(u64, u64), (String, String)> {
    region
        .map(|region| (region.offset(), region.len()))
        .map_err(|error| (error.to_string(), error.spark_text()))
}

#[test]
fn serves_the_worked_example_from_an_index_that_is_not_kept() {
    let fixture = Fixture::new();
    fixture.write_example();
    let store = far(&fixture);
    for _ in 0..2 {
        let output = resolve(&store, 3).unwrap();
        assert_eq!(output.partitions(), 4);
        let block = |reduce| content(&output.block(&on(), ReduceId(reduce)).unwrap());
        assert_eq!([block(0), block(1), block(2), block(3)], [&b"AAAA"[..], b"", b"CCCCC", b"D"]);
        assert_eq!(content(&output.region(&on(), ReduceId(0), ReduceId(4)).unwrap()), b"AAAACCCCCD");
    }
    let counters = store.counters();
    assert_eq!((counters.index_misses, counters.index_hits), (1, 1));
    // Both files were found open.
    assert_eq!((counters.file_misses, counters.file_hits), (2, 2));
}

#[test]
fn two_offsets_are_all_that_is_kept() {
    let fixture = Fixture::new();
    fixture.write_map(1, &vec![&b"x"[..]; 50_000]);
    let output = fixture.resolve(1).unwrap();
    assert_eq!(output.block(&on(), ReduceId(49_999)).unwrap().offset(), 49_999);
    assert_eq!(fixture.store.counters().index_cache_bytes, 8 * 2 + 176);
    fixture.write_map(2, &vec![&b"x"[..]; 8191]);
    fixture.resolve(2).unwrap();
    assert_eq!(fixture.store.counters().index_cache_bytes, 8 * (2 + 8192) + 2 * 176);
}

#[test]
fn rewritten_pair_is_read_anew() {
    let fixture = Fixture::new();
    fixture.write_map(1, &[b"old", b"pair"]);
    let store = far(&fixture);
    let old = resolve(&store, 1).unwrap();
    fixture.write_map(1, &[b"a", b"newer", b"pair"]);
    let output = resolve(&store, 1).unwrap();
    assert_eq!(content(&output.block(&on(), ReduceId(1)).unwrap()), b"newer");
    assert_eq!(store.counters().index_hits, 0);
    // Who found the old pair keeps it.
    assert_eq!(content(&old.block(&on(), ReduceId(1)).unwrap()), b"pair");
}

#[test]
fn index_that_became_shorter_is_changing() {
    let fixture = Fixture::new();
    fixture.write_example();
    let output = resolve(&far(&fixture), 3).unwrap();
    fs::OpenOptions::new().write(true).open(fixture.index_path(3)).unwrap().set_len(16).unwrap();
    assert_eq!(output.block(&on(), ReduceId(0)).unwrap().len(), 4);
    assert!(output.range_now(2, 3).is_none());
    for (start, end) in [(2, 3), (0, 4), (1, 2)] {
        let error = output.range(&on(), start, end).unwrap_err();
        assert!(matches!(error, LookupError::Changing { .. }), "{error}");
    }
}

#[test]
fn index_file_that_is_not_used_is_closed() {
    let fixture = Fixture::new();
    fixture.write_example();
    let store = far(&fixture);
    let output = resolve(&store, 3).unwrap();
    store.sweep(&on(), Instant::now() + Duration::from_secs(3600));
    assert_eq!(store.counters().files_cached, 0);
    // The map output holds its own.
    assert_eq!(store.counters().files_open, 2);
    assert_eq!(content(&output.block(&on(), ReduceId(3)).unwrap()), b"D");
    drop(output);
    assert_eq!(store.counters().files_open, 0);
    assert_eq!(content(&resolve(&store, 3).unwrap().block(&on(), ReduceId(3)).unwrap()), b"D");
}

#[test]
fn every_range_of_an_index_in_order_is_the_same_both_ways() {
    let fixture = Fixture::new();
    let store = far(&fixture);
    let partition = proptest::collection::vec(any::<u8>(), 0..4);
    let ranges = proptest::collection::vec((-2..14i64, -2..14i64), 1..20);
    proptest!(ProptestConfig::with_cases(64), |(
        partitions in proptest::collection::vec(partition, 0..12),
        tail in 0..8usize, has_data in prop::bool::weighted(0.9), ranges in ranges,
    )| {
        fixture.write_map(1, &partitions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut index = fs::read(fixture.index_path(1)).unwrap();
        index.extend(vec![7; tail]);
        replace(&fixture.index_path(1), &index);
        if !has_data {
            fs::remove_file(fixture.data_path(1)).ok();
        }
        let (whole, far) = (fixture.resolve(1).unwrap(), resolve(&store, 1).unwrap());
        prop_assert_eq!(whole.partitions(), far.partitions());
        for (start, end) in ranges {
            let expected = shown(whole.range(&on(), start, end));
            prop_assert_eq!(shown(far.range(&on(), start, end)), expected.clone());
            if let Some(now) = far.range_now(start, end) {
                prop_assert_eq!(shown(now), expected.clone());
            }
            prop_assert_eq!(whole.range_now(start, end).map(shown), Some(expected));
        }
    });
}

#[test]
fn range_of_a_damaged_index_fails_or_lies_within_the_data() {
    let fixture = Fixture::new();
    let store = far(&fixture);
    let offset = || prop_oneof![4 => 0..12i64, 1 => any::<i64>()];
    proptest!(ProptestConfig::with_cases(128), |(
        offsets in proptest::collection::vec(offset(), 1..8), start in 0..8i64, end in 0..8i64,
    )| {
        fixture.write_index(1, &offsets);
        let len = usize::try_from(offsets[offsets.len() - 1]).unwrap_or(0).min(12);
        replace(&fixture.data_path(1), &vec![7; len]);
        let whole = shown(fixture.resolve(1).unwrap().range(&on(), start, end));
        match shown(resolve(&store, 1).unwrap().range(&on(), start, end)) {
            // What the whole index shows, two offsets need not: then the range is one that they agree on.
            Ok((offset, len)) => {
                prop_assert!(offset + len <= u64::try_from(offsets[offsets.len() - 1]).unwrap());
                prop_assert_eq!(offsets[0], 0);
            }
            // A data file of another length is told before the offsets are looked at.
            Err(_) if usize::try_from(offsets[offsets.len() - 1]) != Ok(len) => prop_assert!(whole.is_err()),
            failed => prop_assert_eq!(failed, whole),
        }
    });
}
