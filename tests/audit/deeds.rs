//! What is done leaves its record, with the application and the user that did it.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use rustix::process::Signal;
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_protocol::ids::{
    AppId, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, FinalizeShuffleMerge, PushBlockStream, RegisterExecutor,
    RemoveBlocks, RemoveShuffleMerge, Strings,
};

use super::running::{APP, CTR, EXECUTOR, GCM, Peer};
use super::{Node, SECRET, connect, files};

const SUB_DIRS: i32 = 64;

/// An executor that takes part in merging.
fn register(dir: &Path) -> BlockTransferMessage {
    for sub_dir in 0..SUB_DIRS {
        fs::create_dir_all(dir.parent().unwrap().join(format!("merge_manager_1/{sub_dir:02x}"))).unwrap();
    }
    RegisterExecutor {
        app: AppId::new(APP),
        executor: ExecutorId::new(EXECUTOR),
        info: ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: SUB_DIRS,
            shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager:\
                              {\"mergeDir\":\"merge_manager_1\",\"attemptId\":\"1\"}"
                .to_owned(),
        },
    }
    .into()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let sub_dir = dir.join(Placement::of(name, 1, SUB_DIRS).unwrap().sub_dir());
    fs::create_dir_all(&sub_dir).unwrap();
    fs::write(sub_dir.join(name), bytes).unwrap();
}

/// A map output of two blocks with 100 and 200 bytes, and a block of an RDD.
fn write_blocks(dir: &Path) {
    let index: Vec<u8> = [0_u64, 100, 300].iter().flat_map(|offset| offset.to_be_bytes()).collect();
    write(dir, &layout::data_name(ShuffleId(0), MapId(0)), &[7; 300]);
    write(dir, &layout::index_name(ShuffleId(0), MapId(0)), &index);
    write(dir, "rdd_7_0", b"cached");
}

fn push(peer: &mut Peer, body: &[u8], map_index: i32) {
    let push = PushBlockStream {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(1),
        merge: ShuffleMergeId(0),
        map_index,
        reduce: ReduceId(0),
        index: 0,
    };
    let meta = BlockTransferMessage::from(push).encode().unwrap();
    let mut bytes = BytesMut::new();
    Head::UploadStream { request: RequestId(7), meta }.encode(body.len() as u64, &mut bytes).unwrap();
    bytes.extend_from_slice(body);
    peer.try_say(&bytes).unwrap();
    let answered = peer.next();
    assert!(matches!(answered, Some((Head::RpcResponse { .. }, _))), "{answered:?}");
}

