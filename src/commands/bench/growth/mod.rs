//! Measures how cost grows with load. Each series has points, which are measured in turn over several rounds, because
//! a machine is seldom quiet.
//!
//! These figures stay flat, and `docs/performance.md` states them: bytes per second over connections, latency over
//! registered executors, and the server's memory.

mod connections;
mod executors;
mod ground;
mod latency;
mod memory;
mod partitions;
mod series;
mod sizes;

use clap::ValueEnum;

use self::series::Series;

pub(super) use self::ground::Ground;
use crate::commands::Failure;

/// A series that a user can ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum SeriesKind {
    /// Throughput over connections.
    Connections,
    /// Latency over registered executors.
    Executors,
    /// Throughput over block sizes.
    Sizes,
    /// Latency over the partitions of an index file.
    Partitions,
    /// Memory of idle connections and of slow readers.
    Memory,
}

impl SeriesKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Executors => "executors",
            Self::Sizes => "sizes",
            Self::Partitions => "partitions",
            Self::Memory => "memory",
        }
    }

    pub(super) async fn measure(self, ground: &Ground<'_>) -> Result<Series, Failure> {
        match self {
            Self::Connections => connections::measure(ground).await,
            Self::Executors => executors::measure(ground).await,
            Self::Sizes => sizes::measure(ground).await,
            Self::Partitions => partitions::measure(ground).await,
            Self::Memory => memory::measure(ground).await,
        }
    }
}
