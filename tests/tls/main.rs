//! TLS over sockets: the real server and the real client, with certificates made on the spot.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../running/mod.rs"]
mod running;

mod all_at_once;
mod certificates;
mod farewell;
mod floods;
mod nested;
mod rotation;
mod support;
