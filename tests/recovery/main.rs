//! What survives: the real binary is killed, restarted, robbed of its keys and given changed files, and what it serves
//! afterwards is right or refused.
#![allow(clippy::unwrap_used)]

mod away;
mod content;
mod embedded;
mod finality;
mod keys;
mod killing;
mod mounts;
mod place;
mod power;
mod random;
mod tampering;
mod versions;
mod watch;
