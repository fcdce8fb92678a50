//! Shuffles without push: rows equal, and blocks that other hosts read go through our servers on each node.

use sealed_shuffle_interop_tests::{
    fixture::BLOCK_BYTES,
    modes::{Cipher, Mode, Service},
    yarn::{Application, Cluster, Report},
};

use crate::shared::{MODE, cluster};

/// Runs it, and says how many block bytes each node's server has sent meanwhile.
fn run(cluster: &Cluster, application: &Application) -> (Report, Vec<f64>) {
    let before = sent(cluster);
    let report = application.run(cluster);
    let sent = sent(cluster).iter().zip(before).map(|(after, before)| after - before).collect();
    (report, sent)
}

fn sent(cluster: &Cluster) -> Vec<f64> {
    let of = |samples: std::collections::BTreeMap<String, f64>| {
        samples.iter().filter(|(name, _)| name.starts_with(BLOCK_BYTES)).map(|(_, value)| *value).sum()
    };
    cluster.nodes.iter().map(|node| of(node.server().metrics())).collect()
}

fn goes_through_us(mode: Mode, in_cluster_mode: bool) {
    let Some(held) = cluster() else { return };
    let mut application = Application::new(mode, Service::Ours);
    if in_cluster_mode {
        application = application.in_cluster_mode();
    }
    let (report, sent) = run(&held.cluster, &application);
    println!("{mode}: {report:?}, block bytes of each node {sent:?}");
    report.assert_right(&mode);
    report.assert_unharmed();
    assert_eq!(report.tasks.len(), 3, "tasks ran elsewhere: {report:?}");
    assert!(sent.iter().all(|bytes| *bytes > 0.0), "a node's server sent nothing: {sent:?}");
    assert_eq!(sent.iter().sum::<f64>(), report.remote as f64, "{report:?}");
    held.cluster.assert_quiet(&["below the target"]);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_client_mode() {
    goes_through_us(MODE, false);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_cluster_mode() {
    goes_through_us(Mode::newest(Cipher::Ctr, 1), true);
}
