//! Spark's own shuffle service, in the JVM of a peer.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use serde_json::{Value, json};

use super::peer::Peer;

/// Starts Spark's own service in the peer's JVM.
pub fn spark_service(peer: &Peer, root: &Path, secret: &str, conf: &[(&str, String)]) -> SocketAddr {
    let mut keys: serde_json::Map<String, Value> =
        conf.iter().map(|(key, value)| ((*key).to_owned(), Value::String(value.clone()))).collect();
    keys.insert("spark.local.dir".to_owned(), json!(root));
    keys.insert("spark.authenticate.secret".to_owned(), json!(secret));
    let answer = peer.call(json!({"cmd": "service-start", "conf": keys}));
    let port = answer["port"].as_u64().unwrap_or_else(|| panic!("Spark's service does not start: {answer}"));
    SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("ports are small")))
}

/// The counts of Spark's own service.
pub fn spark_metrics(peer: &Peer, address: SocketAddr) -> BTreeMap<String, u64> {
    let answer = peer.call(json!({"cmd": "service-metrics", "port": address.port()}));
    let counts = answer["metrics"].as_object().unwrap_or_else(|| panic!("no metrics: {answer}"));
    counts.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default())).collect()
}
