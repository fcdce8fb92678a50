//! How cost grows with load: series of points, measured in turn over several rounds, because a machine is seldom quiet.
//!
//! What stays flat, and what the README states of it: bytes per second over connections, latency over registered executors,
//! and the server's memory.

mod connections;
mod executors;
mod latency;
mod memory;
mod partitions;
mod series;
mod sizes;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::ProgressBar;
use sealed_shuffle_client::{Client, Settings};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};

use self::series::Series;
use super::mode::Mode;
use super::service::Service;
use super::{SORT_MANAGER, info, load};
use crate::commands::{Exit, Failure};

/// A series.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Which {
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

impl Which {
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

/// What all series are measured on.
pub(super) struct Ground<'a> {
    pub(super) mode: Mode,
    pub(super) secret: &'a str,
    /// The directory of the run.
    pub(super) dir: &'a Path,
    /// An executor's directory beneath it.
    pub(super) executor: &'a Path,
    /// For each point, in each round.
    pub(super) time: Duration,
    pub(super) rounds: usize,
    pub(super) progress: &'a ProgressBar,
}

impl Ground<'_> {
    /// A server that knows one executor.
    async fn service(&self, conf: &[&str]) -> Result<Service, Failure> {
        let service = Service::start(self.mode, self.secret, self.dir, conf)?;
        let executor = ExecutorId::new(load::EXECUTOR);
        self.client()?.register(&service.address, &executor, info(self.executor, SORT_MANAGER)?).await?;
        Ok(service)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        self.mode.client(self.secret, self.dir)
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.settings()?, AppId::new(load::APP)))
    }
}

/// A measurement that the system does not give.
fn unmeasured(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot measure: {error}"))
}
