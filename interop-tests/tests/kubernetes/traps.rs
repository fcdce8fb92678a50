//! Mistakes of an operator: each is answered with what to change.

use std::{fs, os::unix::fs::PermissionsExt};

use sealed_shuffle_interop_tests::kubernetes::Cluster;

use crate::shared::{NEWEST, application, cluster, daemon_set};

/// Waits for a line of the server's log that has all of these words.
#[track_caller]
fn says(cluster: &Cluster, words: &[&str]) {
    let line = |cluster: &Cluster| {
        // While a pod is replaced there may be no log.
        let log = cluster.try_shell("kubectl -n spark logs daemonset/sealed-shuffle").unwrap_or_default();
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().find(has_all).map(str::to_owned)
    };
    cluster.wait_until(&format!("the server's log has {words:?}"), |cluster| line(cluster).is_some());
    println!("{:?}", line(cluster));
}

#[test]
#[ignore = "make interop-kubernetes"]
fn executors_without_the_directories_of_the_host_are_refused_when_they_register() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    let volume = "spark.kubernetes.executor.volumes.hostPath.spark-local-dir-1";
    let application = application(cluster, NEWEST)
        .with(&format!("{volume}.mount.path"), "/elsewhere")
        .with("spark.executor.instances", "1");
    let submission = application.submit(cluster);
    says(cluster, &["/elsewhere/blockmgr-"]);
    drop(submission);
    cluster.shell("kubectl -n spark delete pod -l spark-role=executor --ignore-not-found --wait");
}

/// Where the directory of the host belongs to nobody in particular (else Spark itself fails there), and the image has umask 077: with 022
/// Spark's directories and files are open to all.
#[test]
#[ignore = "make interop-kubernetes"]
fn executors_of_another_user_are_refused_when_they_register_in_words_that_name_both() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    let disk = cluster.directory().join("disk");
    let open = |mode: u32| fs::set_permissions(&disk, fs::Permissions::from_mode(mode)).expect("we are root");
    open(0o1777);
    let closed = r#"command: [bash, -c, 'umask 077; exec /opt/entrypoint.sh "$@"', bash]"#;
    let template = "sed 's/185/999/' deploy/kubernetes/daemonset/executor.yaml";
    cluster.shell(&format!("{{ {template}; cat <<'END'\n    {closed}\nEND\n}} > other-user.yaml"));
    let application = application(cluster, NEWEST)
        .with("spark.kubernetes.executor.podTemplateFile", "other-user.yaml")
        .with("spark.executor.instances", "1");
    let submission = application.submit(cluster);
    says(cluster, &["cannot be read by the service", "/mnt/spark/blockmgr-", "uid 185", "uid 999"]);
    drop(submission);
    cluster.shell("kubectl -n spark delete pod -l spark-role=executor --ignore-not-found --wait");
    open(0o755);
}

#[test]
#[ignore = "make interop-kubernetes"]
fn a_secret_that_all_may_read_is_refused_in_the_words_of_its_volume() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    daemon_set(cluster);
    let volume = r#"{"name": "secret", "secret": {"defaultMode": 420}}"#;
    let patch = format!(r#"{{"spec": {{"template": {{"spec": {{"volumes": [{volume}]}}}}}}}}"#);
    cluster.kubectl(&["-n", "spark", "patch", "daemonset", "sealed-shuffle", "-p", &patch]);
    says(cluster, &["/etc/sealed-shuffle/secret/bytes", "0644", "defaultMode: 0440", "fsGroup"]);
    // It is as before afterwards.
    daemon_set(cluster);
}
