//! Two applications at once, each with the secret that YARN made for it: neither reaches the other's blocks.

use sealed_shuffle_interop_tests::{
    modes::Service,
    yarn::{Application, Cluster, Submission},
};

use crate::shared::{MODE, cluster};

/// A block of a map output, where it lies.
struct Block {
    node: usize,
    executor: String,
    name: String,
}

/// Whether a client gets the block as `claimed` with a secret.
fn gets(cluster: &Cluster, block: &Block, claimed: &str, secret: &str) -> bool {
    let to =
        ["fetch", "--server", "127.0.0.1:7337", "--conf", "spark.network.crypto.cipher=AES/GCM/NoPadding"];
    let what = ["--app-id", claimed, "--executor-id", &block.executor, &block.name];
    let (good, said) = cluster.nodes[block.node].client(secret, &[&to[..], &what].concat());
    assert!(!said.contains("panicked"), "{said}");
    good
}

/// A block of the application: map outputs are numbered by tasks, which begin anew with each application.
fn a_block(cluster: &Cluster, app: &str, secret: &str) -> Block {
    let executors = |node: usize| ["1", "2"].map(|executor| (node, executor.to_owned()));
    // Elsewhere nobody hands its secret over, and a client is refused after the wait for it.
    let of_it = |node: &usize| !cluster.nodes[*node].container_logs(app).is_empty();
    let all = (0..cluster.nodes.len()).filter(of_it).flat_map(executors);
    let mut blocks = all.flat_map(|(node, executor)| {
        (0..4).map(move |map| Block { node, executor: executor.clone(), name: format!("shuffle_0_{map}_0") })
    });
    blocks
        .find(|block| gets(cluster, block, app, secret))
        .expect("the control: an application's own secret gets a block")
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
        let block = a_block(cluster, &apps[own], &secrets[own]);
        assert!(!gets(cluster, &block, &apps[own], &secrets[other]), "{} with another's secret", apps[own]);
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
    cluster.assert_quiet(&["refused a handshake", "a block failed"]);
}
