//! `serve` whose standard output and standard error take nothing: a full disk, a pipe whose reader is gone. It serves,
//! reloads, drains and ends as ever.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle::internals::disk::layout::Placement;
use tempfile::TempDir;

use running::{APP, GCM, PATIENCE, Peer, eventually, register};

const SECRET: &str = "a secret that no log shows";

/// Where standard output and standard error go.
#[derive(Clone, Copy, Debug)]
enum Sink {
    /// The reader is gone before the first line.
    BrokenPipe,
    /// As a disk without space.
    Full,
}

impl Sink {
    fn open(self) -> Stdio {
        match self {
            Self::BrokenPipe => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                writer.into()
            }
            Self::Full => File::options().write(true).open("/dev/full").unwrap().into(),
        }
    }
}

/// `serve` with one map output; killed on drop.
struct Served {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Served {
    fn start(sink: Sink) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        write(&root, "shuffle_0_3_0.data", b"AAAACCCCCD");
        let offsets: Vec<u8> = [0_u64, 4, 10].iter().flat_map(|offset| offset.to_be_bytes()).collect();
        write(&root, "shuffle_0_3_0.index", &offsets);
        let process = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"))
            .env_clear()
            .env("_SPARK_AUTH_SECRET", SECRET)
            .env("STATE_DIRECTORY", dir.path().join("state"))
            .args(["serve", "--bind", "127.0.0.1", "--port", "0", "--conf"])
            .arg(format!("spark.local.dir={}", root.display()))
            .stdin(Stdio::null())
            .stdout(sink.open())
            .stderr(sink.open())
            .spawn()
            .unwrap();
        let mut served = Self { process, address: (Ipv4Addr::UNSPECIFIED, 0).into(), dir };
        eventually("it listens", || {
            assert_eq!(served.process.try_wait().unwrap(), None, "it ended");
            listener_of(served.process.id()).is_some_and(|port| {
                served.address = (Ipv4Addr::LOCALHOST, port).into();
                true
            })
        });
        served
    }

    fn peer(&self) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.handshake(APP, SECRET, GCM).unwrap();
        peer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.process.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// What the operator's socket answers.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut socket = UnixStream::connect(self.dir.path().join("state/admin.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn metric(&self, sample: &str) -> u64 {
        let page = self.ask("GET", "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let dir = root.join("blockmgr-1").join(Placement::of(name, 1, 64).unwrap().sub_dir());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), content).unwrap();
}

/// The TCP port that a process listens on.
fn listener_of(pid: u32) -> Option<u16> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let links: Vec<_> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = words[..] else { return None };
        let is_its = links.iter().any(|link| link.to_str() == Some(&format!("socket:[{inode}]")));
        u16::from_str_radix(local.split_once(':')?.1, 16).ok().filter(|_| is_its)
    })
}

fn serves_reloads_drains_and_ends(sink: Sink) {
    let mut served = Served::start(sink);
    let mut peer = served.peer();
    let dir = served.dir.path().join("root/blockmgr-1");
    peer.rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    let missing = peer.open(99, &[0]).map(|stream| peer.chunk(stream.stream, 0));
    assert!(!matches!(missing, Ok(Ok(_))), "there is no such map output");
    let stream = peer.open(3, &[0, 1]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap(), "AAAA");

    served.signal(Signal::HUP);
    let reloads = "sealed_shuffle_reloads_total{reason=\"replaced\"}";
    eventually("it reloads", || served.metric(reloads) == 1);
    served.signal(Signal::HUP);
    eventually("it reloads again", || served.metric(reloads) == 2);
    assert!(served.metric("sealed_shuffle_log_lines_lost_total") > 0);

    served.signal(Signal::TERM);
    eventually("it drains", || served.ask("GET", "/healthz").contains("draining"));
    assert_eq!(peer.chunk(stream, 1).unwrap(), "CCCCCD", "what is open may finish");
    assert!(peer.next().is_none());
    drop(peer);
    let mut ended = None;
    eventually("it ends", || {
        ended = served.process.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[test]
fn pipe_without_a_reader_stops_nothing() {
    serves_reloads_drains_and_ends(Sink::BrokenPipe);
}

#[test]
fn full_disk_under_the_log_stops_nothing() {
    serves_reloads_drains_and_ends(Sink::Full);
}

#[test]
fn application_is_ended_although_no_line_says_so() {
    let served = Served::start(Sink::Full);
    let mut peer = served.peer();
    let dir = served.dir.path().join("root/blockmgr-1");
    peer.rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    let answer = served.ask("DELETE", &format!("/applications/{APP}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn refusal_to_start_keeps_its_exit_code() {
    for sink in [Sink::BrokenPipe, Sink::Full] {
        let ended = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"))
            .env_clear()
            .args(["serve", "--conf", "spark.shuffle.service.port=no-port"])
            .stdin(Stdio::null())
            .stdout(sink.open())
            .stderr(sink.open())
            .status()
            .unwrap();
        assert_eq!(ended.code(), Some(78), "{sink:?}");
    }
}
