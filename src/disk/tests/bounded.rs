//! What peers can press on stays within its bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ReduceId};

use super::fixture::{Fixture, app, executor, on, text};
use crate::disk::claims::CLAIM_BYTES;
use crate::disk::{
    DiskLimits, Executors, LocalDir, Proof, RegisterRefusal, Registration, RegistryLimits, Roots,
};

#[test]
fn a_hundred_thousand_executors_register_and_not_one_more() {
    let temp = tempfile::tempdir().unwrap();
    let roots = Roots::open([temp.path()]).unwrap();
    let root = text(&temp.path().canonicalize().unwrap());
    let (executors, now) = (Executors::new(RegistryLimits::default(), Instant::now()), Instant::now());
    let register = |number: usize| {
        let dir = roots.accept(&on(), &format!("{root}/blockmgr-{number}")).unwrap();
        let id = ExecutorId::new(number.to_string());
        let app = AppId::new(format!("app-{}", number % 10));
        executors.register(&app, &id, Registration::new(vec![dir], 64, "sort"), Proof::Proven, now)
    };
    for number in 0..100_000 {
        register(number).unwrap();
    }
    assert_eq!(executors.count(), 100_000);
    assert_eq!(register(100_000).map(drop), Err(RegisterRefusal::TooManyExecutors { limit: 100_000 }));
    register(7).unwrap();
    // One copy of each directory's text, and small records around it.
    let text = root.len() + "/blockmgr-99999".len() + "99999".len() + "sort".len();
    let most = 100_000 * (text + size_of::<LocalDir>() + CLAIM_BYTES) + 10 * "app-0".len();
    assert!(executors.bytes() <= most, "{}", executors.bytes());
    assert!(size_of::<LocalDir>() <= 40, "{}", size_of::<LocalDir>());
    assert!(size_of::<Registration>() <= 40, "{}", size_of::<Registration>());
    assert!(executors.lookup(&AppId::new("app-3"), &ExecutorId::new("99993"), now).is_some());
}

#[test]
fn executors_of_an_application_share_the_shuffle_managers_name() {
    let (executors, now) = (Executors::new(RegistryLimits::default(), Instant::now()), Instant::now());
    let names = ["1", "2"].map(|id| {
        let id = ExecutorId::new(id);
        let registration = Registration::new(vec![], 64, "org.apache.spark.shuffle.sort.SortShuffleManager");
        executors.register(&app(), &id, registration, Proof::Proven, now).unwrap();
        executors.lookup(&app(), &id, now).unwrap().shuffle_manager().as_ptr()
    });
    assert_eq!(names[0], names[1]);
}

#[test]
fn refuses_more_bytes_than_the_bound() {
    let limits = RegistryLimits { bytes: 15, ..RegistryLimits::default() };
    let (executors, now) = (Executors::new(limits, Instant::now()), Instant::now());
    let register = |id: &str, manager: &str| {
        let registration = Registration::new(vec![], 64, manager);
        executors.register(&app(), &ExecutorId::new(id), registration, Proof::Proven, now)
    };
    register("1", "12345678").unwrap();
    assert_eq!(register("2", "1").map(drop), Err(RegisterRefusal::TooManyBytes { limit: 15 }));
    register("1", "1").unwrap();
    register("2", "1").unwrap();
}

#[test]
fn an_application_that_registers_all_it_can_leaves_room_for_another() {
    let bytes = 10_000;
    for limits in [
        RegistryLimits { executors: 90, ..RegistryLimits::default() },
        RegistryLimits { bytes, ..RegistryLimits::default() },
    ] {
        let (executors, now) = (Executors::new(limits, Instant::now()), Instant::now());
        let register = |app: &str, id: usize, manager: &str| {
            let (app, id) = (AppId::new(app), ExecutorId::new(id.to_string()));
            executors.register(&app, &id, Registration::new(vec![], 64, manager), Proof::Proven, now)
        };
        let long = "x".repeat(100);
        let most = (0..).take_while(|id| register("greedy", *id, &long).is_ok()).count();
        let [places, texts] = executors.shares().map(|(_, figures)| figures);
        assert_eq!((places.used, places.largest), (most as u64, most as u64), "{places:?}");
        assert_eq!((texts.used, texts.largest), (executors.bytes() as u64, executors.bytes() as u64));
        assert_eq!(places.refused + texts.refused, 1, "{places:?} {texts:?}");
        assert!((70..90).contains(&most), "{most}");
        for id in 0..5 {
            register("modest", id, "sort").unwrap();
        }
        // What it has may be registered again.
        register("greedy", 0, &long).unwrap();
    }
}

