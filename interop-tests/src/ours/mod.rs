//! Ours: the server, the client library and the program, as tests use them.

mod client;
mod command;
mod log_scan;
mod server;

pub use client::{OurClient, settings};
pub use command::{OurCommand, Refusal, command_with_key, probe};
pub use log_scan::assert_expected;
pub use server::{Server, binary};
pub(crate) use server::{page, samples};
