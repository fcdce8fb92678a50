//! What is done in a cell. Each check panics with what it finds.

use serde_json::json;

use crate::{
    fixture::{APP, Fixture, SECRET},
    modes::Service,
    oracle::{Digest, Executor, content},
    ours::OurCommand,
    spark::{Connection, Credentials, Store},
    wire::{Proxy, assert_looks_like},
};

pub(super) const WRONG_SECRET: &str = "sixteen-herons-wade-at-dusk";
/// Empty, tiny, small, beyond 64 KiB, beyond 1 MiB.
const SIZES: [usize; 5] = [0, 1, 3000, 70_000, 1_300_000];

/// An executor with one map output of all the sizes, not registered.
pub(super) fn with_blocks(f: &Fixture) -> (Executor, Vec<Vec<u8>>, Vec<String>) {
    let executor = Executor::beneath(f.root(), "1");
    let blocks: Vec<Vec<u8>> = (0..).zip(SIZES).map(|(seed, size)| content(seed, size)).collect();
    executor.write_map(0, 3, &blocks);
    let names = (0..SIZES.len()).map(|reduce| format!("shuffle_0_3_{reduce}")).collect();
    (executor, blocks, names)
}

/// Spark's client gets what is there, at either service.
pub(super) fn serves_sparks_client(f: &Fixture) {
    if f.mode.authenticates() && f.service == Service::Ours {
        f.expect_warning("refused a handshake");
    }
    let (executor, blocks, names) = with_blocks(f);
    let proxy = Proxy::before(f.address());
    let connection = Connection::open(&f.peer, proxy.address(), &f.credentials())
        .unwrap_or_else(|e| panic!("cannot connect: {e:?}"));
    connection.register(APP, "1", &executor).answer();
    let stream =
        connection.open_stream(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": names}));
    for (chunk, bytes) in connection.chunks(&stream, 0..blocks.len() as i64).into_iter().zip(&blocks) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
    let store = Store::open(&f.peer, proxy.address(), &f.credentials());
    store.register("1", &executor).answer();
    for to_disk in [false, true] {
        let mut fetched = store.fetch("1", &names, to_disk);
        for (name, bytes) in names.iter().zip(&blocks) {
            assert_eq!(fetched.remove(name).expect("an outcome").digest(), Digest::of(bytes), "{name}");
        }
    }
    let total: usize = SIZES.iter().sum();
    assert_eq!(f.block_bytes_served_as_configured(), 3 * total as u64, "{}", f.mode);
    let recordings = proxy.recordings();
    assert!(recordings.len() >= 2, "the connections went another way");
    recordings.iter().filter(|r| r.total > total as u64).for_each(|r| assert_looks_like(&f.mode, r));
    if !f.mode.authenticates() {
        return;
    }
    let wrong = Credentials::new(&f.mode, APP, WRONG_SECRET);
    let failure = f.connect_as(&wrong).expect_err("the secret is wrong");
    assert!(!format!("{failure:?}").contains(SECRET));
    connection.register(APP, "1", &executor).answer();
}

/// Our client does, at Spark's service.
pub(super) fn serves_our_client(f: &Fixture) {
    let (executor, blocks, names) = with_blocks(f);
    let proxy = Proxy::before(f.address());
    let client = OurCommand::new(&f.mode, proxy.address(), APP, SECRET);
    client.register("1", &executor).unwrap_or_else(|e| panic!("not registered: {e:?}"));
    let fetched = client.fetch("1", &names).unwrap_or_else(|e| panic!("not fetched: {e:?}"));
    for (name, bytes) in names.iter().zip(&blocks) {
        assert_eq!(fetched[name], Digest::of(bytes), "{name}");
    }
    let total: usize = SIZES.iter().sum();
    assert_eq!(f.block_bytes_served(), total as u64);
    let recordings = proxy.recordings();
    assert!(recordings.iter().any(|r| r.total > total as u64), "the blocks went another way");
    recordings.iter().filter(|r| r.total > total as u64).for_each(|r| assert_looks_like(&f.mode, r));
    if !f.mode.authenticates() {
        return;
    }
    let wrong = OurCommand::new(&f.mode, f.address(), APP, WRONG_SECRET);
    let refusal = wrong.register("1", &executor).expect_err("the secret is wrong");
    assert_eq!(refusal.code, Some(77), "{refusal:?}");
    assert!(!refusal.text.contains(SECRET) && !refusal.text.contains(WRONG_SECRET), "{refusal:?}");
}
