//! A node whose server is away takes no containers.

use crate::shared::cluster;

#[test]
#[ignore = "make interop-yarn"]
fn a_node_is_unhealthy_while_its_server_is_away() {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let (running, unhealthy) = ("RUNNING", "UNHEALTHY");
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name().to_owned()).collect();
    let before: Vec<usize> = names.iter().map(|name| cluster.transitions(name, running, unhealthy)).collect();
    cluster.nodes[2].end_server(&[]);
    cluster.transitioned(&names[2], running, unhealthy, before[2] + 1);
    cluster.nodes[2].serve("plain");
    cluster.transitioned(&names[2], unhealthy, running, before[2] + 1);
    for (name, before) in names.iter().zip(before).take(2) {
        assert_eq!(cluster.transitions(name, running, unhealthy), before, "{name} had its server");
    }
}
