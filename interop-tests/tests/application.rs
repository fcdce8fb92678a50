//! Unmodified Spark applications run their shuffles through the service, and compute what they compute without it.
//!
//! The same applications on Spark's own service (`spark_…`) show that the recipe is right. They take minutes and say
//! nothing about us: they run in `make nightly`, as tests that are ignored do.

use sealed_shuffle_interop_tests::{
    applications::{Application, ApplicationReport, ROWS, result_without_a_service},
    fixture::{Fixture, SECRET},
    modes::matrix::application_modes,
    modes::{Mode, Service},
    oracle::CANARY,
    wire::{Proxy, contains},
};

/// With `spark.io.encryption.enabled`, and an executor killed while others read what it wrote.
fn survives_the_death_of_an_executor(service: Service, mode: Mode) {
    let f = Fixture::start(service, mode);
    let report = Application::with_service(&f.mode, f.address().port(), SECRET, f.root())
        .with("spark.io.encryption.enabled", "true")
        .killing_an_executor()
        .run();
    assert!(report.killed, "no executor was killed: {report:?}");
    assert_right(&f, &report);
}

/// Shuffle files neither encrypted nor compressed, so that a leak on the wire would show the canaries.
fn computes_the_same_and_shows_nothing_on_the_wire(service: Service, mode: Mode) {
    let f = Fixture::start(service, mode);
    let proxy = Proxy::before(f.address());
    let report = Application::with_service(&f.mode, proxy.address().port(), SECRET, f.root())
        .with("spark.shuffle.compress", "false")
        .run();
    assert_right(&f, &report);
    let canaries = ROWS * CANARY.len() as u64;
    assert!(proxy.total() > canaries, "{} bytes passed, the shuffles went another way", proxy.total());
    for recording in proxy.recordings() {
        for bytes in [&recording.sent, &recording.received] {
            assert!(!contains(bytes, CANARY.as_bytes()), "a canary on the wire");
            assert!(!contains(bytes, b"shuffle_") && !contains(bytes, b"blockmgr-"), "names on the wire");
        }
    }
}

#[track_caller]
fn assert_right(f: &Fixture, report: &ApplicationReport) {
    report.assert_nothing_recomputed();
    assert_eq!(report.canary_rows, ROWS);
    assert_eq!(report.result, result_without_a_service(), "another result than without the service");
    let served = f.block_bytes_served();
    assert!(served > 100_000, "the service served {served} bytes, the shuffles went another way");
}

/// The oracle: the recipe works with Spark's own service as the separate process.
#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_survives_the_death_of_an_executor() {
    for mode in application_modes() {
        eprintln!("in mode {mode}");
        survives_the_death_of_an_executor(Service::Spark, mode);
    }
}

#[test]
fn ours_survives_the_death_of_an_executor() {
    for mode in application_modes().into_iter().filter(|mode| mode.version == "4.3.0") {
        eprintln!("in mode {mode}");
        survives_the_death_of_an_executor(Service::Ours, mode);
    }
}

#[test]
fn ours_computes_the_same_and_shows_nothing_on_the_wire() {
    for mode in application_modes().into_iter().filter(|mode| mode.version != "4.3.0") {
        eprintln!("in mode {mode}");
        computes_the_same_and_shows_nothing_on_the_wire(Service::Ours, mode);
    }
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_shows_nothing_on_the_wire() {
    for mode in application_modes() {
        eprintln!("in mode {mode}");
        computes_the_same_and_shows_nothing_on_the_wire(Service::Spark, mode);
    }
}
