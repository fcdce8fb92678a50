//! A standalone Master and Worker with a separate shuffle service in the place of the Worker's own.
//!
//! On Spark's own service as the separate process (`spark_…`) in `make nightly`, as in `application.rs`.

use sealed_shuffle_interop_tests::{
    applications::{Application, Cluster, ROWS, result_without_a_service},
    fixture::{Fixture, SECRET},
    modes::matrix::standalone_modes,
    modes::{Mode, Service},
};

fn takes_the_place_of_the_workers_own_service(service: Service, mode: Mode) {
    let f = Fixture::start(service, mode);
    let port = f.address().port();
    let cluster = Cluster::start(&mode, port, SECRET, f.root());
    let report = Application::with_service(&mode, port, SECRET, f.root())
        .on(cluster.url())
        .with("spark.io.encryption.enabled", "true")
        .killing_an_executor()
        .run();
    assert!(report.killed, "no executor was killed: {report:?}");
    report.assert_nothing_recomputed();
    assert_eq!(report.canary_rows, ROWS);
    assert_eq!(report.result, result_without_a_service(), "another result than without the service");
    assert!(f.block_bytes_served() > 100_000, "the shuffles went another way");
    let log = cluster.worker_log().join("\n");
    assert!(!log.contains("Starting shuffle service"), "the Worker started a service of its own");
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_takes_the_place_of_the_workers_own_service() {
    for mode in standalone_modes() {
        eprintln!("in mode {mode}");
        takes_the_place_of_the_workers_own_service(Service::Spark, mode);
    }
}

#[test]
fn ours_takes_the_place_of_the_workers_own_service() {
    for mode in standalone_modes() {
        eprintln!("in mode {mode}");
        takes_the_place_of_the_workers_own_service(Service::Ours, mode);
    }
}
