//! One application, or a stranger, takes all that it can get of what everybody shares; another application is served as
//! if nobody did. Each test has the same client without the attack as its control.
#![allow(clippy::unwrap_used)]

mod honest;
mod keys;
mod quotas;
mod reach;
#[path = "../running/mod.rs"]
mod running;

use std::fs::OpenOptions;
use std::net::TcpStream;

use bytes::BytesMut;
use sealed_shuffle_config::{ByteCount, Policy};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, DiagnoseCorruption, RegisterExecutor};

use self::honest::{Honest, MERGING};
use self::running::{APP, CTR, EXECUTOR, GCM, Peer, Running, eventually, register};

fn used(running: &Running, share: &str) -> u64 {
    running.metric(&format!("sealed_shuffle_share_used{{share=\"{share}\"}}"))
}

/// A peer of the application whose executor merges.
fn registered_to_merge(running: &Running) -> Peer {
    let mut peer = running.peer(GCM);
    let BlockTransferMessage::RegisterExecutor(message) = register(&[running.dir.to_str().unwrap()]) else {
        panic!("another message")
    };
    let mut info = message.info.clone();
    MERGING.clone_into(&mut info.shuffle_manager);
    peer.rpc(&RegisterExecutor { info, ..message }.into()).unwrap();
    peer
}

fn total(running: &Running, share: &str) -> u64 {
    running.metric(&format!("sealed_shuffle_share_size{{share=\"{share}\"}}"))
}

#[test]
fn streams_that_nobody_reads_leave_memory_for_those_of_others() {
    let running = Running::start();
    let honest = Honest::of(&running);
    honest.assert_served();
    running.write_map(1, &[1]);
    let many = vec![0; 100_000];
    let mut hogs: Vec<_> = (0..4).map(|_| running.registered(GCM)).collect();
    let mut refused = 0;
    for hog in &mut hogs {
        while hog.open(1, &many).is_ok() {}
        refused += 1;
    }
    assert_eq!(refused, 4);
    // What will pass ends the connection, which Spark takes as a reason to try again.
    assert_eq!(running.closes("share_used_up"), 4);
    drop(hogs);
    eventually("streams go with their connections", || used(&running, "open_streams") == 0);

    // The same by those that stay.
    let mut hogs: Vec<_> = (0..4).map(|_| running.registered(GCM)).collect();
    let most = total(&running, "open_streams") * 3 / 4;
    for hog in &mut hogs {
        for _ in 0..4096 {
            if used(&running, "open_streams") > most {
                break;
            }
            hog.open(1, &many).unwrap();
        }
    }
    assert!(used(&running, "open_streams") > most);
    honest.assert_served();
}

#[test]
fn slow_readers_leave_memory_for_others_and_lose_theirs_when_it_is_waited_for() {
    let running = Running::start_with(|config| config.memory_budget = ByteCount::mib(8));
    let honest = Honest::of(&running);
    honest.assert_served();
    running.write_map(1, &[64 << 20]);
    let mut slow: Vec<_> = (0..64).map(|_| running.registered(CTR)).collect();
    for peer in &mut slow {
        let stream = peer.open(1, &[0]).unwrap().stream;
        peer.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    }
    eventually("they hold what they can get", || used(&running, "segments") > (4 << 20) * 2 / 3);
    honest.assert_served();
    // The readers wait for each other: those that hold and do not read lose their places, and none of the others' do.
    eventually("a slow reader is cut", || running.closes("evicted") > 0);
    honest.assert_served();
}

#[test]
fn large_requests_that_trickle_leave_memory_for_others() {
    let running = Running::start_with(|config| config.memory_budget = ByteCount::mib(8));
    let honest = Honest::of(&running);
    honest.assert_served();
    let large = [300 << 10, 2 << 20];
    let alone = large.map(|bytes| honest.large_request(bytes));
    let mut hogs: Vec<_> = (0..4).map(|_| running.registered(GCM)).collect();
    for hog in &mut hogs {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(1) }.encode(60 << 20, &mut head).unwrap();
        hog.try_say(&head).unwrap();
    }
    eventually("they hold what they can get", || used(&running, "large_requests") > (4 << 20) * 3 / 4);
    honest.assert_served();
    for (bytes, alone) in large.into_iter().zip(alone) {
        honest.assert_served_with_a_large_request(bytes, alone);
    }
}

