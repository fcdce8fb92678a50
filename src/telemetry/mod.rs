//! What the server tells about itself: counters now, log lines where things happen.
//!
//! One [`Metrics`] is built in `main` and passed down; nothing here is global.

mod metrics;

pub use metrics::{Channel, ChannelLabels, Metrics, Reason, Refusal, RequestKind, Snapshot};
