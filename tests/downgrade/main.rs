//! A downgrade is impossible: what hostile peers get out of a server, and what a hostile server gets out of a client.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../running/mod.rs"]
mod running;

mod attacker;
mod of_the_client;
mod of_the_server;
mod step;
mod without_identity;
