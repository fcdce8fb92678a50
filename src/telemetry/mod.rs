//! What the server tells about itself: counters now, log lines where things happen.
//!
//! One [`Metrics`] is built in `main` and passed down; nothing here is global.

mod merging;
mod metrics;
mod state;

pub use metrics::{ApplicationCounts, Metrics, Reason, RefusalReason, RequestKind, SecretUsed, Snapshot};
