//! What is answered without a look at a path, and what becomes of the files that shows all the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Instant, SystemTime};

use sealed_shuffle_protocol::ids::{MapId, ReduceId};

use super::fixture::{Fixture, SHUFFLE, app, content, executor, on, replace, text};
use crate::disk::layout::{self, Placement};
use crate::disk::search::LOOK_AGAIN;
use crate::disk::{BlockStore, DiskLimits, Lookup, MapOutput, Proof, Roots};

/// What is known without waiting.
fn now(fixture: &Fixture) -> Option<MapOutput> {
    match fixture.store.resolve_now(&app(), &executor(), SHUFFLE, MapId(3)).unwrap() {
        Lookup::Found(found) => Some(found),
        Lookup::Waits(_) => None,
    }
}

/// The worked example, found once on a lane.
fn found() -> Fixture {
    let fixture = Fixture::new();
    fixture.write_example();
    assert!(now(&fixture).is_none(), "nothing is known before");
    fixture.resolve(3).unwrap();
    fixture
}

#[test]
fn what_was_found_once_is_found_again_on_a_thread_that_must_not_wait() {
    let fixture = found();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let block = runtime.block_on(async { now(&fixture).unwrap().range_now(2, 3).unwrap().unwrap() });
    assert_eq!(content(&block), b"CCCCC");
    let counters = fixture.store.counters();
    assert_eq!((counters.index_hits, counters.index_misses), (1, 1));
    assert_eq!((counters.file_hits, counters.file_misses), (1, 1));
}

#[test]
fn data_file_that_was_replaced_shows_in_the_open_one() {
    let fixture = found();
    // As Spark publishes: the same sizes everywhere, another inode, by rename.
    fixture.write_map(3, &[b"xx", b"yyyyy", b"zz", b"!"]);
    assert!(now(&fixture).is_none());
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"xx");
    assert_eq!(content(&now(&fixture).unwrap().block(&on(), ReduceId(1)).unwrap()), b"yyyyy");
}

#[test]
fn data_file_that_was_replaced_shows_though_it_has_another_name() {
    let fixture = Fixture::new();
    fixture.write_example();
    fs::hard_link(fixture.data_path(3), fixture.root.join("kept")).unwrap();
    fixture.resolve(3).unwrap();
    assert!(now(&fixture).is_some());
    replace(&fixture.data_path(3), b"BBBBDDDDDE");
    assert!(now(&fixture).is_none());
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"BBBB");
}

#[test]
fn whatever_else_becomes_of_the_data_file_shows() {
    let changes: [fn(&Fixture); 5] = [
        |fixture| fs::remove_file(fixture.data_path(3)).unwrap(),
        |fixture| {
            next_tick(fixture);
            fs::rename(fixture.data_path(3), fixture.root.join("away")).unwrap();
        },
        |fixture| fs::hard_link(fixture.data_path(3), fixture.root.join("twin")).unwrap(),
        |fixture| fs::write(fixture.data_path(3), b"AAAACCCCC").unwrap(),
        set_back,
    ];
    for (n, change) in changes.iter().enumerate() {
        let fixture = found();
        assert!(now(&fixture).is_some(), "{n}");
        change(&fixture);
        assert!(now(&fixture).is_none(), "{n}");
    }
}

/// Waits until the file system's clock has moved on since the data file was last changed.
fn next_tick(fixture: &Fixture) {
    let changed = |path: &Path| {
        let stat = fs::metadata(path).unwrap();
        (stat.ctime(), stat.ctime_nsec())
    };
    let probe = fixture.root.join("probe");
    loop {
        fs::write(&probe, b"x").unwrap();
        if changed(&probe) != changed(&fixture.data_path(3)) {
            return;
        }
    }
}

