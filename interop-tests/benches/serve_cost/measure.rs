//! What the kernel says of a process (proc(5)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, iter};

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// What a process used between start and stop.
pub(crate) struct Used {
    /// User and system seconds of all its threads.
    pub(crate) cpu: f64,
    /// Most anonymous resident bytes seen.
    pub(crate) resident: u64,
}

/// Watches one process.
pub(crate) struct Meter {
    process: u32,
    cpu: f64,
    stop: Arc<AtomicBool>,
    resident: JoinHandle<u64>,
}

impl Meter {
    pub(crate) fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let resident = thread::spawn(move || {
            let samples = iter::from_fn(|| {
                thread::sleep(PERIOD);
                (!stopped.load(Ordering::Relaxed)).then(|| status(process, "RssAnon"))
            });
            samples.max().unwrap_or_default()
        });
        Self { process, cpu: cpu_seconds(process), stop, resident }
    }

    pub(crate) fn stop(self) -> Used {
        let cpu = cpu_seconds(self.process) - self.cpu;
        self.stop.store(true, Ordering::Relaxed);
        Used { cpu, resident: self.resident.join().expect("sampling does not panic") }
    }
}

/// The most resident bytes that a process ever had, files that it mapped included.
pub(crate) fn high_water(process: u32) -> u64 {
    status(process, "VmHWM")
}

/// User and system time of all threads, those that have ended included.
fn cpu_seconds(process: u32) -> f64 {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    // The name, in parentheses, may hold blanks; utime and stime are the fields 14 and 15 of the whole.
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().expect("a count")).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// One field of `/proc/PID/status`, in bytes.
fn status(process: u32, field: &str) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {field} in {path}")) << 10
}
