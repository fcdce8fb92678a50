//! Live executors and the driver serve their blocks: our client gets from them what Spark's own client gets.
//!
//! The newest release in one mode; all of the matrix if it is asked for. What a block manager checks is in its own classes (`NettyBlockRpcServer`, `OneForOneStreamManager`, Spark 4.3.0): it takes
//! any application id in the handshake, and refuses a wrong one at the chunk.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use sealed_shuffle_client::{ErrorKind, FetchError};
use sealed_shuffle_interop_tests::{
    applications::LiveApplication,
    fixture::SECRET,
    modes::Mode,
    modes::matrix::live_modes,
    oracle::{CANARY, Digest},
    ours::OurClient,
    spark::{Connection, Credentials, Peer},
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn our_client_fetches_from_live_block_managers_what_sparks_client_fetches() {
    for mode in live_modes() {
        eprintln!("in mode {mode}");
        let live = LiveApplication::start(&mode, SECRET);
        let expected = fetched_by_spark(&live, &mode);
        for ((executor, names), digests) in &expected {
            let ours = OurClient::new(&mode, address(&live, executor), &live.app, SECRET);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(&all(ours.fetch(executor, &names)), digests, "{names:?}");
        }
        fetches_every_way(&live, &mode);
        loses_only_what_is_missing(&live, &mode);
        is_refused_under_another_name_or_secret(&live, &mode);
    }
}

/// Whose blocks, by name, to what Spark's client gets; what lies in files is compared with the files.
fn fetched_by_spark(
    live: &LiveApplication,
    mode: &Mode,
) -> BTreeMap<(String, Vec<String>), BTreeMap<String, Digest>> {
    let peer = Peer::shared(mode.version);
    let (map, executor) = &live.maps[0];
    let shuffle: Vec<String> = [2, 0].map(|reduce| format!("shuffle_0_{map}_{reduce}")).into();
    let fetch = json!({"type": "FetchShuffleBlocks", "app": live.app, "exec": executor, "shuffle": 0,
        "maps": [map], "reduces": [[2, 0]], "batch": false});
    let digests = chunks(&connect(&peer, address(live, executor), mode, live), fetch, &shuffle);
    for (name, reduce) in shuffle.iter().zip([2, 0]) {
        assert_eq!(digests[name], Digest::of(&live.partition(*map, reduce)));
    }
    let mut expected = BTreeMap::from([((executor.clone(), shuffle), digests)]);

    let piece = (format!("broadcast_{}_piece0", live.broadcast), "driver".to_owned());
    for (block, executor) in [&live.rdd_disk, &live.rdd_memory, &piece] {
        let connection = connect(&peer, address(live, executor), mode, live);
        let digests = chunks(&connection, open(&live.app, executor, block), std::slice::from_ref(block));
        assert!(digests[block].length > CANARY.len() as u64, "{block} is all but empty");
        expected.insert((executor.clone(), vec![block.clone()]), digests);
    }
    let (block, executor) = &live.rdd_disk;
    assert_eq!(expected[&(executor.clone(), vec![block.clone()])][block], Digest::of(&live.file(block)));
    expected
}

/// A range, the older protocol, files, and kinds of blocks mixed in one list.
fn fetches_every_way(live: &LiveApplication, mode: &Mode) {
    let (map, executor) = &live.maps[0];
    let (rdd, rdd_executor) = &live.rdd_disk;
    let whole: Vec<u8> = (0..3).flat_map(|reduce| live.partition(*map, reduce)).collect();
    let (range, one) = (format!("shuffle_0_{map}_0_3"), format!("shuffle_0_{map}_1"));
    let expected = BTreeMap::from([
        (range.clone(), Digest::of(&whole)),
        (one.clone(), Digest::of(&live.partition(*map, 1))),
    ]);
    let client = OurClient::new(mode, address(live, executor), &live.app, SECRET);
    assert_eq!(all(client.fetch(executor, &[&range, &one])), expected);
    let dir = TempDir::with_prefix("interop-files-").expect("the temporary directory is writable");
    assert_eq!(all(client.fetch_to_files(executor, &[&range, &one], dir.path())), expected);

    let older = OurClient::with(mode, address(live, rdd_executor), &live.app, SECRET, |settings| {
        settings.old_fetch_protocol(true)
    });
    assert_eq!(all(older.fetch(rdd_executor, &[rdd]))[rdd], Digest::of(&live.file(rdd)));
}

fn loses_only_what_is_missing(live: &LiveApplication, mode: &Mode) {
    let (map, executor) = &live.maps[0];
    let here = format!("shuffle_0_{map}_0");
    let beyond = format!("shuffle_0_{map}_99");
    let client = OurClient::new(mode, address(live, executor), &live.app, SECRET);
    let fetched =
        client.fetch(executor, &["shuffle_0_999999_0", &here, &beyond, "rdd_9999_0", "shuffle_77_0_0"]);
    for (name, outcome) in &fetched {
        match outcome {
            Ok(digest) => assert_eq!((name, digest), (&here, &Digest::of(&live.partition(*map, 0)))),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Missing, "{error}"),
        }
    }
    assert!(fetched[&here].is_ok(), "{fetched:?}");
    assert_eq!(fetched.values().filter(|outcome| outcome.is_err()).count(), 4, "{fetched:?}");
}

fn is_refused_under_another_name_or_secret(live: &LiveApplication, mode: &Mode) {
    let (map, executor) = &live.maps[0];
    let names = [format!("shuffle_0_{map}_0"), format!("shuffle_0_{map}_1")];
    let names = names.each_ref().map(String::as_str);
    for (app, secret) in [("app-other", SECRET), (&live.app, "sixteen-herons-wade-at-dusk")] {
        let client = OurClient::new(mode, address(live, executor), app, secret);
        for outcome in client.fetch(executor, &names).into_values() {
            let error = outcome.expect_err("neither name nor secret may be wrong");
            assert_eq!(error.kind(), ErrorKind::Refused, "as {app}: {error}");
        }
    }
}

fn address(live: &LiveApplication, executor: &str) -> SocketAddr {
    if executor == "driver" { live.driver } else { live.executors[executor] }
}

#[track_caller]
fn all(outcomes: BTreeMap<String, Result<Digest, FetchError>>) -> BTreeMap<String, Digest> {
    let digest = |outcome: Result<Digest, FetchError>| outcome.unwrap_or_else(|e| panic!("not fetched: {e}"));
    outcomes.into_iter().map(|(name, outcome)| (name, digest(outcome))).collect()
}

fn connect(peer: &Arc<Peer>, address: SocketAddr, mode: &Mode, live: &LiveApplication) -> Connection {
    Connection::open(peer, address, &Credentials::new(mode, &live.app, SECRET)).expect("the secret is right")
}

fn chunks(connection: &Connection, message: Value, names: &[String]) -> BTreeMap<String, Digest> {
    let stream = connection.open_stream(message);
    let chunks = connection.chunks(&stream, 0..names.len() as i64);
    names.iter().cloned().zip(chunks.into_iter().map(|chunk| chunk.digest())).collect()
}

fn open(app: &str, exec: &str, block: &str) -> Value {
    json!({"type": "OpenBlocks", "app": app, "exec": exec, "blocks": [block]})
}
