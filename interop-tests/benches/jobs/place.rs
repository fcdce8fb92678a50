//! Where one variant runs: a network, a process space and a session of its own, so that the bytes on its loopback are its own,
//! and that nothing outlives it.
//!
//! It is this program again, below `unshare`. It takes a line for each run on its standard input, and prints `RAN ` with what
//! came of it in JSON. Its service stays until that input ends.

use std::fs;
use std::io::stdin;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sealed_shuffle_interop_tests::applications::{JobSize, run_job};
use sealed_shuffle_interop_tests::fixture::SECRET;
use sealed_shuffle_interop_tests::machine::Process;
use sealed_shuffle_interop_tests::modes::Service;
use sealed_shuffle_interop_tests::oracle::CANARY;
use sealed_shuffle_interop_tests::services::ServiceProcess;
use sealed_shuffle_interop_tests::spark::Spark;
use sealed_shuffle_interop_tests::wire::Tap;
use sealed_shuffle_measure::process::{cpu_seconds, most_memory};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::case::Case;
use crate::options::Options;
use crate::variant::Variant;

/// A run of the largest size on a slow machine.
const RUN_LIMIT: Duration = Duration::from_secs(3600);
/// Makes the loopback, and becomes the program.
const BEGIN: &str = "ip link set lo up && exec \"$0\" \"$@\"";
/// What a run is told: that it warms up, and that its wire is tapped.
const TAPPED: &str = "tapped";

/// The place, as the program outside has it.
pub(crate) struct Place {
    process: Process,
    runs: usize,
}

impl Place {
    pub(crate) fn start(variant: Variant, case: &Case, options: &Options) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "setsid",
            "bash",
            "-c",
            BEGIN,
        ]);
        command.arg(program).args(options.arguments_within(variant, case));
        Self { process: Process::start(variant.name(), &mut command), runs: 0 }
    }

    /// One job, to its end.
    pub(crate) fn run(&mut self, is_tapped: bool) -> Value {
        use std::io::Write as _;
        let line = if is_tapped { TAPPED } else { "run" };
        self.process.input().write_all(format!("{line}\n").as_bytes()).expect("the place takes a line");
        self.runs += 1;
        let begin = format!("RAN {} ", self.runs);
        let text = self.process.wait_for(RUN_LIMIT, |line| line.strip_prefix(&begin).map(str::to_owned));
        serde_json::from_str(&text).expect("a run is told in JSON")
    }

    /// Its service ends well.
    pub(crate) fn finish(mut self) {
        drop(self.process.take_input());
        let status = self.process.wait(Duration::from_secs(60));
        assert!(status.success(), "{}", self.process.tail());
    }
}

/// What the program does within.
pub(crate) fn play(variant: Variant, options: &Options) {
    let case = &options.cases[0];
    let served = Served::start(variant, case);
    for (number, line) in stdin().lines().map_while(Result::ok).enumerate() {
        let tap = (line == TAPPED).then(|| Tap::start(CANARY.as_bytes()).expect("root may tap its network"));
        let mut told = run(case, &options.size, served.as_ref());
        if let Some((found, frames)) = tap.map(Tap::stop) {
            told["tap"] = json!({"found": found, "frames": frames});
        }
        println!("RAN {} {told}", number + 1);
    }
    served.into_iter().for_each(|served| {
        served.service.stop();
        drop(served.root);
    });
}

/// A service, and where executors write that use it.
struct Served {
    service: ServiceProcess,
    root: TempDir,
}

impl Served {
    fn start(variant: Variant, case: &Case) -> Option<Self> {
        let mode = &case.mode;
        let root = TempDir::with_prefix("jobs-").expect("the temporary directory is writable");
        let secret = mode.authenticates().then_some(SECRET);
        let service = match variant {
            Variant::None => return None,
            Variant::Spark => {
                let conf = mode.service_conf(Service::Spark);
                ServiceProcess::spark(&Spark::release(mode.version), root.path(), secret, &conf)
            }
            Variant::Ours => {
                ServiceProcess::ours(root.path(), secret, mode.service_conf(Service::Ours), None)
            }
        };
        Some(Self { service, root })
    }
}

/// What stands at the begin of each phase, and at the end of the last.
#[derive(Clone, Copy)]
struct Mark {
    processors: f64,
    loopback: u64,
}

fn run(case: &Case, size: &JobSize, served: Option<&Served>) -> Value {
    let mark = || Mark {
        processors: served.map_or(0.0, |served| cpu_seconds(served.service.id()).expect("the service runs")),
        loopback: loopback(),
    };
    let mut marks = Vec::new();
    let place = served.map(|served| (served.service.port(), served.root.path()));
    let more: &[_] = if case.encrypts_files { &[("spark.io.encryption.enabled", "true")] } else { &[] };
    let report = run_job(&case.mode, SECRET, place, size, more, |_| marks.push(mark()));
    let phases = report.phases.iter().zip(marks.windows(2)).map(|(phase, marks)| {
        json!({
            "name": phase.name,
            "seconds": phase.seconds,
            "executors": phase.executors,
            "driver": phase.driver,
            "service": marks[1].processors - marks[0].processors,
            "loopback": marks[1].loopback - marks[0].loopback,
        })
    });
    json!({
        "phases": phases.collect::<Vec<_>>(),
        "digest": report.digest,
        "memory": served.map(|served| most_memory(served.service.id()).expect("the service runs")),
    })
}

/// Bytes that the loopback of this network has carried (proc_pid_net(5)).
fn loopback() -> u64 {
    let text = fs::read_to_string(Path::new("/proc/self/net/dev")).expect("the kernel tells");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).expect("there is a loopback");
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("bytes are a number")
}
