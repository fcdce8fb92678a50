//! CPU time and memory of one process between a start and a stop.

use std::{
    io,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::process::{anonymous_memory, cpu_seconds};

/// What a process used between start and stop.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system seconds of all its threads.
    pub cpu: f64,
    /// Most anonymous resident bytes that were seen.
    pub memory: u64,
}

/// Watches one process from a thread of its own, until it is stopped or dropped.
#[derive(Debug)]
pub struct Meter {
    process: u32,
    cpu: f64,
    /// The thread ends when this does.
    stop: Sender<()>,
    memory: JoinHandle<io::Result<u64>>,
}

impl Meter {
    /// Begins to watch; memory is looked at now, once a `period`, and at the stop.
    pub fn start(process: u32, period: Duration) -> io::Result<Self> {
        let cpu = cpu_seconds(process)?;
        let (stop, stopped) = channel();
        let memory = thread::spawn(move || {
            let mut most = anonymous_memory(process)?;
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                most = anonymous_memory(process)?.max(most);
            }
            Ok(anonymous_memory(process)?.max(most))
        });
        Ok(Self { process, cpu, stop, memory })
    }

    /// Ends; an error where the process has ended before.
    pub fn stop(self) -> io::Result<Usage> {
        let Self { process, cpu, stop, memory } = self;
        let cpu = cpu_seconds(process)? - cpu;
        drop(stop);
        let memory = memory.join().map_err(|_| io::Error::other("looking at memory panicked"))??;
        Ok(Usage { cpu, memory })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        process::{self, Command},
        time::Instant,
    };

    use super::*;
    use crate::process::UNCOUNTED;

    const PERIOD: Duration = Duration::from_millis(1);

    #[test]
    fn counts_what_happens_between_start_and_stop() {
        let me = process::id();
        let meter = Meter::start(me, PERIOD).unwrap();
        let begun = cpu_seconds(me).unwrap();
        let memory = black_box(vec![1_u8; 32 << 20]);
        while cpu_seconds(me).unwrap() - begun < 0.05 {
            black_box((0..10_000).sum::<u64>());
        }
        let usage = meter.stop().unwrap();
        drop(memory);
        assert!(usage.cpu >= 0.05, "{usage:?}");
        assert!(usage.memory >= (32 << 20) - UNCOUNTED, "{usage:?}");
    }

    #[test]
    fn stops_without_waiting_for_the_next_look() {
        let meter = Meter::start(process::id(), Duration::from_secs(3600)).unwrap();
        let begun = Instant::now();
        assert!(meter.stop().unwrap().memory > 0);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_process_that_has_ended_is_an_error() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let meter = Meter::start(child.id(), PERIOD).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(meter.stop().is_err());
        assert!(Meter::start(child.id(), PERIOD).is_err());
    }
}
