//! The machine that figures were taken on, and what other programs did there meanwhile.

use std::{fs, io, thread, time::Instant};

use crate::process::{family_cpu_seconds, read, seconds};

/// Processor, number of cores, and kernel: `MODEL, N cores, Linux RELEASE`.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = cpu.map_or("unknown processor", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// What all other programs did since the beginning.
#[derive(Debug)]
pub struct Neighbours {
    busy: f64,
    own: f64,
    begun: Instant,
}

impl Neighbours {
    /// Begins to watch.
    pub fn watch() -> io::Result<Self> {
        Ok(Self { busy: busy_seconds()?, own: family_cpu_seconds()?, begun: Instant::now() })
    }

    /// Processors that they kept busy, on average since the beginning. Children of this process that still run count as
    /// others, so it is asked when there are none.
    pub fn processors(&self) -> io::Result<f64> {
        let others = busy_seconds()? - self.busy - (family_cpu_seconds()? - self.own);
        Ok((others / self.begun.elapsed().as_secs_f64()).max(0.0))
    }
}

/// User, nice, system, interrupts and the hypervisor's share of all processors.
fn busy_seconds() -> io::Result<f64> {
    busy(&read("/proc/stat")?)
}

fn busy(stat: &str) -> io::Result<f64> {
    let fields: Vec<&str> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).collect();
    let ticks: Option<u64> = [0, 1, 2, 5, 6].iter().map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    ticks.map(seconds).ok_or_else(|| io::Error::other("no CPU time in /proc/stat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        let stat = "cpu  10 20 30 4000 5000 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat).unwrap(), seconds(10 + 20 + 30 + 6 + 7));
        assert!(busy("").is_err());
    }

    #[test]
    fn neighbours_cannot_keep_more_busy_than_there_is() {
        let neighbours = Neighbours::watch().unwrap();
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 50 {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
        let processors = neighbours.processors().unwrap();
        assert!((0.0..=1024.0).contains(&processors), "{processors}");
    }

    #[test]
    fn the_machine_is_named() {
        let text = machine();
        assert!(text.contains(" cores, Linux "), "{text}");
    }
}
