//! Two applications at once, each with the secret that YARN made for it: neither reaches the other's blocks.

use sealed_shuffle_interop_tests::{
    modes::Service,
    yarn::{Application, Cluster, Submission},
};

use crate::shared::{MODE, cluster};

/// Names of blocks that map tasks of the first stages may have written: by a task's number, which begins anew with each
/// application.
fn blocks() -> Vec<String> {
    (0..6).flat_map(|map| (0..2).map(move |shuffle| format!("shuffle_{shuffle}_{map}_0"))).collect()
}

/// How many of the application's blocks a client gets on any node as `claimed`, with a secret.
fn got(cluster: &Cluster, claimed: &str, secret: &str) -> usize {
    let mut count = 0;
    for node in &cluster.nodes {
        for executor in ["1", "2"] {
            for block in blocks() {
                let arguments =
                    ["fetch", "--server", "127.0.0.1:7337", "--app-id", claimed, "--executor-id", executor];
                let cipher = ["--conf", "spark.network.crypto.cipher=AES/GCM/NoPadding"];
                let (good, said) = node.client(secret, &[&arguments[..], &cipher, &[&block]].concat());
                assert!(good || !said.contains("panicked"), "{said}");
                count += usize::from(good);
            }
        }
    }
    count
}

#[test]
#[ignore = "make interop-yarn"]
fn an_application_does_not_reach_the_blocks_of_another() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    // Two executors of each fit beside each other.
    let application = Application::new(MODE, Service::Ours)
        .held()
        .with("spark.executor.instances", "2")
        .with("spark.executor.memory", "512m");
    let mut both: Vec<Submission> = (0..2).map(|_| application.submit(cluster)).collect();
    let secrets: Vec<String> = both.iter_mut().map(Submission::secret).collect();
    both.iter_mut().for_each(|submission| submission.round(1));
    let apps: Vec<String> = both.iter().map(|submission| submission.id().expect("it runs")).collect();
    assert_ne!(secrets[0], secrets[1]);
    assert!(secrets.iter().all(|secret| secret.len() >= 32), "YARN made none");
    for (own, other) in [(0, 1), (1, 0)] {
        assert!(got(cluster, &apps[own], &secrets[own]) > 0, "the control: the application's own secret");
        assert_eq!(got(cluster, &apps[other], &secrets[own]), 0, "with the other's secret");
    }
    both.iter().for_each(Submission::release);
    for submission in both {
        let report = submission.finish(cluster);
        report.assert_right(&MODE);
        report.assert_unharmed();
    }
    for node in &cluster.nodes {
        for secret in &secrets {
            assert!(!node.manager_log().iter().any(|line| line.contains(secret)), "a secret is in a log");
            assert!(!node.server().log().iter().any(|line| line.contains(secret)), "a secret is in a log");
        }
    }
    cluster.assert_quiet(&["refused a handshake"]);
}
