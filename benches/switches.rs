//! What the audit trail and traces cost while they are on: two servers that differ in nothing else, as processes of their own,
//! take turns, and the CPU time of each is divided within its pair.
//!
//! ```text
//! connections   connect, handshake, register one executor, hang up
//! small blocks  streams of 100 blocks with 2 KiB
//! blocks        streams of 16 blocks with 128 KiB
//! ```
//!
//! `cargo bench --bench switches -- --pairs 10`; with `SEALED_SHUFFLE_BIN` another build of the program. The figures say little
//! where the machine does something else: `--count` counts instructions instead (valgrind), each server for one case, without
//! those of its start and its end. Under `cargo test` each case runs once, and nothing is judged.

#![allow(clippy::unwrap_used)] // a bench that cannot run should stop

#[path = "../tests/running/mod.rs"]
mod running;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_measure::process::cpu_seconds;
use sealed_shuffle_measure::{Neighbours, Spread, Table, machine};
use sealed_shuffle_protocol::ids::{MapId, ShuffleId};
use tempfile::TempDir;

use running::{APP, GCM, Peer, content, fetch, register};

const SECRET: &str = "the secret of these measurements";

/// Blocks of the two map outputs: how many, and their bytes.
const SMALL: (usize, u64) = (100, 2 << 10);
const LARGE: (usize, u64) = (16, 128 << 10);

/// What the audit trail and traces cost while they are on
#[derive(Parser)]
struct Switches {
    /// Pairs of each case
    #[arg(long, default_value = "10")]
    pairs: usize,

    /// Work of each run, as a multiple of some tenths of a second
    #[arg(long, default_value = "4")]
    work: usize,

    /// Count instructions in the place of CPU time
    #[arg(long)]
    count: bool,

    /// Measure those alone whose name has this word
    #[arg(long, default_value = "")]
    only: String,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one of the two servers has beside the other.
#[derive(Clone, Copy)]
struct Switch {
    name: &'static str,
    conf: &'static [&'static str],
}

const OFF: Switch = Switch { name: "nothing", conf: &[] };

const ON: [Switch; 3] = [
    Switch { name: "audit trail", conf: &["spark.sealed.audit.enabled=true"] },
    Switch { name: "traces, 1 %", conf: &["spark.sealed.traces.endpoint=http://COLLECTOR"] },
    Switch {
        name: "traces, all",
        conf: &["spark.sealed.traces.endpoint=http://COLLECTOR", "spark.sealed.traces.sample-rate=1"],
    },
];

#[derive(Clone, Copy)]
enum Case {
    Connections,
    SmallBlocks,
    Blocks,
}

impl Case {
    const ALL: [Self; 3] = [Self::Connections, Self::SmallBlocks, Self::Blocks];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::SmallBlocks => "small blocks",
            Self::Blocks => "blocks",
        }
    }

    /// Connections or streams of one unit of work.
    fn units(self) -> usize {
        match self {
            Self::Connections => 300,
            Self::SmallBlocks => 40,
            Self::Blocks => 60,
        }
    }
}

