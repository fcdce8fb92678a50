//! What the server tells about itself: counters now, log lines where things happen.
//!
//! One [`Metrics`] is built in `main` and passed down; nothing here is global.

mod channel;
mod key_calls;
mod merging;
mod metrics;
mod state;

pub use channel::{Channel, Handshake, TlsVersion};
pub use key_calls::KeyCalls;
pub use metrics::{ApplicationCounts, Metrics, Reason, Refusal, RequestKind, SecretUsed, Snapshot};
