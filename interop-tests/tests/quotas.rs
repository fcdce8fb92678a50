//! A real Spark application that goes beyond what it may have of merged bytes, where an operator has set a quota.
//! `tests/tenants/quotas.rs` shows the quotas of connections and memory at the wire.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sealed_shuffle_interop_tests::{
    applications::{Application, ApplicationReport, ROWS, result_without_a_service},
    fixture::SECRET,
    merger::Merger,
    modes::{Cipher, Mode, Service},
};

/// What one application may have: less than two executors push.
const QUOTA: [(&str, &str); 1] = [("spark.sealed.quota.merged-bytes", "200k")];
const QUOTA_BYTES: f64 = 200.0 * 1024.0;

/// An application, and the most merged bytes that it held while it ran.
fn run(more: &[(&str, &str)]) -> (Merger, ApplicationReport, f64) {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let merger = Merger::start_of(Service::Ours, mode, "2k", more);
    let port = merger.f.address().port();
    let is_over = AtomicBool::new(false);
    let (report, most) = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut most = 0.0_f64;
            // Without a quota nothing is held.
            while !more.is_empty() && !is_over.load(Ordering::Relaxed) {
                most = most.max(merger.server().metric("sealed_shuffle_share_used{share=\"merged_bytes\"}"));
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let report = Application::with_service(&mode, port, SECRET, merger.f.root())
            .pushing_to(&[format!("localhost:{port}")])
            .with("spark.shuffle.compress", "false")
            .run();
        is_over.store(true, Ordering::Relaxed);
        (report, looking.join().expect("the look at the metrics ends"))
    });
    (merger, report, most)
}

#[track_caller]
fn assert_unharmed(report: &ApplicationReport) {
    assert_eq!((report.canary_rows, report.fetch_failures), (ROWS, 0), "{report:?}");
    assert_eq!(report.result, result_without_a_service(), "another result than without the service");
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn an_application_beyond_its_quota_of_merged_bytes_computes_the_same_and_no_stage_fails() {
    let (merger, report, held) = run(&QUOTA);
    let reached = merger.server().metric("sealed_shuffle_quota_reached_total{share=\"merged_bytes\"}");
    assert_unharmed(&report);
    report.assert_nothing_recomputed();
    assert!(reached > 0.0, "the quota was not reached");
    // What a block wrote that came too late is given back, and another may have it: the counter of what was ever written
    // goes beyond the quota, and what is held never does.
    let written = merger.count("written_bytes");
    assert!(held > 1e5 && held <= QUOTA_BYTES, "{held} bytes were held at once, of the 200 KiB that may be");
    assert!(report.read.unmerged > 0, "what is not merged is read where it was written: {report:?}");

    // The control: the same application has all of it merged where it may.
    let (merger, report, _) = run(&[]);
    assert_unharmed(&report);
    let all = merger.count("written_bytes");
    assert!(
        all > 1e6 && written < all / 2.0,
        "{written} bytes were written with the quota, and {all} without"
    );
}
