//! `serve` under the seccomp profile of an old container runtime, which refuses calls that it does not know with EPERM.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle::internals::disk::layout::Placement;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use tempfile::TempDir;

use running::{APP, GCM, Peer, content, register};

const SECRET: &str = "a secret that no log shows";

/// Younger than the profiles: Linux 3.15 to 5.9.
const UNKNOWN: [libc::c_long; 8] = [
    libc::SYS_renameat2,
    libc::SYS_copy_file_range,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_statx,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_close_range,
];

/// Starts a command whose process is refused these calls. A filter holds for the thread that makes it, and what it starts.
fn refused(calls: &[libc::c_long], mut command: Command) -> Child {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let starting = thread::spawn(move || {
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        command.spawn().unwrap()
    });
    starting.join().unwrap()
}

struct Served {
    process: Child,
    dir: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn blocks_are_served_where_young_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("root/blockmgr-1");
    let place = |name: &str| {
        let sub = local.join(Placement::of(name, 1, 64).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    };
    let bytes = content(700_000);
    fs::write(place("shuffle_0_3_0.data"), &bytes).unwrap();
    let offsets: Vec<u8> = [0_u64, 100_000, 700_000].iter().flat_map(|offset| offset.to_be_bytes()).collect();
    fs::write(place("shuffle_0_3_0.index"), offsets).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command
        .env_clear()
        .env("_SPARK_AUTH_SECRET", SECRET)
        .env("STATE_DIRECTORY", dir.path().join("state"))
        .args(["serve", "--bind", "127.0.0.1", "--port", "0"])
        .args(["--conf", "spark.shuffle.push.server.mergedShuffleFileManagerImpl=RemoteBlockPushResolver"])
        .args(["--conf", &format!("spark.local.dir={}", dir.path().join("root").display())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(dir.path().join("log")).unwrap());
    let mut served = Served { process: refused(&UNKNOWN, command), dir };
    let mut line = String::new();
    BufReader::new(served.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let log = || fs::read_to_string(served.dir.path().join("log")).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?} {}", log()));

    let mut peer = Peer::connect(address.parse().unwrap());
    peer.handshake(APP, SECRET, GCM).unwrap();
    peer.rpc(&register(&[local.to_str().unwrap()])).unwrap();
    for _ in 0..2 {
        let stream = peer.open(3, &[0, 1]).unwrap().stream;
        assert!(peer.chunk(stream, 0).unwrap() == bytes[..100_000], "{}", log());
        assert!(peer.chunk(stream, 1).unwrap() == bytes[100_000..], "{}", log());
    }
    drop(peer);
    kill_process(Pid::from_raw(served.process.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(served.process.wait().unwrap().code(), Some(0), "{}", log());
}
