//! `serve --takeover`: a new process takes the place of one that serves.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;
mod running;
mod serving;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_protocol::ids::{MapId, ShuffleId};
use tempfile::TempDir;

use self::outcome::{code, stderr};
use self::running::{APP, GCM, Peer, eventually, register};
use self::serving::{Serving, sealed_shuffle, serve};

const SECRET: &str = "a secret of the take-over's tests";

/// A root with an executor's directory, and state.
struct Node {
    dir: TempDir,
    servers: u32,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/blockmgr-1")).unwrap();
        Self { dir, servers: 0 }
    }

    fn executor_dir(&self) -> PathBuf {
        self.dir.path().join("root/blockmgr-1")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("state/takeover.sock")
    }

    fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = serve(self.dir.path());
        command.args(arguments).env("_SPARK_AUTH_SECRET", SECRET);
        command.arg("--conf").arg(format!("spark.local.dir={}", self.dir.path().join("root").display()));
        command
    }

    fn start(&mut self, arguments: &[&str]) -> Serving {
        self.servers += 1;
        let log = self.dir.path().join(format!("log-{}", self.servers));
        Serving::start(self.serve(arguments), &log)
    }

    /// A map output of the executor with one byte in each of `partitions` partitions.
    fn write_map(&self, map: i64, partitions: usize) {
        let offsets: Vec<u8> = (0..=partitions as u64).flat_map(u64::to_be_bytes).collect();
        for (name, content) in [
            (layout::index_name(ShuffleId(0), MapId(map)), offsets),
            (layout::data_name(ShuffleId(0), MapId(map)), vec![7; partitions]),
        ] {
            let sub = self.executor_dir().join(Placement::of(&name, 1, 64).unwrap().sub_dir());
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join(name), content).unwrap();
        }
    }

    fn peer(&self, address: SocketAddr) -> Peer {
        let mut peer = Peer::connect(address);
        peer.handshake(APP, SECRET, GCM).unwrap();
        peer
    }

    fn register(&self, peer: &mut Peer) {
        peer.rpc(&register(&[self.executor_dir().to_str().unwrap()])).unwrap();
    }
}

