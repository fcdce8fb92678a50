//! Peers that prove nothing, where such peers are served: they reach no application that was registered with proof.

use sealed_shuffle_config::Policy;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::ChunkIndex;
use sealed_shuffle_protocol::message::Head;

use crate::running::{APP, GCM, Peer, Running, fetch, register};

fn lenient() -> Running {
    Running::start_with(|config| {
        config.policy = Policy { anonymous: true, ..Policy::at_least(SecurityLevel::Plaintext) };
    })
}

fn dir(running: &Running) -> &str {
    running.dir.to_str().unwrap()
}

#[test]
fn a_stream_that_was_opened_before_the_application_proved_itself_brings_nothing_after() {
    let running = lenient();
    running.write_map(1, &[1000]);
    let mut early = Peer::connect(running.address);
    let unknown = early.open(1, &[0]).unwrap().stream;
    early.rpc(&register(&[dir(&running)])).unwrap();
    let own = early.open(1, &[0, 0, 0]).unwrap().stream;
    assert_eq!(early.chunk(own, 0).unwrap().len(), 1000, "nobody else has claimed it");

    let _owner = running.registered(GCM);
    for stream in [unknown, own] {
        let text = early.chunk(stream, if stream == own { 1 } else { 0 }).unwrap_err();
        assert!(text.contains("spark.authenticate=true"), "{text}");
    }
    early.send(&Head::StreamRequest { stream: format!("{}_2", own.0) }, b"");
    let Some((Head::StreamFailure { error, .. }, _)) = early.next() else { panic!("no failure") };
    assert!(error.contains("spark.authenticate=true"), "{error}");
    assert!(early.rpc(&fetch(APP, 1, &[0])).unwrap_err().contains("spark.authenticate=true"));
}

#[test]
fn an_application_that_was_registered_with_proof_is_not_registered_again_without() {
    let running = lenient();
    let mut owner = running.registered(GCM);
    running.write_map(1, &[1000]);
    let mut peer = Peer::connect(running.address);
    let elsewhere = running.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    assert!(peer.rpc(&register(&[elsewhere.to_str().unwrap()])).is_err());
    let stream = owner.open(1, &[0]).unwrap().stream;
    owner.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, b"");
    assert!(matches!(owner.next(), Some((Head::ChunkFetchSuccess { .. }, _))));
}
