//! Files are closed and applications forgotten when they are over.

use std::fs;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ReduceId};

use super::fixture::{Fixture, app, content, executor, on, text};
use crate::disk::executors::SWEEP_SLICE;
use crate::disk::{DiskLimits, FindingReason, Proof, RegistryLimits};

#[test]
fn closes_idle_files() {
    let idle = Duration::from_secs(60);
    let fixture = Fixture::with(DiskLimits { file_idle: idle, ..DiskLimits::default() }, None);
    fixture.write_example();
    fixture.resolve(3).unwrap();
    let now = Instant::now();
    assert_eq!(fixture.store.sweep(&on(), now + idle / 2).closed_files, 0);
    assert_eq!(fixture.store.sweep(&on(), now + idle).closed_files, 1);
    assert_eq!(fixture.store.counters().files_open, 0);
}

#[test]
fn closes_deleted_files_while_regions_live_on() {
    let fixture = Fixture::new();
    fixture.write_example();
    let region = fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap();
    fs::remove_file(fixture.data_path(3)).unwrap();
    assert_eq!(fixture.store.sweep(&on(), Instant::now()).closed_files, 1);
    assert_eq!(fixture.store.counters().files_open, 1);
    assert_eq!(content(&region), b"AAAA");
    drop(region);
    assert_eq!(fixture.store.counters().files_open, 0);
}

#[test]
fn forgets_an_application_whose_directories_are_gone() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    let now = Instant::now();
    assert!(fixture.sweep(now).is_empty());
    fs::remove_dir_all(&fixture.dir).unwrap();
    let [(gone, 1)] = &fixture.sweep(now)[..] else { panic!("one application with one executor") };
    assert_eq!((&gone.app, gone.reason), (&app(), FindingReason::DirectoriesGone));
    let counters = fixture.store.counters();
    assert_eq!((counters.executors, counters.indexes_cached, counters.files_open), (0, 0, 0));
    assert!(fixture.sweep(now).is_empty());
}

#[test]
fn waits_for_directories_that_were_never_there() {
    let fixture = Fixture::new();
    let (other, late) = (AppId::new("app-2"), fixture.root.join("late"));
    let dirs = [text(&late)];
    fixture.store.register(&on(), &other, &executor(), &dirs, 64, "sort", Proof::Proven).unwrap();
    let now = Instant::now();
    assert!(fixture.sweep(now).is_empty());
    fs::create_dir(&late).unwrap();
    assert!(fixture.sweep(now).is_empty());
    fs::remove_dir(&late).unwrap();
    let forgotten = fixture.sweep(now);
    assert_eq!(forgotten.iter().map(|(gone, _)| &gone.app).collect::<Vec<_>>(), [&other]);
}

#[test]
fn keeps_an_application_while_one_directory_is_left() {
    let fixture = Fixture::new();
    let second = fixture.root.join("second");
    fs::create_dir(&second).unwrap();
    let dirs = [text(&second)];
    fixture.store.register(&on(), &app(), &ExecutorId::new("2"), &dirs, 64, "sort", Proof::Proven).unwrap();
    let now = Instant::now();
    assert!(fixture.sweep(now).is_empty());
    fs::remove_dir_all(&fixture.dir).unwrap();
    assert!(fixture.sweep(now).is_empty());
    assert!(fixture.sweep(now).is_empty());
    fs::remove_dir_all(&second).unwrap();
    assert_eq!(fixture.sweep(now).len(), 1);
}

#[test]
fn forgets_an_idle_application() {
    let ttl = Duration::from_secs(3600);
    let registry = RegistryLimits { idle_ttl: Some(ttl), ..RegistryLimits::default() };
    let fixture = Fixture::with(DiskLimits { registry, ..DiskLimits::default() }, None);
    let now = Instant::now();
    assert!(fixture.sweep(now + ttl / 2).is_empty());
    fixture.store.executors().lookup(&app(), &executor(), now + ttl / 2).unwrap();
    assert!(fixture.sweep(now + ttl).is_empty());
    let forgotten = fixture.sweep(now + ttl * 2);
    assert_eq!(forgotten[0].0.reason, FindingReason::Idle);
}

#[test]
fn an_application_that_was_used_or_has_registered_since_it_was_found_stays() {
    let ttl = Duration::from_secs(3600);
    let registry = RegistryLimits { idle_ttl: Some(ttl), ..RegistryLimits::default() };
    let fixture = Fixture::with(DiskLimits { registry, ..DiskLimits::default() }, None);
    let later = Instant::now() + ttl * 2;
    let idle = fixture.store.sweep(&on(), later).findings;
    assert_eq!(idle[0].reason, FindingReason::Idle);
    fixture.store.executors().touch(&app(), later);
    assert_eq!(fixture.store.forget_found(&idle[0]), None);

    fs::remove_dir_all(&fixture.dir).unwrap();
    let gone = fixture.store.sweep(&on(), later).findings;
    assert_eq!(gone[0].reason, FindingReason::DirectoriesGone);
    let dirs = [text(&fixture.root)];
    fixture.store.register(&on(), &app(), &ExecutorId::new("2"), &dirs, 64, "sort", Proof::Proven).unwrap();
    assert_eq!(fixture.store.forget_found(&gone[0]), None);
    assert_eq!(fixture.store.executors().count(), 2);
}

#[test]
fn a_sweep_looks_at_one_slice_and_goes_on_from_there() {
    let fixture = Fixture::new();
    let register = |number: usize| {
        let dirs = [text(&fixture.root.join(format!("gone-{number}")))];
        let id = ExecutorId::new(format!("x{number}"));
        fixture.store.register(&on(), &app(), &id, &dirs, 64, "sort", Proof::Proven).unwrap();
    };
    (0..2 * SWEEP_SLICE).for_each(register);
    let now = Instant::now();
    while !fixture.sweep(now).is_empty() {}
    fs::remove_dir_all(&fixture.dir).unwrap();
    let calls = (1..10).find(|_| !fixture.sweep(now).is_empty());
    assert!(matches!(calls, Some(2..=5)), "{calls:?}");
}

#[test]
fn a_registration_during_the_scan_saves_the_application() {
    let fixture = Fixture::new();
    let register = |number: usize, below: &str| {
        let dirs = [text(&fixture.root.join(below))];
        let id = ExecutorId::new(format!("x{number}"));
        fixture.store.register(&on(), &app(), &id, &dirs, 64, "sort", Proof::Proven).unwrap();
    };
    (0..2 * SWEEP_SLICE).for_each(|number| register(number, &format!("gone-{number}")));
    fs::remove_dir_all(&fixture.dir).unwrap();
    let now = Instant::now();
    assert!(fixture.sweep(now).is_empty());
    fs::create_dir(fixture.root.join("new")).unwrap();
    register(SWEEP_SLICE * 2, "new");
    for _ in 0..10 {
        assert!(fixture.sweep(now).is_empty());
    }
}
