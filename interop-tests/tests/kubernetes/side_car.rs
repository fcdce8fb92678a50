//! The sidecar: a server in each executor's pod.

use sealed_shuffle_interop_tests::{
    kubernetes::{Application, Cluster},
    yarn::Report,
};

use crate::shared::{MODE, NEWEST, OLDER, cluster, sidecar};

/// Runs it; all bytes that its executors read of each other have gone through the servers of their pods, sealed.
fn goes_through_us(cluster: &Cluster, application: Application) -> Report {
    // What servers count goes with their pods: they are asked while it is held.
    let mut submission = application.held().submit(cluster);
    submission.round(cluster, 1);
    let pods = cluster.shell(
        "kubectl -n spark-sidecar get pods -l spark-role=executor -o \
         jsonpath='{range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}'",
    );
    let own = format!("{}-exec-", submission.name());
    let own = pods.lines().filter_map(|line| line.strip_prefix(&own)?.split_once(' '));
    let sent: Vec<f64> =
        own.map(|(_, address)| cluster.block_bytes_at(&format!("{address}:7338"), "aes-gcm")).collect();
    submission.release(cluster);
    let report = submission.finish(cluster);
    println!("{report:?}, block bytes {sent:?}");
    report.assert_right(&MODE);
    assert_eq!(sent.len(), 2, "{pods}");
    assert!(sent.iter().all(|bytes| *bytes > 0.0), "a pod's server sent nothing: {sent:?}");
    assert_eq!(sent.iter().sum::<f64>(), report.remote as f64, "{report:?}");
    report
}

fn application(version: &'static str) -> Application {
    Application::new(version, "deploy/kubernetes/sidecar/application.conf")
}

#[test]
#[ignore = "make interop-kubernetes"]
fn blocks_go_through_the_sidecars_in_client_mode() {
    let Some(held) = cluster() else { return };
    sidecar(&held.cluster);
    let secret = held.cluster.shell("echo \"$PWD/secret\"");
    for version in [NEWEST, OLDER] {
        let application = application(version).with("spark.authenticate.secret.file", &secret);
        goes_through_us(&held.cluster, application).assert_unharmed();
    }
}

#[test]
#[ignore = "make interop-kubernetes"]
fn blocks_go_through_the_sidecars_in_cluster_mode() {
    let Some(held) = cluster() else { return };
    sidecar(&held.cluster);
    for version in [NEWEST, OLDER] {
        goes_through_us(&held.cluster, application(version).in_cluster_mode()).assert_unharmed();
    }
}
