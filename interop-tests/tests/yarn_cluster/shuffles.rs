//! Shuffles without push: rows equal, and blocks that other hosts read go through our servers on each node.

use sealed_shuffle_interop_tests::{
    fixture::BLOCK_BYTES,
    modes::{Auth, Cipher, Mode, SaslCipher, Service, Stores},
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

fn goes_through_us(mode: Mode, change: impl FnOnce(Application) -> Application) {
    let Some(mut held) = cluster() else { return };
    let cluster = &mut *held.cluster;
    let [channel, ..] = mode.labels();
    // The other ways are below the default minimum, or need a key of the server's.
    if !channel.starts_with("aes") {
        cluster.serve_all_with("plain", &mode.service_conf(Service::Ours));
    }
    let (report, sent) = run(cluster, &change(Application::new(mode, Service::Ours)));
    println!("{mode}: {report:?}, block bytes of each node {sent:?}");
    report.assert_right(&mode);
    report.assert_unharmed();
    assert_eq!(report.tasks.len(), 3, "tasks ran elsewhere: {report:?}");
    assert!(sent.iter().all(|bytes| *bytes > 0.0), "a node's server sent nothing: {sent:?}");
    assert_eq!(sent.iter().sum::<f64>(), report.remote as f64, "{report:?}");
    for node in &cluster.nodes {
        let samples = node.server().metrics();
        let spoken = samples.iter().filter(|(name, _)| name.starts_with(BLOCK_BYTES));
        let of_it = |name: &str| name.contains(&format!("channel=\"{channel}\""));
        let bytes: f64 = spoken.filter(|(name, _)| of_it(name)).map(|(_, bytes)| *bytes).sum();
        assert!(bytes > 0.0, "nothing was sent as {channel}: {samples:?}");
    }
    cluster.assert_quiet(&["below the target"]);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_client_mode() {
    goes_through_us(MODE, |application| application);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_cluster_mode() {
    goes_through_us(Mode::newest(Cipher::Ctr, 1), Application::in_cluster_mode);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_sasl() {
    goes_through_us(Mode::new("4.3.0", Auth::SaslConf(SaslCipher::TripleDes)), |application| application);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_of_an_older_spark_go_through_our_servers() {
    goes_through_us(Mode::aes("3.5.9", Cipher::Gcm, 1), |application| application);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_of_an_older_spark_go_through_our_servers_in_sasl_in_cluster_mode() {
    let mode = Mode::new("3.5.9", Auth::SaslConf(SaslCipher::TripleDes));
    goes_through_us(mode, Application::in_cluster_mode);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_tls() {
    let mode = Mode::new("4.3.0", Auth::Sasl).inside_tls(Stores::Pkcs12);
    goes_through_us(mode, Application::with_passwords_of_stores);
}

#[test]
#[ignore = "make interop-yarn"]
fn blocks_go_through_our_servers_in_tls_in_cluster_mode() {
    let mode = Mode::new("4.3.0", Auth::Sasl).inside_tls(Stores::Pkcs12);
    goes_through_us(mode, |application| application.with_passwords_of_stores().in_cluster_mode());
}
