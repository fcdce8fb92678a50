//! The DaemonSet: executors come and go, and their shuffle stays.

use sealed_shuffle_interop_tests::{
    kubernetes::{Application, Cluster, Submission},
    yarn::Report,
};

use crate::shared::{MODE, NEWEST, OLDER, application, cluster, daemon_set};

/// Tasks of the three map stages of a round.
const MAP_TASKS: u64 = 12 + 3 + 24;

/// Runs it; all bytes that its executors read of each other have gone through our server, sealed.
fn goes_through_us(cluster: &Cluster, application: &Application) -> Report {
    let before = [cluster.block_bytes(""), cluster.block_bytes("aes-gcm")];
    let report = application.run(cluster);
    let sent = [cluster.block_bytes("") - before[0], cluster.block_bytes("aes-gcm") - before[1]];
    println!("{report:?}, block bytes {sent:?}");
    report.assert_right(&MODE);
    assert!(report.remote > 0, "executors read nothing of each other: {report:?}");
    assert_eq!(sent, [report.remote as f64; 2], "{report:?}");
    report
}

#[test]
fn blocks_go_through_the_daemon_set() {
    let Some(held) = cluster() else { return };
    daemon_set(&held.cluster);
    let report = goes_through_us(&held.cluster, &application(&held.cluster, NEWEST));
    report.assert_unharmed();
    assert_eq!(report.map_tasks, MAP_TASKS, "{report:?}");
}

#[test]
#[ignore = "make interop-kubernetes"]
fn blocks_of_an_older_spark_go_through_the_daemon_set() {
    let Some(held) = cluster() else { return };
    daemon_set(&held.cluster);
    goes_through_us(&held.cluster, &application(&held.cluster, OLDER)).assert_unharmed();
}

#[test]
#[ignore = "make interop-kubernetes"]
fn blocks_go_through_the_daemon_set_in_cluster_mode() {
    let Some(held) = cluster() else { return };
    daemon_set(&held.cluster);
    for version in [NEWEST, OLDER] {
        let application =
            Application::new(version, "deploy/kubernetes/daemonset/application.conf").in_cluster_mode();
        goes_through_us(&held.cluster, &application).assert_unharmed();
    }
}

#[test]
#[ignore = "make interop-kubernetes"]
fn executors_are_gone_and_no_map_task_runs_twice() {
    let Some(held) = cluster() else { return };
    daemon_set(&held.cluster);
    for version in [NEWEST, OLDER] {
        let application = application(&held.cluster, version).outliving_its_executors();
        let report = goes_through_us(&held.cluster, &application);
        assert_eq!((report.again, report.fetch_failures, report.failures), (0, 0, 0), "{report:?}");
        assert!(report.lost >= 2, "executors stayed: {report:?}");
        assert_eq!(report.map_tasks, MAP_TASKS, "{report:?}");
    }
}

#[test]
#[ignore = "make interop-kubernetes"]
fn the_servers_pod_is_replaced_between_map_and_reduce_and_no_map_task_runs_twice() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    let application = application(cluster, NEWEST).outliving_its_executors().waiting_between();
    let mut submission = application.submit(cluster);
    submission.alone(cluster, 1);
    cluster.shell("kubectl -n spark delete pod -l app.kubernetes.io/name=sealed-shuffle --wait");
    daemon_set(cluster);
    // A new process counts anew.
    assert_eq!(cluster.block_bytes(""), 0.0);
    submission.go_on(cluster);
    let report = submission.finish(cluster);
    println!("{report:?}");
    report.assert_right(&MODE);
    assert_eq!((report.again, report.fetch_failures, report.failures), (0, 0, 0), "{report:?}");
    assert_eq!(report.map_tasks, MAP_TASKS, "{report:?}");
    assert!(cluster.block_bytes("aes-gcm") > 0.0, "nothing was read from the new pod: {report:?}");
}

#[test]
#[ignore = "make interop-kubernetes"]
fn two_applications_at_once_go_through_the_daemon_set() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    let before = cluster.block_bytes("aes-gcm");
    let both: Vec<Submission> = (0..2).map(|_| application(cluster, NEWEST).submit(cluster)).collect();
    let reports: Vec<Report> = both.into_iter().map(|submission| submission.finish(cluster)).collect();
    println!("{reports:?}");
    for report in &reports {
        report.assert_right(&MODE);
        report.assert_unharmed();
    }
    assert_ne!(reports[0].app, reports[1].app);
    let remote: u64 = reports.iter().map(|report| report.remote).sum();
    assert_eq!(cluster.block_bytes("aes-gcm") - before, remote as f64, "{reports:?}");
}

/// Map outputs of a pod that is lost stay, since the service has them.
#[test]
#[ignore = "make interop-kubernetes"]
fn an_executors_pod_is_killed_and_no_stage_runs_again() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    // Enough of them for the driver to see that the pod is gone, which it is told a second later.
    let application = application(cluster, NEWEST).rounds(8);
    let mut submission = application.submit(cluster);
    submission.round(cluster, 1);
    let pod = format!("{}-exec-1", submission.name());
    cluster.kubectl(&["-n", "spark", "delete", "pod", &pod, "--grace-period=0", "--force"]);
    let report = submission.finish(cluster);
    println!("{report:?}");
    report.assert_right(&MODE);
    assert_eq!((report.again, report.fetch_failures), (0, 0), "{report:?}");
    assert!(report.lost >= 1, "no executor was lost: {report:?}");
}

#[test]
#[ignore = "make interop-kubernetes"]
fn a_rolling_update_under_a_job_costs_no_stage() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    // On a busy machine a new pod may need longer than three tries, which the page says.
    let application = application(cluster, NEWEST).rounds(12).with("spark.shuffle.io.maxRetries", "12");
    let mut submission = application.submit(cluster);
    submission.round(cluster, 1);
    cluster.shell("kubectl -n spark rollout restart daemonset/sealed-shuffle");
    cluster.shell("kubectl -n spark rollout status daemonset/sealed-shuffle --timeout=120s");
    let report = submission.finish(cluster);
    println!("{report:?}");
    report.assert_right(&MODE);
    report.assert_unharmed();
    // A new process counts anew.
    let sent = cluster.block_bytes("aes-gcm");
    assert!(sent > 0.0 && sent < report.remote as f64, "not both pods served the job: {sent} of {report:?}");
}
