//! What the kernel says of a process (proc(5)).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
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
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    ticks(&stat(process), 11..13)
}

/// What everyone but this bench did meanwhile.
pub(crate) struct Neighbours {
    busy: f64,
    own: f64,
    begun: Instant,
}

impl Neighbours {
    pub(crate) fn watch() -> Self {
        Self { busy: machine_seconds(), own: family_seconds(), begun: Instant::now() }
    }

    /// Processors that they kept busy, on average since the beginning. Processes of ours that still run count as
    /// theirs, so that it is asked when there are none.
    pub(crate) fn processors(&self) -> f64 {
        let others = machine_seconds() - self.busy - (family_seconds() - self.own);
        (others / self.begun.elapsed().as_secs_f64()).max(0.0)
    }
}

/// User, nice, system, interrupts and the hypervisor's share of all processors.
fn machine_seconds() -> f64 {
    let stat = read("/proc/stat");
    let fields: Vec<&str> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum::<u64>();
    busy as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// This process and all its descendants that have ended.
fn family_seconds() -> f64 {
    ticks(&stat(std::process::id()), 11..15)
}

fn stat(process: u32) -> String {
    read(&format!("/proc/{process}/stat"))
}

/// Seconds in these fields behind the name, which is in parentheses and may hold blanks: from 11 on utime, stime and
/// those of the children that have ended.
fn ticks(stat: &str, fields: Range<usize>) -> f64 {
    let (_, behind) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let behind = behind.split(' ').skip(fields.start).take(fields.len());
    let ticks: u64 = behind.map(|n| n.parse::<u64>().expect("a count")).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// One field of `/proc/PID/status`, in bytes.
fn status(process: u32, field: &str) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = read(&path);
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {field} in {path}")) << 10
}