/// Connects and proves itself again and again; how often that went well.
struct Visitors {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Visitors {
    fn to(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut visits = 0;
            while !until.load(Ordering::Relaxed) {
                // One that is refused, reset or kept waiting panics here.
                Peer::connect(address).handshake(APP, SECRET, GCM).unwrap();
                visits += 1;
            }
            visits
        });
        Self { stop, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn chunks_of(peer: &mut Peer, map: i64, partitions: i32) -> usize {
    let reduces: Vec<i32> = (0..partitions).collect();
    let stream = peer.open(map, &reduces).unwrap();
    (0..partitions).map(|n| peer.chunk(stream.stream, n).unwrap().len()).sum()
}

#[test]
fn successor_has_the_port_and_the_registrations_and_nobody_who_connects_is_refused() {
    let mut node = Node::new();
    node.write_map(1, 3);
    let mut server = node.start(&[]);
    let address = server.address;
    node.register(&mut node.peer(address));
    let visitors = Visitors::to(address);
    for _ in 0..5 {
        let successor = node.start(&["--takeover"]);
        assert_eq!((successor.address, &successor.admin), (address, &server.admin));
        // The predecessor ends by itself, and takes nothing along.
        assert!(server.wait().success(), "{}", server.log());
        assert!(server.log().contains("a successor serves in our place"), "{}", server.log());
        server = successor;
        assert_eq!(chunks_of(&mut node.peer(address), 1, 3), 3, "it knows the executor");
        assert!(node.socket().exists() && node.dir.path().join("state/admin.sock").exists());
    }
    assert!(visitors.end() > 5);
    // What the last one is writing is gone in a moment.
    eventually("nothing half made is left", || {
        let mut names = fs::read_dir(node.dir.path().join("state")).unwrap();
        !names.any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with('.'))
    });
}

#[test]
fn peer_without_a_successor_is_refused_between_two_servers() {
    // The control of the test above: a restart is seen by who connects.
    let mut node = Node::new();
    let mut server = node.start(&[]);
    let address = server.address;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn server_that_drains_refuses_connections_although_a_successor_could_have_had_the_port() {
    let mut node = Node::new();
    node.write_map(1, 2);
    let mut server = node.start(&[]);
    let mut peer = node.peer(server.address);
    node.register(&mut peer);
    // Half read, so that the drain waits for it.
    let stream = peer.open(1, &[0, 1]).unwrap();
    peer.chunk(stream.stream, 0).unwrap();
    server.signal(rustix::process::Signal::TERM);
    eventually("it drains", || server.log().contains("draining"));
    assert!(std::net::TcpStream::connect(server.address).is_err());
    peer.chunk(stream.stream, 1).unwrap();
    assert!(server.wait().success());
}

#[test]
fn stream_that_is_open_is_read_to_its_end_where_it_was_opened() {
    let mut node = Node::new();
    node.write_map(1, 3);
    let mut server = node.start(&[]);
    let mut peer = node.peer(server.address);
    node.register(&mut peer);
    let stream = peer.open(1, &[0, 1, 2]).unwrap();
    peer.chunk(stream.stream, 0).unwrap();

    let successor = node.start(&["--takeover"]);
    for chunk in 1..3 {
        assert_eq!(peer.chunk(stream.stream, chunk).unwrap().len(), 1);
    }
    // Another request of the same connection is answered, too, while nothing is quiet.
    assert_eq!(chunks_of(&mut peer, 1, 3), 3);
    // One that changes something is the successor's.
    let closed = peer.rpc(&register(&[node.executor_dir().to_str().unwrap()]));
    assert_eq!(closed.unwrap_err(), "", "the connection ends without an answer, and Spark tries again");
    assert!(server.wait().success());
    node.register(&mut node.peer(successor.address));
}

/// A successor that says `lines`, reads as many answers, and goes away.
fn half_a_successor(socket: &Path, lines: &[&str]) -> Vec<String> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(running::PATIENCE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    lines
        .iter()
        .map(|line| {
            stream.write_all(format!("{line}\n").as_bytes()).unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            answer.trim().to_owned()
        })
        .collect()
}

#[test]
fn predecessor_goes_on_where_its_successor_goes_away() {
    let mut node = Node::new();
    node.write_map(1, 1);
    let mut server = node.start(&[]);
    let address = server.address;
    let mut peer = node.peer(address);
    let greeting = "sealed-shuffle takeover 1";
    for (said, last) in [(vec![greeting], "ports"), (vec![greeting, "store"], "closed")] {
        let answers = half_a_successor(&node.socket(), &said);
        assert!(answers.last().unwrap().starts_with(last), "{answers:?}");
    }
    for (said, refusal) in [("sealed-shuffle takeover 2", "refused the first line"), (greeting, "ports")] {
        assert!(half_a_successor(&node.socket(), &[said])[0].starts_with(refusal));
    }
    // It accepts, it registers, and what it registers is on the disk.
    node.register(&mut peer);
    drop(node.peer(address));
    assert!(
        server.log().contains("a successor did not take over, so this server goes on"),
        "{}",
        server.log()
    );
    let successor = node.start(&["--takeover"]);
    assert!(server.wait().success());
    assert_eq!(chunks_of(&mut node.peer(successor.address), 1, 1), 1);
}

#[test]
fn successor_that_cannot_serve_leaves_the_predecessor_serving() {
    let mut node = Node::new();
    node.write_map(1, 1);
    let mut server = node.start(&[]);
    node.register(&mut node.peer(server.address));
    let attempt = |arguments: &[&str]| -> Output { node.serve(arguments).output().unwrap() };
    // Its root is missing: it says so before it asks for the store.
    let missing = format!("spark.local.dir={}", node.dir.path().join("nowhere").display());
    let refused = sealed_shuffle()
        .args(["serve", "--takeover", "--bind", "127.0.0.1", "--port", "0", "--conf", &missing])
        .env("STATE_DIRECTORY", node.dir.path().join("state"))
        .env("_SPARK_AUTH_SECRET", SECRET)
        .output()
        .unwrap();
    assert_ne!(code(&refused), 0, "{}", stderr(&refused));
    // The key of the store is not to be had: it says so when it has the store.
    let other_key = format!("spark.sealed.keys.file={}", node.dir.path().join("other-keys").display());
    let refused = attempt(&["--takeover", "--conf", &other_key]);
    assert_ne!(code(&refused), 0, "{}", stderr(&refused));
    for key in ["spark.shuffle.service.db.enabled=false", "spark.sealed.takeover.socket=off"] {
        let refused = attempt(&["--takeover", "--conf", key]);
        assert_eq!(code(&refused), 78, "{}", stderr(&refused));
        assert!(stderr(&refused).contains("--takeover needs"), "{}", stderr(&refused));
    }
    let other = tempfile::tempdir().unwrap();
    let at = format!("spark.sealed.takeover.socket={}", node.socket().display());
    let refused =
        node.serve(&["--takeover", "--conf", &at]).env("STATE_DIRECTORY", other.path()).output().unwrap();
    assert_eq!(code(&refused), 78, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("spark.sealed.state.dir"), "{}", stderr(&refused));

    assert_eq!(chunks_of(&mut node.peer(server.address), 1, 1), 1);
    node.register(&mut node.peer(server.address));
    assert!(server.process.try_wait().unwrap().is_none());
}

#[test]
fn server_without_a_predecessor_starts_as_usual() {
    let mut node = Node::new();
    let server = node.start(&["--takeover"]);
    drop(node.peer(server.address));
    assert!(server.log().contains("no server listens there"), "{}", server.log());
    let mode = fs::metadata(node.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn operators_port_and_socket_are_the_successors() {
    let mut node = Node::new();
    let mut server = node.start(&[]);
    node.register(&mut node.peer(server.address));
    let successor = node.start(&["--takeover"]);
    assert!(server.wait().success());
    let mut page = String::new();
    let mut socket = std::net::TcpStream::connect(&successor.admin).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    socket.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let ended = sealed_shuffle()
        .args(["apps", "--end", APP])
        .env("STATE_DIRECTORY", node.dir.path().join("state"))
        .output()
        .unwrap();
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    eventually("it has gone", || successor.log().contains("end application"));
}
