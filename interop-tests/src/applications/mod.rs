//! Whole Spark applications and clusters, by what becomes of them.

mod application;
mod at_rest;
mod cluster;
mod driver;
mod home;
mod job;
mod keys;
mod live;
mod program;
mod reference;
mod rounds;
mod tables;
mod waves;

pub use application::{Application, ApplicationReport, ShuffleReads};
pub use at_rest::ApplicationAtRest;
pub use cluster::{Cluster, WorkerConfig};
pub use job::{JobReport, JobSize, Phase, prepare_job, run_job};
pub use live::LiveApplication;
pub use program::ROWS;
pub use reference::result_without_a_service;
pub use rounds::{Round, Rounds};
pub use tables::tables;
pub use waves::{WaveReport, Waves};
