//! What is used up: descriptors, connections, memory, the room of the log.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::ChunkIndex;
use sealed_shuffle_protocol::message::Head;

use crate::machine::{Machine, Place, SECRET};
use crate::row::{Is, Metric, Row};
use crate::running::{APP, GCM, Peer, eventually, register};

/// More than a server with [`LIMIT`] descriptors can take.
const CLIENTS: usize = 100;

/// Descriptors that a process may have.
const LIMIT: u64 = 64;

pub(crate) const DESCRIPTORS: Row = Row {
    fault: "The limit of open descriptors is too low, and clients have all that they may have",
    log: "WARN … the limit of 64 open descriptors is not enough for … at most … connections are accepted, … raise it to",
    metric: Metric::new("sealed_shuffle_connections_full", Is::One),
    command: (
        "status",
        "connections (peers wait: raise spark.sealed.connections.max, or LimitNOFILE= of the unit",
    ),
    action: "`LimitNOFILE=` of the unit to what the log names, and a restart. The operator's port and socket have descriptors of their own",
    alert: "SealedShuffleConnectionsFull",
};

/// A server with few descriptors, and clients that say nothing.
pub(crate) fn descriptors() -> Result<Machine, String> {
    let mut machine = Place::new().start_as("", limited, None);
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| TcpStream::connect(machine.serving.address).unwrap()).collect();
    machine.keep(clients);
    Ok(machine)
}

/// `command` with so few descriptors, by the shell that starts it.
fn limited(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.env_clear().stdin(Stdio::null()).arg("-c").arg(format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    shell.envs(set);
    shell
}

/// The value of a sample that is there.
fn value(page: &str, sample: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{sample} is not in\n{page}")).parse().unwrap()
}

#[test]
fn operators_are_answered_while_clients_have_all_descriptors_that_they_may_have() {
    let machine = descriptors().unwrap();
    // On one page: a client that has been silent for long gives way to the next, and is missing for that moment.
    eventually("the clients have all of them", || {
        let page = machine.page();
        let of = |name| value(&page, name);
        of("sealed_shuffle_connections_full") == 1
            && of("sealed_shuffle_connections") == of("sealed_shuffle_connections_most")
    });
    let page = machine.page();
    assert!(value(&page, "sealed_shuffle_connections_most") < LIMIT, "{page}");
    assert_eq!(value(&page, "process_max_fds"), LIMIT);
    for _ in 0..20 {
        // Several at once, at the port and at the socket: each is answered, while new clients knock.
        let more = TcpStream::connect(machine.serving.address).unwrap();
        let asked: Vec<_> = (0..3).map(|_| TcpStream::connect(&machine.serving.admin).unwrap()).collect();
        let began = Instant::now();
        assert!(
            machine.page().ends_with('\n') && machine.tell("status").contains("serving, ready"),
            "{:?}",
            began.elapsed()
        );
        drop((more, asked));
    }
    assert!(!machine.log().contains("Too many open files"), "{}", machine.log());

    // The control: with descriptors enough the same clients are all let in.
    let roomy = Machine::start("");
    let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(roomy.serving.address).unwrap()).collect();
    eventually("all are let in", || value(&roomy.page(), "sealed_shuffle_connections") == CLIENTS as u64);
    drop(clients);
}

pub(crate) const CONNECTIONS: Row = Row {
    fault: "All places for connections are taken",
    log: "WARN … all 4 places for connections are taken: peers wait until one closes; raise spark.sealed.connections.max",
    metric: Metric::new("sealed_shuffle_connections_full", Is::One),
    command: ("status", "4 of 4 connections (peers wait: raise spark.sealed.connections.max"),
    action: "`sealed-shuffle apps` shows who has how many. Raise `spark.sealed.connections.max`, or give a quota (`spark.sealed.quota.connections`)",
    alert: "SealedShuffleConnectionsFull",
};

pub(crate) fn connections() -> Result<Machine, String> {
    let mut machine = Machine::start("spark.sealed.connections.max 4");
    let peers: Vec<_> = (0..6).map(|_| TcpStream::connect(machine.serving.address).unwrap()).collect();
    machine.keep(peers);
    Ok(machine)
}

pub(crate) const MEMORY: Row = Row {
    fault: "The memory budget is used up by peers that read slowly",
    log: "application app-1 has used up its share; raise spark.sealed.memory.budget, or look for peers that read slowly pot=\"segments\"",
    metric: Metric::new("sealed_shuffle_share_waiters{share=\"segments\"}", Is::Positive),
    command: ("status", "waited for … segments: … wait"),
    action: "Raise `spark.sealed.memory.budget`, or `spark.sealed.memory.min-rate`, below which a peer loses what others wait for",
    alert: "SealedShuffleWaiting",
};

pub(crate) fn memory() -> Result<Machine, String> {
    let place = Place::new();
    place.write_map(256 << 20);
    let mut machine = place.start(
        "spark.sealed.memory.budget 1m\nspark.sealed.io.segment.size 64k\nspark.sealed.memory.min-rate 1\n\
         spark.sealed.stalled.timeout 1h",
    );
    let dir = machine.place().executor();
    let peers: Vec<_> = (0..16)
        .map(|_| {
            let mut peer = Peer::connect(machine.serving.address);
            peer.handshake(APP, SECRET, GCM).unwrap();
            peer.rpc(&register(&[dir.to_str().unwrap()])).unwrap();
            let stream = peer.open(0, &[0]).unwrap();
            peer.send(&Head::ChunkFetchRequest { stream: stream.stream, chunk: ChunkIndex(0) }, &[]);
            peer
        })
        .collect();
    // They read on, fast enough to keep the memory that they hold.
    for peer in &peers {
        let mut socket = peer.socket();
        std::thread::spawn(move || {
            let mut few = [0; 4 << 10];
            while socket.read(&mut few).is_ok_and(|n| n > 0) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
    machine.keep(peers);
    Ok(machine)
}

pub(crate) const LOG: Row = Row {
    fault: "The log cannot be written: its disk is full, or its reader is gone",
    log: "",
    metric: Metric::new("sealed_shuffle_log_lines_lost_total", Is::Positive),
    command: ("status", "log … lines lost: standard error does not take them"),
    action: "Make room for the journal or the file (`journalctl --disk-usage`). The server is not held up by it",
    alert: "SealedShuffleLogLinesLost",
};

pub(crate) fn log() -> Result<Machine, String> {
    Ok(Place::new().start_as("", |serve| serve, Some(Path::new("/dev/full"))))
}
