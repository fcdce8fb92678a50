//! A real Spark application that goes beyond what it may have of merged bytes, where an operator has set a quota.
//! `tests/tenants/quotas.rs` shows the quotas of connections and memory at the wire.

use sealed_shuffle_interop_tests::{
    applications::{Application, ApplicationReport, ROWS, result_without_a_service},
    fixture::SECRET,
    merger::Merger,
    modes::{Cipher, Mode, Service},
};

/// What one application may have: less than two executors push.
const QUOTA: [(&str, &str); 1] = [("spark.sealed.quota.merged-bytes", "200k")];

fn run(more: &[(&str, &str)]) -> (Merger, ApplicationReport) {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let merger = Merger::start_of(Service::Ours, mode, "2k", more);
    let port = merger.f.address().port();
    let report = Application::with_service(&mode, port, SECRET, merger.f.root())
        .pushing_to(&[format!("localhost:{port}")])
        .with("spark.shuffle.compress", "false")
        .run();
    (merger, report)
}

#[track_caller]
fn assert_unharmed(report: &ApplicationReport) {
    assert_eq!((report.canary_rows, report.fetch_failures), (ROWS, 0), "{report:?}");
    assert_eq!(report.result, result_without_a_service(), "another result than without the service");
}

#[test]
fn an_application_beyond_its_quota_of_merged_bytes_computes_the_same_and_no_stage_fails() {
    let (merger, report) = run(&QUOTA);
    let reached = merger.server().metric("sealed_shuffle_quota_reached_total{share=\"merged_bytes\"}");
    assert_unharmed(&report);
    report.assert_nothing_recomputed();
    assert!(reached > 0.0, "the quota was not reached");
    let written = merger.count("written_bytes");
    assert!((1e5..2.1e5).contains(&written), "{written} bytes were merged, of the 200 KiB that may be");
    assert!(report.read.unmerged > 0, "what is not merged is read where it was written: {report:?}");

    // The control: the same application has all of it merged where it may.
    let (merger, report) = run(&[]);
    assert_unharmed(&report);
    assert!(merger.count("written_bytes") > 1e6);
}
