//! A byte changed on the way costs one connection and no other; a server told to stop finishes what it has begun.

use std::{net::TcpStream, thread};

use sealed_shuffle_client::ErrorKind;
use sealed_shuffle_interop_tests::{
    fixture::{APP, Fixture, SECRET},
    modes::matrix::modes,
    modes::{Cipher, Mode, Service},
    oracle::{Digest, Executor, content},
    ours::{OurClient, Server},
    spark::Connection,
    wire::{Direction, Proxy},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Only GCM can tell; CTR has no integrity, which is why a minimum above it can be set.
fn gcm_modes() -> impl Iterator<Item = Mode> {
    modes().into_iter().filter(|mode| mode.session().0 == Cipher::Gcm)
}

fn fetch() -> Value {
    json!({"type": "FetchShuffleBlocks", "app": APP, "exec": "1", "shuffle": 0, "maps": [3], "reduces": [[0, 1]],
        "batch": false})
}

#[track_caller]
fn assert_serves(connection: &Connection, map: &[Vec<u8>]) {
    let stream = connection.open_stream(fetch());
    for (chunk, bytes) in connection.chunks(&stream, 0..2).into_iter().zip(map) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
}

#[test]
fn closes_the_one_connection_whose_bytes_were_changed() {
    for mode in gcm_modes() {
        eprintln!("in mode {mode}");
        let f = Fixture::start(Service::Ours, mode);
        f.expect_warning("does not verify: it was changed on the way");
        let map = vec![content(1, 20_000), content(2, 300)];
        f.executor("1").write_map(0, 3, &map);
        let proxy = Proxy::before(f.address());
        let connect =
            || Connection::open(&f.peer, proxy.address(), &f.credentials()).expect("the secret is right");
        let (other, damaged) = (connect(), connect());
        assert_serves(&damaged, &map);
        proxy.flip_next(Direction::ToService);
        let failure = damaged.rpc(fetch()).failure();
        assert!(failure.is_disconnect(), "a changed request was answered: {failure:?}");
        assert!(damaged.is_closed_within(5000), "the connection stays open");
        assert_serves(&other, &map);
        assert_serves(&connect(), &map);
    }
}

#[test]
fn our_client_reports_changed_bytes_as_corrupt() {
    for (mode, service) in gcm_modes().flat_map(|mode| [(mode, Service::Spark), (mode, Service::Ours)]) {
        eprintln!("in mode {mode} against {service:?}");
        let f = Fixture::start(service, mode);
        let map = vec![content(1, 2_000_000)];
        f.executor("1").write_map(0, 3, &map);
        let proxy = Proxy::before(f.address());
        let client = OurClient::new(&mode, proxy.address(), APP, SECRET);
        // Connects, so that not the handshake is what is changed.
        client.local_dirs(&["1"]).expect("executor 1 is registered");
        proxy.flip_next(Direction::ToClient);
        let fetched = client.fetch("1", &["shuffle_0_3_0"]);
        let error = fetched["shuffle_0_3_0"].as_ref().expect_err("a bit was changed");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let fetched = client.fetch("1", &["shuffle_0_3_0"]);
        assert_eq!(fetched["shuffle_0_3_0"].as_ref().ok(), Some(&Digest::of(&map[0])));
    }
}

/// A server with executor 1 and 4 blocks of 10 MB, more than all socket buffers on the way hold.
fn with_large_blocks(mode: &Mode, conf: &[(&str, &str)]) -> (Server, TempDir, Vec<Vec<u8>>) {
    let root = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let mut keys = mode.conf();
    keys.extend(conf.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let server = Server::start(root.path(), Some(SECRET), &keys);
    let executor = Executor::beneath(root.path(), "1");
    let map: Vec<Vec<u8>> = (0..4).map(|seed| content(seed, 10 << 20)).collect();
    executor.write_map(0, 3, &map);
    let client = OurClient::new(mode, server.address(), APP, SECRET);
    client.register("1", &executor).expect("the directories lie beneath the root");
    (server, root, map)
}

const NAMES: [&str; 4] = ["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_3_2", "shuffle_0_3_3"];

#[test]
fn finishes_the_fetch_of_a_slow_client_when_told_to_stop() {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let (mut server, _root, map) = with_large_blocks(&mode, &[]);
    let proxy = Proxy::before(server.address());
    proxy.close_gate_after(1 << 20);
    let client = OurClient::new(&mode, proxy.address(), APP, SECRET);
    let idle = OurClient::new(&mode, server.address(), APP, SECRET);
    idle.local_dirs(&["1"]).expect("executor 1 is registered");
    let fetching = thread::spawn(move || client.fetch("1", &NAMES));
    proxy.await_gate();
    server.begin_to_drain();
    assert!(TcpStream::connect(server.address()).is_err(), "a draining server takes new connections");
    proxy.open_gate();
    let fetched = fetching.join().expect("the client does not panic");
    for (name, bytes) in NAMES.iter().zip(&map) {
        assert_eq!(fetched[*name].as_ref().ok(), Some(&Digest::of(bytes)), "{name}: {:?}", fetched[*name]);
    }
    server.finish_drain(&[]);
}

#[test]
fn cuts_a_client_that_takes_nothing_when_the_drain_is_over() {
    let mode = Mode::newest(Cipher::Ctr, 1);
    let (mut server, _root, _map) = with_large_blocks(
        &mode,
        &[("spark.sealed.drain.timeout", "1s"), ("spark.sealed.security.target", "aes-ctr")],
    );
    let proxy = Proxy::before(server.address());
    proxy.close_gate_after(1 << 20);
    let client = OurClient::new(&mode, proxy.address(), APP, SECRET);
    let fetching = thread::spawn(move || client.fetch("1", &NAMES));
    proxy.await_gate();
    server.begin_to_drain();
    server.finish_drain(&["cut what did not finish within spark.sealed.drain.timeout"]);
    proxy.open_gate();
    let fetched = fetching.join().expect("the client does not panic");
    let lost: Vec<ErrorKind> = fetched.values().filter_map(|o| Some(o.as_ref().err()?.kind())).collect();
    assert!(!lost.is_empty() && lost.iter().all(|kind| *kind == ErrorKind::Unreachable), "{fetched:?}");
}
