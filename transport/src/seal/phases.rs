//! How long the parts of a block's way take: waiting, reading, sealing, and the socket.
//!
//! ```text
//! a segment is wanted ─queue─► it is there, with a thread of the disk where one must wait ─disk─► it is filled
//!                     ─cipher─► it is sealed ─socket─► the kernel has its last byte
//! ```
//!
//! One observation is that of one segment with bytes of blocks, not of one request: the socket pulls, so a block's first bytes
//! are on their way before its last ones are read. One segment in eight is measured, each connection's at a turn of its
//! own: what a measured one costs is some readings of the clock and some additions, and no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Waiting: for a turn to send, for memory of the budget, and for a thread of the disk where the page cache does not have the
    /// bytes.
    Queue,
    /// Reading from the page cache or the disk, with opening what lies there sealed.
    Disk,
    /// Sealing, with the wait for a thread where the cipher is a slow one. There is none in clear.
    Cipher,
    /// Until the kernel has taken the last byte: as fast as the peer reads. Of `sendfile`, the reading, too.
    Socket,
}

impl Phase {
    /// Each of them, in their order.
    pub const ALL: [Self; 4] = [Self::Queue, Self::Disk, Self::Cipher, Self::Socket];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Disk => "disk",
            Self::Cipher => "cipher",
            Self::Socket => "socket",
        }
    }
}

/// Of so many segments, one is measured.
const EVERY: u32 = 8;

/// Upper bounds in microseconds: from a read of some KiB out of the page cache to the minute in which a peer stalls.
const BOUNDS: [u64; 13] =
    [10, 25, 50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000];

/// The times of all segments that were measured. Threads share them without a lock.
#[derive(Debug)]
pub struct Phases {
    all: [Times; Phase::ALL.len()],
    every: u32,
    /// The connections so far.
    connections: AtomicU32,
}

impl Default for Phases {
    fn default() -> Self {
        Self { all: Default::default(), every: EVERY, connections: AtomicU32::new(0) }
    }
}

#[derive(Debug, Default)]
struct Times {
    /// By [`BOUNDS`], and what is above the last.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// The times of one phase so far.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseFigures {
    /// All of them together, in seconds.
    pub seconds: f64,
    /// How many.
    pub count: u64,
    /// Upper bounds in seconds, the last without end, and how many came to lie between a bound and the one before it.
    pub buckets: Vec<(f64, u64)>,
}

impl Phases {
    /// The same, with every segment measured.
    #[cfg(test)]
    pub(super) fn of_every_segment() -> Self {
        Self { every: 1, ..Self::default() }
    }

    /// The turn at which a connection begins: no two that follow each other begin at the same.
    pub(super) fn first_turn(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the segment of this turn is measured.
    pub(super) fn measures(&self, turn: u32) -> bool {
        turn.is_multiple_of(self.every)
    }

    /// A segment took so long in `phase`.
    pub fn took(&self, phase: Phase, time: Duration) {
        let times = &self.all[phase as usize];
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().take_while(|micros| **micros * 1000 < nanos).count();
        times.counts[bucket].fetch_add(1, Ordering::Relaxed);
        times.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted of `phase` so far.
    pub fn figures(&self, phase: Phase) -> PhaseFigures {
        let times = &self.all[phase as usize];
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        let bounds = BOUNDS.map(seconds).into_iter().chain([f64::INFINITY]);
        let counts = times.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        PhaseFigures {
            seconds: Duration::from_nanos(times.nanos.load(Ordering::Relaxed)).as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// A stretch of a segment's way in one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lap {
    pub(super) phase: Phase,
    pub(super) began: Instant,
    pub(super) time: Duration,
}

/// Reads the clock between the phases of one segment.
#[derive(Debug)]
pub(super) struct Stopwatch {
    since: Instant,
    took: [Duration; Phase::ALL.len()],
    /// Whether its times are among those of all; if not, they are for who watches alone.
    pub(super) counts: bool,
    /// Each lap, where somebody watches.
    laps: Option<Vec<Lap>>,
}

impl Stopwatch {
    /// Starts at a moment that has come.
    pub(super) fn since(since: Instant, counts: bool, is_watched: bool) -> Self {
        Self { since, took: Default::default(), counts, laps: is_watched.then(Vec::new) }
    }

    /// The time since the start or the last lap was one in `phase`.
    pub(super) fn lap(&mut self, phase: Phase) {
        self.lap_until(phase, Instant::now());
    }

    /// The same until a moment that has come.
    pub(super) fn lap_until(&mut self, phase: Phase, end: Instant) {
        let (began, time) = (self.since, end.saturating_duration_since(self.since));
        self.since = began + time;
        self.took[phase as usize] += time;
        if let Some(laps) = self.laps.as_mut().filter(|_| !time.is_zero()) {
            laps.push(Lap { phase, began, time });
        }
    }

    /// The time in a phase so far.
    pub(super) fn took(&self, phase: Phase) -> Duration {
        self.took[phase as usize]
    }

    /// The laps since they were taken last.
    pub(super) fn take_laps(&mut self) -> Vec<Lap> {
        self.laps.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_below_their_bound_and_those_above_all_are_kept() {
        let phases = Phases::default();
        for micros in [1, 10, 11, 60_000_000, 60_000_001] {
            phases.took(Phase::Cipher, Duration::from_micros(micros));
        }
        let PhaseFigures { seconds, count, buckets } = phases.figures(Phase::Cipher);
        assert_eq!((buckets[0], buckets[1], buckets[12]), ((1e-5, 2), (2.5e-5, 1), (60.0, 1)));
        assert_eq!(buckets[13], (f64::INFINITY, 1));
        assert!(count == 5 && (seconds - 120.000_023).abs() < 1e-9, "{count} {seconds}");
        assert_eq!(phases.figures(Phase::Socket).count, 0);
    }
}