/// Sets the time of the last write, as somebody might who wrote to the file.
fn set_back(fixture: &Fixture) {
    let file = fs::OpenOptions::new().write(true).open(fixture.data_path(3)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

#[test]
fn index_that_alone_was_replaced_or_deleted_shows_at_the_next_look_at_the_paths() {
    let fixture = found();
    fixture.write_index(3, &[0, 1, 4, 9, 10]);
    // The pair that was published is still whole.
    assert_eq!(content(&now(&fixture).unwrap().block(&on(), ReduceId(0)).unwrap()), b"AAAA");
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"A");
    assert_eq!(content(&now(&fixture).unwrap().block(&on(), ReduceId(0)).unwrap()), b"A");
    fs::remove_file(fixture.index_path(3)).unwrap();
    assert!(now(&fixture).is_some() && fixture.resolve(3).is_err() && now(&fixture).is_none());
}

#[test]
fn paths_are_looked_at_again_after_a_while() {
    let mut fixture = found();
    assert!(now(&fixture).is_some());
    fixture.store.age(LOOK_AGAIN);
    assert!(now(&fixture).is_none());
    fixture.resolve(3).unwrap();
    assert!(now(&fixture).is_some());
}

#[test]
fn map_output_without_data_is_always_looked_at() {
    let fixture = Fixture::new();
    fixture.write_map(3, &[b"", b""]);
    fixture.resolve(3).unwrap();
    assert!(now(&fixture).is_none());
    // Published again, this time with bytes.
    fixture.write_example();
    assert!(now(&fixture).is_none());
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"AAAA");
}

#[test]
fn index_that_is_not_kept_is_watched_itself() {
    let fixture = Fixture::with(DiskLimits { kept_index_bytes: 0, ..DiskLimits::default() }, None);
    fixture.write_example();
    fixture.resolve(3).unwrap();
    let block = now(&fixture).unwrap().block(&on(), ReduceId(3)).unwrap();
    assert_eq!(content(&block), b"D");
    fixture.write_index(3, &[0, 1, 4, 9, 10]);
    assert!(now(&fixture).is_none());
}

#[test]
fn file_that_was_closed_is_opened_on_a_lane_only() {
    let fixture = Fixture::with(DiskLimits { open_files: 0, ..DiskLimits::default() }, None);
    fixture.write_example();
    fixture.resolve(3).unwrap();
    assert!(now(&fixture).is_none());
    let fixture = found();
    let later = Instant::now() + DiskLimits::default().file_idle;
    fixture.store.sweep(&on(), later);
    assert!(now(&fixture).is_none());
}

#[test]
fn map_output_on_two_disks_is_looked_for_on_the_lane_of_each() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    // With two directories the names of a pair always hash to the same one.
    let dirs = ["a", "b", "c"].map(|name| base.join(name));
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let store = BlockStore::new(Roots::open(&dirs).unwrap(), DiskLimits::default());
    store
        .register(
            &on(),
            &app(),
            &executor(),
            &dirs.each_ref().map(|dir| text(dir)),
            64,
            "sort",
            Proof::Proven,
        )
        .unwrap();
    let place = |name: &str| Placement::of(name, 3, 64).unwrap();
    let names = |map| (layout::index_name(SHUFFLE, map), layout::data_name(SHUFFLE, map));
    let apart = |map: &MapId| {
        let (index, data) = names(*map);
        place(&index).dir != place(&data).dir
    };
    let map = (0..1000).map(MapId).find(apart).unwrap();
    let write = |name: String, bytes: &[u8]| {
        let sub = dirs[place(&name).dir].join(place(&name).sub_dir());
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(name), bytes).unwrap();
    };
    let (index, data) = names(map);
    let disks = [&index, &data].map(|name| store.roots().disks()[place(name).dir].lane().clone());
    write(index, &[0_i64, 5].map(i64::to_be_bytes).concat());
    write(data, b"bytes");

    for steps in [&[0, 1, 0][..], &[]] {
        let mut known = store.resolve_now(&app(), &executor(), SHUFFLE, map).unwrap();
        for disk in steps {
            let Lookup::Waits(search) = known else { panic!("it ends before disk {disk}") };
            assert!(search.lane().is(&disks[*disk]), "disk {disk} is next");
            known = search.step(&on(), &store).unwrap();
        }
        let Lookup::Found(found) = known else { panic!("it goes on after {steps:?}") };
        assert_eq!(content(&found.block(&on(), ReduceId(0)).unwrap()), b"bytes");
    }
    assert_eq!(store.counters().files_open, 1);
}
