//! Our server goes away under a job, and comes back.

use std::time::Duration;

use rustix::process::Signal;
use sealed_shuffle_interop_tests::{modes::Service, yarn::Application};

use crate::shared::{MODE, cluster};

#[test]
fn a_server_that_is_killed_under_a_job_costs_no_stage() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let mut submission = Application::new(MODE, Service::Ours).pushing().rounds(3).submit(cluster);
    for (round, node) in [(1, 0), (2, 1)] {
        submission.round(round);
        let pushed =
            |node: usize| cluster.nodes[node].server().metric("sealed_shuffle_merge_written_bytes_total");
        let before = pushed(node);
        // In the midst of the next round.
        while pushed(node) <= before {
            std::thread::sleep(Duration::from_millis(5));
        }
        cluster.nodes[node].kill_server();
        cluster.nodes[node].serve("plain");
    }
    let report = submission.finish(cluster);
    println!("two servers killed: {report:?}");
    report.assert_right(&MODE);
    report.assert_unharmed();
    cluster.assert_quiet(&[]);
}

/// Blocks of its node are lost, whoever serves them: Spark computes them again elsewhere, if it may exclude what does not answer
/// (docs/yarn.md).
#[test]
#[ignore = "make interop-yarn"]
fn a_server_that_stays_away_costs_stages_and_no_row() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let mut submission = excluding(Application::new(MODE, Service::Ours).pushing()).rounds(3).submit(cluster);
    submission.round(1);
    cluster.nodes[2].kill_server();
    let report = submission.finish(cluster);
    cluster.nodes[2].serve("plain");
    println!("a server away for good: {report:?}");
    report.assert_right(&MODE);
    assert!(report.fetch_failures > 0, "nobody missed it: {report:?}");
    cluster.assert_quiet(&[]);
}

/// The same with all that runs on it: the node's network is gone.
#[test]
#[ignore = "make interop-yarn"]
fn a_node_that_is_dead_costs_stages_and_no_row() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let application = excluding(Application::new(MODE, Service::Ours).pushing())
        .with("spark.network.timeout", "20s")
        .with("spark.network.timeoutInterval", "5s")
        .with("spark.executor.heartbeatInterval", "4s");
    let mut submission = application.rounds(3).submit(cluster);
    submission.round(1);
    cluster.nodes[2].cut_off(true);
    let report = submission.finish(cluster);
    cluster.nodes[2].cut_off(false);
    println!("a node dead: {report:?}");
    report.assert_right(&MODE);
    assert!(report.lost > 0, "its executor stayed: {report:?}");
}

/// Without these keys Spark gives the next attempt of a stage to the same node, and gives up after four.
fn excluding(application: Application) -> Application {
    application
        .with("spark.excludeOnFailure.enabled", "true")
        .with("spark.excludeOnFailure.application.fetchFailure.enabled", "true")
        .with("spark.shuffle.io.retryWait", "1s")
}

/// With their recovery on, as the recipe has it.
#[test]
#[ignore = "make interop-yarn"]
fn node_managers_that_are_killed_and_stopped_under_a_job_cost_no_stage() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let mut submission = Application::new(MODE, Service::Ours).pushing().rounds(3).submit(cluster);
    for (round, node, signal) in [(1, 0, Signal::KILL), (2, 1, Signal::TERM)] {
        submission.round(round);
        cluster.nodes[node].end_manager(signal);
        cluster.nodes[node].manage();
        cluster.nodes[node].registered();
    }
    let report = submission.finish(cluster);
    println!("two NodeManagers away: {report:?}");
    report.assert_right(&MODE);
    report.assert_unharmed();
    // Its end is told by the NodeManagers that are new, too, also where no container of it was left when they came.
    cluster.nodes.iter().for_each(|node| node.has_forgotten(&report.app));
    cluster.assert_quiet(&[]);
}

/// It goes on with the applications that it finds in its store.
#[test]
#[ignore = "make interop-yarn"]
fn resource_manager_that_is_killed_under_a_job_costs_no_stage() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let mut submission = Application::new(MODE, Service::Ours).pushing().rounds(2).submit(cluster);
    submission.round(1);
    cluster.restart_resource_manager();
    let report = submission.finish(cluster);
    println!("the ResourceManager away: {report:?}");
    report.assert_right(&MODE);
    report.assert_unharmed();
    cluster.nodes.iter().for_each(|node| node.has_forgotten(&report.app));
    cluster.assert_quiet(&[]);
}