/// A `serve` of its own; killed on drop.
struct Server {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Server {
    fn start(program: &Path, switch: Switch, collector: SocketAddr, is_counted: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blocks = dir.path().join("root/blockmgr-1");
        write_map(&blocks, 0, SMALL);
        write_map(&blocks, 1, LARGE);
        let mut command = match is_counted {
            false => Command::new(program),
            true => {
                let mut valgrind = Command::new("/usr/bin/valgrind");
                let out = format!("--callgrind-out-file={}", dir.path().join("count").display());
                valgrind.args(["--tool=callgrind", &out]).arg(program);
                valgrind
            }
        };
        command
            .env_clear()
            .args(["serve", "--bind", "127.0.0.1", "--port", "0"])
            .env("STATE_DIRECTORY", dir.path().join("state"))
            .env("SPARK_LOCAL_DIRS", dir.path().join("root"))
            .env("_SPARK_AUTH_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.path().join("log")).unwrap());
        if is_counted {
            // valgrind writes where the program may not.
            command.args(["--conf", "spark.sealed.confinement.landlock=off"]);
            command.args(["--conf", "spark.sealed.confinement.seccomp=off"]);
        }
        for conf in switch.conf {
            command.arg("--conf").arg(conf.replace("COLLECTOR", &collector.to_string()));
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address =
            address.unwrap_or_else(|| panic!("{line:?}: {:?}", fs::read_to_string(dir.path().join("log"))));
        Self { process, address, dir }
    }

    fn peer(&self) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.handshake(APP, SECRET, GCM).unwrap();
        peer
    }

    fn register(&self, peer: &mut Peer) {
        let dir = self.dir.path().canonicalize().unwrap().join("root/blockmgr-1");
        peer.rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    }

    /// CPU seconds that `work` units of a case take.
    fn run(&self, case: Case, work: usize) -> f64 {
        let pid = self.process.id();
        let before = cpu_seconds(pid).unwrap();
        self.work(case, work);
        // What is written and sent a moment later belongs to it, too.
        std::thread::sleep(std::time::Duration::from_millis(300));
        cpu_seconds(pid).unwrap() - before
    }

    /// Ends it, and says how many instructions it took.
    fn counted(mut self) -> f64 {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        let text = fs::read_to_string(self.dir.path().join("count")).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        total.parse().unwrap()
    }

    fn work(&self, case: Case, work: usize) {
        let units = case.units() * work;
        let stream = |map: i64, (blocks, len): (usize, u64)| {
            let mut peer = self.peer();
            self.register(&mut peer);
            let reduces: Vec<i32> = (0..i32::try_from(blocks).unwrap()).collect();
            for _ in 0..units {
                let answer = peer.rpc(&fetch(APP, map, &reduces)).unwrap();
                let stream =
                    match sealed_shuffle_protocol::shuffle::BlockTransferMessage::decode(answer).unwrap() {
                        sealed_shuffle_protocol::shuffle::BlockTransferMessage::StreamHandle(handle) => {
                            handle.stream
                        }
                        other => panic!("{other:?}"),
                    };
                for chunk in &reduces {
                    assert_eq!(peer.chunk(stream, *chunk).unwrap().len() as u64, len);
                }
            }
        };
        match case {
            Case::Connections => (0..units).for_each(|_| self.register(&mut self.peer())),
            Case::SmallBlocks => stream(0, SMALL),
            Case::Blocks => stream(1, LARGE),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn write_map(dir: &Path, map: i64, (blocks, len): (usize, u64)) {
    let place = |name: &str| {
        let sub = dir.join(Placement::of(name, 1, 64).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    };
    let index: Vec<u8> = (0..=blocks as u64).flat_map(|n| (n * len).to_be_bytes()).collect();
    fs::write(place(&layout::data_name(ShuffleId(0), MapId(map))), content(blocks as u64 * len)).unwrap();
    fs::write(place(&layout::index_name(ShuffleId(0), MapId(map))), index).unwrap();
}

/// Takes all that is sent, and says that it did.
fn collector() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0_u64);
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(text) = line.strip_prefix("content-length: ") {
                    length = text.trim().parse().unwrap();
                }
                line.clear();
            }
            drop(std::io::copy(&mut reader.take(length), &mut std::io::sink()));
            drop(socket.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    address
}

/// Instructions of each case, for one connection or stream.
fn count_all(program: &Path, collector: SocketAddr, switches: &[Switch], work: usize) {
    let mut table = Table::new(&["on", "case", "instructions off", "instructions on", "ratio"]);
    let count = |switch: Switch, case: Case| {
        // The start, the end, and whatever a first connection costs are in both.
        let of = |work: usize| {
            let server = Server::start(program, switch, collector, true);
            server.work(case, work);
            server.counted()
        };
        (of(1 + work) - of(1)) / (case.units() * work) as f64
    };
    for case in Case::ALL {
        let off = count(OFF, case);
        for &switch in switches {
            let on = count(switch, case);
            eprintln!("{}, {}: {on:.0} of {off:.0}", switch.name, case.name());
            let ratio = format!("{:.3}", on / off);
            table.row(&[&switch.name, &case.name(), &format!("{off:.0}"), &format!("{on:.0}"), &ratio]);
        }
    }
    println!("{table}\n\n{}", machine());
}

fn main() {
    // The libtest arguments that `cargo test` hands on are nothing to us.
    let is_bench = std::env::args().any(|arg| arg == "--bench" || arg == "--help");
    let Switches { pairs, work, count, only, .. } = match is_bench {
        true => Switches::parse(),
        false => Switches { pairs: 1, work: 1, count: false, only: String::new(), bench: false },
    };
    let switches: Vec<Switch> = ON.into_iter().filter(|switch| switch.name.contains(&only)).collect();
    let program =
        std::env::var_os("SEALED_SHUFFLE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sealed-shuffle").into());
    let (program, collector, neighbours) = (Path::new(&program), collector(), Neighbours::watch().unwrap());
    if count {
        return count_all(program, collector, &switches, work);
    }
    let mut table = Table::new(&["on", "case", "CPU off, ms", "CPU on, ms", "ratio: median (least – most)"]);
    for switch in switches {
        let servers = [OFF, switch].map(|switch| Server::start(program, switch, collector, false));
        for case in Case::ALL {
            // Both are warm then.
            servers.iter().for_each(|server| {
                server.run(case, 1);
            });
            let mut took: [Vec<f64>; 2] = Default::default();
            for pair in 0..pairs {
                // Neither is always the first.
                let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
                for n in order {
                    took[n].push(servers[n].run(case, work));
                }
                eprintln!("{}, {}: {} of {pairs}", switch.name, case.name(), pair + 1);
            }
            let [off, on] = &took;
            let ratio = Spread::of_ratios(on.iter().copied().zip(off.iter().copied()));
            let millis = |took: &[f64]| format!("{:.0}", 1e3 * Spread::of(took.iter().copied()).median);
            table.row(&[&switch.name, &case.name(), &millis(off), &millis(on), &format!("{ratio:.3}")]);
        }
    }
    println!("{table}\n\n{}, {pairs} pairs", machine());
    if let Ok(others) = neighbours.processors() {
        println!("others, and the servers, kept {others:.2} processors busy");
    }
}
