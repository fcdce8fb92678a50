//! Push-based merging through a socket, over files in memory: what Spark's clients see.
#![allow(clippy::unwrap_used)]

mod client;
mod conversation;
mod examples;
mod handed_over;
mod hostile;
mod lanes;
#[path = "../running/mod.rs"]
mod running;
mod support;
