//! Hop 2: the only place where plaintext and key meet.
//!
//! ```text
//! outbound:  answers ─► outbox ─► segment [ room | plaintext from disk | room ] ─► stack.seal ─► wire
//! inbound:   wire ─► stack.open ─► protocol engine
//! ```
//!
//! Invariants: a segment is read into once, sealed in place once and written once; each segment in use holds a share
//! of the memory budget; session layers change at an exact byte, between two segments. `wire` calls this room, which
//! calls `region` to read.

mod outbox;
mod phases;
mod pool;
mod pull;
mod stack;
mod watcher;

pub use outbox::{Body, Outbound, Outbox, OutboxError, Stretch, Ticket};
pub use phases::{Phase, PhaseFigures, Phases};
pub use pool::{Budget, PooledSegment, SegmentPool};
pub use pull::{Pull, PullError};
pub use stack::Stack;
pub use watcher::Watcher;
