//! What a peer that has proven nothing, or one application among many, may make the server spend: memory, lines of the
//! log, places and time. Each with the honest client beside it.

#![allow(clippy::unwrap_used)]

mod running;

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::{BufMut, BytesMut};
use running::{APP, EXECUTOR, GCM, Peer, Running, eventually, register};
use tracing::Level;

/// What this process has logged; servers of all tests write to it.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start_logging() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let log = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_ansi(false);
        log.with_writer(|| LogWriter).init();
    });
}

fn log() -> String {
    String::from_utf8(LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
}

/// The lines about a peer.
fn lines_of(peer: &Peer) -> Vec<String> {
    let address = format!("peer={}", peer.socket.local_addr().unwrap());
    log().lines().filter(|line| line.contains(&address)).map(str::to_owned).collect()
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i32(i32::try_from(text.len()).unwrap());
    out.put_slice(text.as_bytes());
}

/// A RegisterExecutor with one directory, of any length.
fn registration(dir: &str) -> BytesMut {
    let mut body = BytesMut::from(&[2][..]);
    put_text(&mut body, APP);
    put_text(&mut body, EXECUTOR);
    body.put_i32(1);
    put_text(&mut body, dir);
    body.put_i32(64);
    put_text(&mut body, "org.apache.spark.shuffle.sort.SortShuffleManager");
    body
}

#[test]
fn an_application_id_above_its_bound_is_neither_kept_nor_logged() {
    start_logging();
    let running = Running::start();
    for number in 0..20 {
        let long = format!("long-{number}-{}", "x".repeat(65_000));
        let mut peer = Peer::connect(running.address);
        let text = peer.handshake(&long, "another", GCM).unwrap_err();
        assert!(text.contains("longer than the 255 that are taken"), "{text}");
    }
    let at_the_bound = "y".repeat(255);
    let text = Peer::connect(running.address).handshake(&at_the_bound, "another", GCM).unwrap_err();
    assert!(text.contains("Authentication failed"), "the control is judged: {text}");

    let listed = running.server.applications(None).to_string();
    assert!(listed.contains(&at_the_bound) && !listed.contains("long-0-"), "{listed}");
    assert!(!log().contains(&"x".repeat(300)), "the log has a long id");
    running.assert_serves();
}

#[test]
fn a_path_above_its_bound_is_refused_before_it_is_walked() {
    let running = Running::start_with(|setup| setup.budget = 64 << 20);
    let mut peer = running.peer(GCM);
    let text = peer.rpc_bytes(&registration(&"./".repeat(4 << 20))).unwrap_err();
    assert!(text.contains("longer than the 4096 that are taken"), "{text}");
    let dots = format!("{}/{}", running.dir.to_str().unwrap(), "./".repeat(1000));
    peer.rpc_bytes(&registration(&dots)).expect("a path within the bound is walked");
    running.assert_serves();
}

#[test]
fn what_a_peer_names_cannot_forge_a_line_or_steer_a_terminal() {
    start_logging();
    let running = Running::start();
    let mut peer = running.peer(GCM);
    let hostile = "/x\n2026-01-01T00:00:00Z  INFO forged \u{1b}[2J \u{9b}2J \u{202e}end";
    peer.rpc_bytes(&registration(hostile)).unwrap_err();
    peer.rpc(&register(&["/plain path"])).unwrap_err();
    eventually("both are said", || lines_of(&peer).iter().any(|line| line.contains("/plain path")));
    let said =
        lines_of(&peer).into_iter().find(|line| line.contains("forged")).expect("it is said, in one line");
    assert!(said.contains(r"/x\n2026") && said.contains(r"\u{1b}[2J \u{9b}2J \u{202e}end"), "{said}");
    assert!(!log().contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    running.assert_serves();
}

#[test]
fn junk_is_said_in_full_a_few_times_and_then_counted() {
    start_logging();
    let running = Running::start();
    let peers: Vec<_> = (0..50)
        .map(|_| {
            let mut peer = Peer::connect(running.address);
            drop(peer.send_raw(&[0xff; 64]));
            peer.wait_closed();
            peer
        })
        .collect();
    eventually("all are closed", || running.closes("bad_frame") == 50);
    let said: usize = peers.iter().map(|peer| lines_of(peer).len()).sum();
    assert_eq!(said, 4, "lines about junk");
    // Other kinds from the same address are still said.
    let mut other = Peer::connect(running.address);
    other.handshake(APP, "another", GCM).unwrap_err();
    eventually("it is said", || lines_of(&other).iter().any(|line| line.contains("refused a handshake")));
    running.assert_serves();

    let before = log().len();
    running.drained();
    let sums = log()[before..].to_owned();
    let sum = sums.lines().find(|line| line.contains("count=46")).expect("the rest is summed up");
    assert!(sum.contains("bad_frame") && sum.contains("negative frame length"), "{sum}");
}
