//! The figures that the server reports. Log lines are written where things happen.
//!
//! The server makes one [`Metrics`] and passes it down; nothing here is global.

mod disks;
mod merging;
mod metrics;
mod numbers;
mod phases;
mod plain_text;
mod process;
mod remains;
mod shares;
mod state;

pub(crate) use process::features;

pub use disks::DiskSnapshot;
pub use metrics::{
    ApplicationCounts, KnownLabels, Metrics, RefusalReason, RequestKind, SecretUsed, ServedBlocks, Snapshot,
};
