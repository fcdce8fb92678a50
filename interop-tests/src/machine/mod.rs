//! This machine: what is fetched or built once, Java, child processes, hosts of their own, and turns for heavy work.

mod cache;
mod command;
mod files;
mod hosts;
mod java;
mod lack;
mod maven;
mod process;
mod turn;

pub(crate) use cache::{discard, made_once};
pub(crate) use command::{clean_environment, run};

pub use cache::cache;
pub use files::{files, files_named};
pub use hosts::{Host, Network, NoNetwork};
pub use java::{java_home, run_on, runtime_home};
pub use lack::Lack;
pub use maven::{Jars, MissingJars};
pub use process::{Lines, Process, logs};
pub use turn::Turn;
