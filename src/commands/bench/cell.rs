//! One line of the table: an operation on blocks of one size over a number of connections, by a server of one mode.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use sealed_shuffle_client::Settings;

use super::data::Blocks;
use super::load::{self, Figures, Until};
use super::merge_work::{self, Ids, MergedShuffle};
use super::service::Service;
use crate::commands::{Exit, Failure};

/// The operation on blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Operation {
    /// Fetches blocks that executors wrote.
    Fetch,
    /// Pushes blocks, which the server merges and seals.
    Push,
    /// Fetches merged blocks, chunk by chunk.
    Merged,
}

impl Operation {
    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Push => "push",
            Self::Merged => "merged",
        }
    }

    /// Whether the server has to merge.
    pub(super) fn merges(self) -> bool {
        self != Self::Fetch
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) operation: Operation,
    pub(super) size: u64,
    pub(super) connections: usize,
}

/// A server whose lines are measured, and the data that its clients need.
pub(super) struct Subject<'a> {
    pub(super) service: &'a Service,
    pub(super) settings: &'a Settings,
    /// Blocks of each size that is fetched.
    pub(super) blocks: &'a [Arc<Blocks>],
    /// Bytes of each block size that are merged.
    pub(super) data: u64,
    /// Duration of a line. A cold line reads each block once instead.
    pub(super) time: Duration,
    pub(super) is_cold: bool,
    pub(super) ids: Arc<Ids>,
    /// The shuffle that was merged last, with blocks of this size.
    pub(super) merged: Option<(u64, MergedShuffle)>,
}

impl Subject<'_> {
    /// Measures one line.
    pub(super) async fn measure(&mut self, cell: Cell) -> Result<Figures, Failure> {
        let Cell { operation, size, connections } = cell;
        match operation {
            Operation::Fetch => self.fetch(size, connections).await,
            Operation::Push => {
                let shape = (size, self.data);
                merge_work::push(self.service, self.settings, &self.ids, shape, connections, self.time).await
            }
            Operation::Merged => {
                let merged = self.merged(size).await?;
                merged.read(self.service, self.settings, connections, self.time).await
            }
        }
    }

    /// Has the server delete the merged shuffle that was read.
    pub(super) async fn remove_merged(&mut self) -> Result<(), Failure> {
        match self.merged.take() {
            Some((_, merged)) => merged.remove().await,
            None => Ok(()),
        }
    }

    async fn fetch(&self, size: u64, connections: usize) -> Result<Figures, Failure> {
        let blocks = self.blocks.iter().find(|blocks| blocks.size == size);
        let blocks = blocks.ok_or_else(|| Failure::new(Exit::Failed, "no blocks of this size"))?;
        if self.is_cold {
            blocks.evict().map_err(|error| Failure::new(Exit::Failed, error))?;
        }
        let until = if self.is_cold { Until::OnceThrough } else { Until::Time(self.time) };
        load::run(self.service, self.settings, Arc::clone(blocks), connections, until).await
    }

    /// A merged shuffle with blocks of this size. The last one is used again if it has them.
    async fn merged(&mut self, size: u64) -> Result<MergedShuffle, Failure> {
        if let Some((of, merged)) = &self.merged
            && *of == size
        {
            return Ok(merged.clone());
        }
        self.remove_merged().await?;
        let shape = (size, self.data);
        let made = MergedShuffle::make(self.service, self.settings, &self.ids, shape).await?;
        self.merged = Some((size, made.clone()));
        Ok(made)
    }
}
