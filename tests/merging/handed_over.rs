//! Applications whose secret was handed over: in from their beginning, and all gone at their end.

use std::time::Duration;

use sealed_shuffle::{HandOverPayload, HandoverConfig, Receiver};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;

use crate::running::{GCM, PATIENCE, Peer, Running, eventually};
use crate::support::{APP, Merging, block, merging, push};

const OTHER: &str = "application_1700000000000_0002";

fn taking(wait: Duration) -> Merging {
    Merging::unregistered(GCM, |config| {
        merging(config);
        config.secret = None;
        let socket = config.envelope.state_dir.join("handover.sock");
        config.handover = Some(HandoverConfig::new(socket, Vec::new(), wait));
    })
}

fn begin(server: &Running, app: &str) {
    let given = HandOverPayload::new(Some(AppSecret::new(server.secret.clone())), true);
    server.server.started(&AppId::new(app), given).unwrap();
}

fn handed_over(server: &Running, message: &str) -> u64 {
    server.metric(&format!("sealed_shuffle_handover_total{{message=\"{message}\",outcome=\"done\"}}"))
}

#[test]
fn nothing_of_an_application_outlives_its_end() {
    let merging = taking(Duration::ZERO);
    begin(&merging.server, APP);
    begin(&merging.server, OTHER);
    let mut peer = merging.peer();
    let mut other = merging.peer_of(OTHER);
    peer.rpc(&merging.register(1)).unwrap();
    assert_eq!(push(&mut peer, block(0, 0, 1, 0), b"merged"), "ok");
    assert_eq!(merging.server.metric("sealed_shuffle_executors"), 1);

    merging.server.server.ended(&AppId::new(APP)).unwrap();
    peer.wait_closed();
    assert_eq!(merging.server.metric("sealed_shuffle_executors"), 0);
    assert_eq!(merging.server.metric("sealed_shuffle_secrets_handed_over"), 1);
    eventually("what it merged is gone", || merging.server.merged.paths().is_empty());
    let again = Peer::connect(merging.server.address).handshake(APP, &merging.server.secret, GCM);
    assert!(again.unwrap_err().contains("Authentication failed"));
    let text = other.rpc(&merging.register(1)).unwrap_err();
    assert!(text.contains("not authorized"), "another application's connection goes on: {text}");

    merging.server.server.ended(&AppId::new(APP)).unwrap();
    let forgotten = "sealed_shuffle_forgotten_applications_total{reason=\"ended\"}";
    assert_eq!(merging.server.metric(forgotten), 1, "once, however often it is said");
    assert_eq!((handed_over(&merging.server, "started"), handed_over(&merging.server, "ended")), (2, 2));
}

#[test]
fn an_executor_that_comes_before_its_secret_waits_for_it() {
    let merging = taking(PATIENCE);
    let server = &merging.server;
    std::thread::scope(|scope| {
        let early = scope.spawn(|| merging.peer());
        eventually("it is there", || server.metric("sealed_shuffle_connections") == 1);
        begin(server, APP);
        early.join().unwrap();
    });
}

#[test]
fn an_application_that_begins_again_without_a_secret_has_none() {
    let merging = taking(Duration::ZERO);
    begin(&merging.server, APP);
    let mut peer = merging.peer();
    merging.server.server.started(&AppId::new(APP), HandOverPayload::new(None, true)).unwrap();
    peer.wait_closed();
    assert_eq!(merging.server.metric("sealed_shuffle_secrets_handed_over"), 0);
}

#[test]
fn an_operator_ends_what_nobody_else_does() {
    let merging = taking(Duration::ZERO);
    begin(&merging.server, APP);
    let mut peer = merging.peer();
    assert_eq!(merging.server.server.forget(&AppId::new(APP)), Some(0));
    peer.wait_closed();
    assert_eq!(merging.server.server.forget(&AppId::new(APP)), None);
}