#[test]
fn never_keeps_more_files_open_than_the_bound() {
    for open_files in [0, 1, 3, 33] {
        let fixture = Fixture::with(DiskLimits { open_files, ..DiskLimits::default() }, None);
        for map in 0..100 {
            fixture.write_map(map, &[b"some bytes"]);
            fixture.resolve(map).unwrap().block(&on(), ReduceId(0)).unwrap();
            let counters = fixture.store.counters();
            assert!(counters.files_cached <= open_files, "{counters:?}");
            assert_eq!(counters.files_open, counters.files_cached as u64);
        }
        assert_eq!(fixture.store.counters().files_cached, open_files);
    }
}

#[test]
fn regions_hold_files_that_the_cache_let_go() {
    let fixture = Fixture::with(DiskLimits { open_files: 1, ..DiskLimits::default() }, None);
    let regions: Vec<_> = (0..5)
        .map(|map| {
            fixture.write_map(map, &[b"some bytes"]);
            fixture.resolve(map).unwrap().block(&on(), ReduceId(0)).unwrap()
        })
        .collect();
    assert_eq!(fixture.store.counters().files_open, 5);
    drop(regions);
    assert_eq!(fixture.store.counters().files_open, 1);
}

#[test]
fn the_index_cache_keeps_within_its_weight() {
    let limit = 10 * (8 * 5 + 176);
    let fixture = Fixture::with(DiskLimits { index_cache_bytes: limit, ..DiskLimits::default() }, None);
    for map in 0..50 {
        fixture.write_map(map, &[b"AAAA", b"", b"CCCCC", b"D"]);
        fixture.resolve(map).unwrap();
        assert!(fixture.store.counters().index_cache_bytes <= limit);
    }
    assert_eq!(fixture.store.counters().indexes_cached, 10);
}

#[test]
fn a_limit_of_zero_caches_no_index() {
    let fixture = Fixture::with(DiskLimits { index_cache_bytes: 0, ..DiskLimits::default() }, None);
    fixture.write_example();
    for _ in 0..3 {
        fixture.resolve(3).unwrap();
    }
    let counters = fixture.store.counters();
    assert_eq!((counters.index_hits, counters.index_misses, counters.index_cache_bytes), (0, 3, 0));
}

#[test]
fn a_cached_map_output_opens_nothing() {
    let fixture = Fixture::new();
    fixture.write_example();
    let first = fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap();
    let second = fixture.resolve(3).unwrap().block(&on(), ReduceId(2)).unwrap();
    assert!(Arc::ptr_eq(first.file().unwrap(), second.file().unwrap()));
    let counters = fixture.store.counters();
    assert_eq!((counters.index_misses, counters.file_misses), (1, 1));
    assert_eq!((counters.index_hits, counters.file_hits), (1, 1));
    assert_eq!(counters.index_cache_bytes, 8 * 5 + 176);
}

#[test]
fn forgetting_an_application_empties_the_caches() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    assert_eq!(fixture.store.forget(&app()), Some(1));
    let counters = fixture.store.counters();
    assert_eq!((counters.files_open, counters.indexes_cached, counters.executors), (0, 0, 0));
    assert!(fixture.resolve(3).is_err());
    assert_eq!(fixture.store.forget(&app()), None);
}

#[test]
fn one_bad_directory_refuses_the_whole_registration() {
    let fixture = Fixture::new();
    let dirs = [text(&fixture.dir), "/elsewhere".to_owned()];
    let new = ExecutorId::new("2");
    fixture.store.register(&on(), &app(), &new, &dirs, 64, "sort", Proof::Proven).unwrap_err();
    let now = Instant::now() + Duration::from_secs(1);
    assert!(fixture.store.executors().lookup(&app(), &new, now).is_none());
    assert!(fixture.store.executors().lookup(&app(), &executor(), now).is_some());
}