#[test]
fn each_deed_leaves_its_record_with_application_and_user() {
    let node = Node::new();
    let mut serving = node.start("spark.sealed.audit.period 1h");
    let dir = node.at("root/blockmgr-1").canonicalize().unwrap();
    write_blocks(&dir);

    let mut peer = connect(&serving, APP, SECRET, GCM).unwrap();
    peer.rpc(&register(&dir)).unwrap();
    let stream = peer.open(0, &[0, 1]).unwrap().stream;
    assert_eq!((peer.chunk(stream, 0).unwrap().len(), peer.chunk(stream, 1).unwrap().len()), (100, 200));
    push(&mut peer, &[1; 50], 0);
    let (app, shuffle, merge) = (AppId::new(APP), ShuffleId(1), ShuffleMergeId(0));
    peer.rpc(&FinalizeShuffleMerge { app: app.clone(), app_attempt: 1, shuffle, merge }.into()).unwrap();
    // It comes too late.
    push(&mut peer, &[1; 50], 1);
    let blocks = Strings::try_from_iter(["rdd_7_0"]).unwrap();
    peer.rpc(&RemoveBlocks { app: app.clone(), executor: ExecutorId::new(EXECUTOR), blocks }.into()).unwrap();
    let remove = RemoveShuffleMerge { app, app_attempt: 1, shuffle, merge };
    peer.send(&Head::OneWayMessage, &BlockTransferMessage::from(remove).encode().unwrap());
    // Of another application, on a connection that goes on.
    assert!(peer.rpc(&super::running::fetch("somebody-else", 0, &[0])).is_err());
    let address = peer.socket.local_addr().unwrap().to_string();
    drop(peer);
    let ended = node.record("the connection has ended", |one| one["what"] == "connection");
    for (name, value) in [
        ("app", APP),
        ("executor", EXECUTOR),
        ("channel", "aes-gcm"),
        ("peer", &address),
        ("outcome", "peer_closed"),
    ] {
        assert_eq!(ended[name], value, "{name}: {ended:#}");
    }
    assert_eq!(ended["proven"], true);
    for (name, count) in [
        ("registered", 1),
        ("read_blocks", 2),
        ("read_bytes", 300),
        ("pushed_blocks", 2),
        ("pushed_bytes", 100),
        ("not_merged", 1),
        ("finalized", 1),
        ("removed_blocks", 1),
        ("removed_merges", 1),
        ("failed", 1),
    ] {
        assert_eq!(ended[name], count, "{name}: {ended:#}");
    }
    let began = node.record("the application has begun", |one| one["what"] == "application_began");
    assert_eq!((&began["app"], &began["executor"]), (&APP.into(), &EXECUTOR.into()));
    let key = node.record("its key was made", |one| one["what"] == "key" && one["app"] == APP);
    assert_eq!(
        (&key["done"], &key["provider"], &key["outcome"]),
        (&"created".into(), &"local-file".into(), &"done".into())
    );
    node.record("so was the store's", |one| one["what"] == "key" && one["app"] == "node/recovery-store");

    // Who is refused, and by what it said.
    assert!(connect(&serving, "impostor", "two", GCM).is_err());
    let refused = node.record("the impostor is refused", |one| one["app"] == "impostor");
    assert_eq!((&refused["what"], &refused["reason"]), (&"refused".into(), &"authentication_failed".into()));
    let foreign = node.record("another's block is refused", |one| one["reason"] == "wrong_application");
    assert_eq!((&foreign["app"], &foreign["peer"]), (&"somebody-else".into(), &address.into()));

    // What an operator does.
    node.properties("spark.sealed.audit.period 1h\nspark.sealed.security.minimum aes-gcm");
    let user = rustix::process::geteuid().as_raw();
    for (arguments, action, about) in [
        (&["reload"][..], "reload", None),
        (&["log-level", "warn"], "log_level", Some(("about", "warn"))),
        (&["forget", APP], "forget", Some(("app", APP))),
    ] {
        let output = node.tell(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let done = node.record(action, |one| one["what"] == "operator" && one["action"] == action);
        assert_eq!((&done["user"], &done["outcome"]), (&user.into(), &"done".into()), "{done:#}");
        if let Some((name, value)) = about {
            assert_eq!(done[name], value, "{done:#}");
        }
    }
    let changed = node.record("the policy has changed", |one| one["what"] == "policy_changed");
    assert_eq!(
        (&changed["before"]["minimum"], &changed["after"]["minimum"]),
        (&"aes-ctr".into(), &"aes-gcm".into())
    );
    let ended = node.record("the application has ended", |one| one["what"] == "application_ended");
    assert_eq!(
        (&ended["app"], &ended["reason"], &ended["executors"]),
        (&APP.into(), &"told".into(), &1.into())
    );
    // As the answer to its first request.
    assert!(connect(&serving, APP, SECRET, CTR).unwrap().open(0, &[0]).is_err());
    let below = node.record("a weak channel is refused", |one| one["reason"] == "below_minimum");
    assert_eq!(below["app"], APP);
    assert_eq!(node.tell(&["forget", "nobody"]).status.code(), Some(66));
    node.record("what was not there", |one| one["app"] == "nobody" && one["outcome"] == "not_there");

    serving.signal(Signal::TERM);
    assert!(serving.wait().success());
    let records = node.records(&[]);
    assert_eq!(records.first().unwrap()["what"], "file");
    assert_eq!(records.last().unwrap()["what"], "server_stopped");
    let of_app = node.records(&["--app", APP]);
    assert!(of_app.len() >= 5 && of_app.iter().all(|one| one["app"] == APP), "{of_app:#?}");
    assert_eq!(node.records(&["--since", "2126-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(node.records(&["--since", "1h"]).len(), records.len());
    let (code, text) = node.verify();
    assert_eq!(code, Some(0), "{text}");
    let table = String::from_utf8(node.audit(&["show", "--app", APP]).stdout).unwrap();
    assert!(table.contains("read_bytes=300") && table.contains("aes-gcm"), "{table}");
    // What is in clear says who and what, and holds no secret.
    let trail = fs::read_to_string(&files(&node.trail())[0]).unwrap();
    assert!(trail.contains(APP) && !trail.contains(SECRET));
}
