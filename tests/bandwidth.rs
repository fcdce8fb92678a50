//! What one connection is sent beside many of another application. It has a process of its own: it takes all processors, and
//! no other test would be served in time.
#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};
use sealed_shuffle::ByteCount;
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, RegisterExecutor};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use self::running::{APP, CTR_2, Peer, Running, eventually, fetch, message, register};

const OTHER: &str = "app-many";
/// Connections of the one that has many.
const MANY: usize = 32;
const CHUNK: u64 = 1 << 20;
/// More than a connection is sent while it is looked at.
const CHUNKS: usize = 4000;
/// Bytes that the one connection is sent in a round, after as many that are not looked at: meanwhile the others take what their
/// sockets had in them when it came. Where each is sent as much as the one, sockets are empty sooner.
const ENOUGH: u64 = 128 << 20;
const ENOUGH_OF_EACH: u64 = 48 << 20;

fn running() -> Running {
    let running = Running::start_with(|config| {
        config.memory_budget = ByteCount::mib(256);
        // The server is what there is least of.
        config.worker_threads = 1;
    });
    running.write_map(1, &[CHUNK]);
    running
}

/// A connection that has asked for all chunks.
fn asking(running: &Running, app: &str) -> Peer {
    let mut peer = Peer::connect(running.address);
    peer.handshake(app, &running.secret, CTR_2).unwrap();
    let dir = if app == APP { running.dir.clone() } else { running.dir_of(app) };
    let BlockTransferMessage::RegisterExecutor(registration) = register(&[dir.to_str().unwrap()]) else {
        panic!("another message")
    };
    peer.rpc(&RegisterExecutor { app: AppId::new(app), ..registration }.into()).unwrap();
    let answer = peer.rpc(&fetch(app, 1, &[0; CHUNKS])).unwrap();
    let BlockTransferMessage::StreamHandle(handle) = BlockTransferMessage::decode(answer).unwrap() else {
        panic!("no stream")
    };
    let mut requests = BytesMut::new();
    for chunk in (0..).map(ChunkIndex).take(CHUNKS) {
        requests.extend_from_slice(&message(&Head::ChunkFetchRequest { stream: handle.stream, chunk }, &[]));
    }
    peer.try_say(&requests).unwrap();
    peer
}

/// Has the kernel drop what came, without a copy: the server is to be what there is least of.
fn drop_some(socket: impl AsFd) -> io::Result<u64> {
    let mut buffer = [0; 256 << 10];
    let (_, dropped) = recv(socket, &mut buffer, RecvFlags::TRUNC)?;
    Ok(dropped as u64)
}

/// Takes what comes on all connections, with one thread.
fn take(connections: Vec<Peer>, taken: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for connection in connections {
            connection.socket.set_nonblocking(true).unwrap();
            let socket = TcpStream::from_std(connection.socket).unwrap();
            let (taken, stop) = (Arc::clone(taken), Arc::clone(stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) && socket.readable().await.is_ok() {
                    let dropped = socket.try_io(Interest::READABLE, || drop_some(&socket));
                    match dropped {
                        Ok(0) => return,
                        Ok(n) => _ = taken.fetch_add(n, Ordering::Relaxed),
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

/// Of all bytes that are sent, the part that goes to one connection of an application while `many` has `count`; and the bytes a
/// second of the one, of which there are `enough`.
fn part(running: &Running, (many, count): (&str, usize), enough: u64) -> (f64, f64) {
    let (taken, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let connections: Vec<_> = (0..count).map(|_| asking(running, many)).collect();
    let one = asking(running, APP);
    thread::scope(|scope| {
        scope.spawn(|| take(connections, &taken, &stop));
        eventually("the many are served", || taken.load(Ordering::Relaxed) >= (count as u64) << 20);
        let take_enough = || {
            let mut got = 0;
            while got < enough {
                got += drop_some(&one.socket).unwrap();
            }
            got
        };
        take_enough();
        let began = Instant::now();
        let before = taken.load(Ordering::Relaxed);
        let got = take_enough();
        let others = taken.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        (got as f64 / (got + others) as f64, got as f64 / began.elapsed().as_secs_f64())
    })
}

fn median(mut parts: [f64; 3]) -> f64 {
    parts.sort_by(f64::total_cmp);
    parts[1]
}

#[test]
fn one_connection_is_sent_its_part_beside_many_of_another_application() {
    let running = running();
    let rounds: [_; 3] = std::array::from_fn(|_| {
        // The control: where all are of one application, each connection is like the others.
        [
            part(&running, (OTHER, MANY), ENOUGH),
            part(&running, (APP, MANY), ENOUGH_OF_EACH),
            part(&running, (APP, 0), ENOUGH),
        ]
    });
    let [beside_others, beside_its_own] = [0, 1].map(|which| median(rounds.map(|round| round[which].0)));
    let [of_alone, control] = [0, 1].map(|which| median(rounds.map(|round| round[which].1 / round[2].1)));
    println!(
        "one connection's part: beside others {beside_others:.2}, beside its own {beside_its_own:.2}; of its rate alone: \
         {of_alone:.2}, {control:.2}"
    );
    assert!(beside_others > 0.4 && beside_others > 2.0 * beside_its_own, "{beside_others} {beside_its_own}");
}

#[test]
fn an_application_at_its_quota_of_bandwidth_is_slower_and_loses_nothing() {
    const RATE: u64 = 16 << 20;
    let running = Running::start_with(|config| config.quota.bandwidth = Some(ByteCount::new(RATE)));
    running.write_map(1, &[CHUNK]);
    let quota = |metric: &str| running.metric(&format!("sealed_shuffle_quota_{metric}{{share=\"sending\"}}"));
    assert_eq!(quota("limit"), RATE);
    let mut peers: Vec<_> = (0..4).map(|_| running.registered(CTR_2)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for peer in &mut peers {
            scope.spawn(|| {
                let stream = peer.open(1, &[0; 4]).unwrap();
                for chunk in 0..4 {
                    assert_eq!(peer.chunk(stream.stream, chunk).unwrap().len() as u64, CHUNK);
                }
            });
        }
    });
    // 16 MiB at 16 MiB a second.
    assert!(began.elapsed().as_secs_f64() > 0.8, "{:?}", began.elapsed());
    assert!(quota("reached_total") > 0);
    assert_eq!(running.all_closes(), 0);
}
