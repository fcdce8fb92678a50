//! The client library against our own server, and against scripted ones.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod against_script;
mod against_server;
mod examples;
mod merger;
mod merging_script;
mod probing;
mod script;
mod support;