#[test]
fn requests_in_clear_that_the_policy_refuses_cost_no_memory() {
    let running = Running::start_with(|config| config.policy.anonymous = true);
    let mut stranger = Peer::connect(running.address);
    let mut head = BytesMut::new();
    Head::RpcRequest { request: RequestId(1) }.encode(32 << 20, &mut head).unwrap();
    stranger.send_raw(&head).unwrap();
    stranger.wait_closed();
    assert_eq!((running.closes("too_large"), used(&running, "large_requests")), (1, 0));

    let running = Running::start_with(|config| {
        config.policy = Policy { anonymous: true, ..Policy::at_least(SecurityLevel::Plaintext) };
    });
    let mut served = Peer::connect(running.address);
    served.send_raw(&head).unwrap();
    eventually("the control: where it is served, it is collected", || used(&running, "large_requests") > 0);
}

#[test]
fn long_diagnoses_leave_threads_for_others() {
    let running = Running::start();
    let honest = Honest::of(&running);
    honest.assert_served();
    let data = running.write_map(1, &[0]);
    let len = 8_u64 << 30;
    OpenOptions::new().write(true).open(&data).unwrap().set_len(len).unwrap();
    running.write_index(1, &[0, len]);
    running.write_checksum(1, &[7]);
    let mut hogs: Vec<_> = (0..16).map(|_| running.registered(GCM)).collect();
    let diagnosis = DiagnoseCorruption {
        app: AppId::new(APP),
        executor: ExecutorId::new(EXECUTOR),
        shuffle: ShuffleId(0),
        map: MapId(1),
        reduce: ReduceId(0),
        checksum: 1,
        algorithm: "ADLER32".to_owned(),
    };
    for hog in &mut hogs {
        let body = BlockTransferMessage::from(diagnosis.clone());
        hog.send(&Head::RpcRequest { request: RequestId(1) }, &body.encode().unwrap());
    }
    eventually("they read", || used(&running, "disk_threads") > 0);
    honest.assert_served();
}

#[test]
fn silent_sockets_give_their_places_to_who_waits() {
    let running = Running::start_with(|config| config.max_connections = 32);
    let honest = Honest::of(&running);
    honest.assert_served();
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    honest.assert_served();
    assert!(running.closes("gave_way") > 0);
    drop(silent);
}

#[test]
fn connections_of_one_application_leave_places_for_others() {
    let running = Running::start_with(|config| config.max_connections = 32);
    let honest = Honest::of(&running);
    honest.assert_served();
    let mut kept = Vec::new();
    for _ in 0..40 {
        let mut peer = Peer::connect(running.address);
        if peer.handshake(APP, &running.secret, GCM).is_ok()
            && peer.rpc(&register(&[running.dir.to_str().unwrap()])).is_ok()
        {
            kept.push(peer);
        }
    }
    assert!((24..32).contains(&kept.len()), "{}", kept.len());
    honest.assert_served();
}

#[test]
fn registrations_of_one_application_leave_places_for_others() {
    const PLACES: usize = 90;
    let running = Running::start_with(|config| config.max_executors = PLACES);
    let honest = Honest::of(&running);
    let BlockTransferMessage::RegisterExecutor(message) = register(&[running.dir.to_str().unwrap()]) else {
        panic!("another message")
    };
    let mut peer = running.peer(GCM);
    let mut register_as = |executor: usize| {
        peer.rpc(
            &RegisterExecutor { executor: ExecutorId::new(executor.to_string()), ..message.clone() }.into(),
        )
    };
    let most = (0..=PLACES).take_while(|executor| register_as(*executor).is_ok()).count();
    assert!((70..PLACES).contains(&most), "{most}");
    let refused = || running.metric("sealed_shuffle_share_refused_total{share=\"executors\"}");
    assert_eq!((total(&running, "executors"), used(&running, "executors"), refused()), (90, most as u64, 1));
    assert!(used(&running, "registration_bytes") > 0);
    honest.assert_served();
    assert_eq!((used(&running, "executors"), refused()), (most as u64 + 1, 1));
}
