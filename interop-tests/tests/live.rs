//! Live executors and the driver serve their blocks to Spark's own client: what our client's tests lean on.

use std::sync::Arc;

use sealed_shuffle_interop_tests::{
    client::{Connection, Credentials},
    live::Live,
    matrix::{Cipher, Mode, oracle_modes},
    oracle::{CANARY, Digest},
    peer::Peer,
    service::SECRET,
};
use serde_json::{Value, json};

#[test]
fn spark_fetches_from_live_block_managers() {
    for mode in oracle_modes(Mode::newest(Cipher::Gcm, 1)) {
        eprintln!("in mode {mode}");
        fetches_from_live_block_managers(&mode);
    }
}

fn fetches_from_live_block_managers(mode: &Mode) {
    let live = Live::start(mode, SECRET);
    let peer = Peer::shared(mode.version);
    let connect = |address| connect(&peer, address, mode, &live.app);
    let (map, executor) = &live.maps[0];
    let connection = connect(live.executors[executor]);
    let stream = connection
        .open_stream(json!({"type": "FetchShuffleBlocks", "app": live.app, "exec": executor,
        "shuffle": 0, "maps": [map], "reduces": [[2, 0]], "batch": false}));
    let chunks = connection.chunks(&stream, 0..2);
    for (chunk, reduce) in chunks.into_iter().zip([2, 0]) {
        assert_eq!(chunk.digest(), Digest::of(&live.partition(*map, reduce)));
    }
    let (block, executor) = &live.rdd_disk;
    let connection = connect(live.executors[executor]);
    let stream = connection.open_stream(open(&live.app, executor, block));
    assert_eq!(connection.chunk(&stream, 0).digest(), Digest::of(&live.file(block)));

    let (block, executor) = &live.rdd_memory;
    let connection = connect(live.executors[executor]);
    let stream = connection.open_stream(open(&live.app, executor, block));
    assert!(connection.chunk(&stream, 0).digest().length > CANARY.len() as u64);

    let connection = connect(live.driver);
    let piece = format!("broadcast_{}_piece0", live.broadcast);
    let stream = connection.open_stream(open(&live.app, "driver", &piece));
    assert!(connection.chunk(&stream, 0).digest().length > 0);
}

fn connect(peer: &Arc<Peer>, address: std::net::SocketAddr, mode: &Mode, app: &str) -> Connection {
    Connection::open(peer, address, &Credentials::new(mode, app, SECRET)).expect("the secret is right")
}

fn open(app: &str, exec: &str, block: &str) -> Value {
    json!({"type": "OpenBlocks", "app": app, "exec": exec, "blocks": [block]})
}
