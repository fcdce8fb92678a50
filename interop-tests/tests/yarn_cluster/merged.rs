//! Push-based shuffle. On YARN a merger's host is an executor's host, and reducers are placed there: they open merged files by
//! themselves.

use sealed_shuffle_interop_tests::{
    modes::Service,
    yarn::{Application, Cluster, Report, VIEWED},
};

use crate::shared::{MODE, cluster};

/// Of what Spark's own handler reaches.
const BAR: f64 = 0.9;

fn run(cluster: &Cluster, service: Service) -> (Report, Vec<f64>) {
    let pushed = || cluster.metric("sealed_shuffle_merge_written_bytes_total");
    let before = pushed();
    let report = Application::new(MODE, service).pushing().run(cluster);
    let pushed: Vec<f64> = pushed().iter().zip(before).map(|(after, before)| after - before).collect();
    println!(
        "{service:?}: {:.1} % read merged, {:?}, pushed to our servers {pushed:?}",
        100.0 * report.read.merged_share(),
        report.read
    );
    report.assert_right(&MODE);
    report.assert_unharmed();
    (report, pushed)
}

#[test]
fn as_much_is_read_merged_as_with_sparks_own_handler() {
    let Some(held) = cluster() else { return };
    let (theirs, pushed) = run(&held.cluster, Service::Spark);
    assert!(pushed.iter().all(|bytes| *bytes == 0.0), "the control used our servers: {pushed:?}");
    assert!(theirs.read.merged_share() > 0.5, "the control does not merge: {theirs:?}");
    let (ours, pushed) = run(&held.cluster, Service::Ours);
    assert!(pushed.iter().all(|bytes| *bytes > 0.0), "nothing was pushed to a node: {pushed:?}");
    let (share, bar) = (ours.read.merged_share(), BAR * theirs.read.merged_share());
    for node in &held.cluster.nodes {
        for (log, words) in [
            (node.server().log(), "an application was handed over"),
            (node.manager_log(), "is handed over, with its own secret"),
        ] {
            let told = log.iter().filter(|line| line.contains(words) && line.contains(&ours.app)).count();
            assert_eq!(told, 1, "{}: {words}", node.name());
        }
    }
    assert!(share >= bar, "{share} of the bytes were read merged, less than {bar}: {ours:?}");
    held.cluster.assert_quiet(&[]);
}

/// Sealed on the disks, and read locally all the same.
#[test]
#[ignore = "make interop-yarn"]
fn as_much_is_read_merged_through_the_view_of_sealed_files() {
    let Some(mut held) = cluster() else { return };
    let (theirs, _) = run(&held.cluster, Service::Spark);
    assert!(theirs.read.merged_share() > 0.5, "the control does not merge: {theirs:?}");
    held.cluster.serve_all(VIEWED);
    let (ours, pushed) = run(&held.cluster, Service::Ours);
    let [viewed, failed] = ["read_bytes", "failed"]
        .map(|count| held.cluster.metric(&format!("sealed_shuffle_merge_view_{count}_total")));
    println!("through the view: {viewed:?} bytes, {failed:?} failures");
    held.cluster.assert_quiet(&[]);
    held.cluster.serve_all("plain");
    assert!(pushed.iter().all(|bytes| *bytes > 0.0), "nothing was pushed to a node: {pushed:?}");
    let (share, bar) = (ours.read.merged_share(), BAR * theirs.read.merged_share());
    assert!(share >= bar, "{share} of the bytes were read merged, less than {bar}: {ours:?}");
    // Bitmaps and indexes are read, too, and whole pages.
    assert!(viewed.iter().sum::<f64>() >= ours.read.merged_local as f64, "{viewed:?} of {ours:?}");
    assert!(failed.iter().all(|count| *count == 0.0), "{failed:?}");
}

/// The control of the tests above: sealed files are of use to readers on other hosts alone, and there are hardly any.
#[test]
#[ignore = "make interop-yarn"]
fn hardly_anything_is_read_merged_where_merged_files_are_sealed() {
    let Some(mut held) = cluster() else { return };
    held.cluster.serve_all("sealed");
    let (ours, pushed) = run(&held.cluster, Service::Ours);
    held.cluster.serve_all("plain");
    assert!(pushed.iter().all(|bytes| *bytes > 0.0), "nothing was pushed to a node: {pushed:?}");
    assert!(ours.read.merged_share() < 0.3 && ours.read.merged_local == 0, "{ours:?}");
}
