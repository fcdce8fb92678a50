//! Whole Spark applications and clusters, by what becomes of them.

mod application;
mod at_rest;
mod class_archive;
mod cluster;
mod driver;
mod home;
mod job;
mod keys;
mod live;
mod program;
mod rounds;
mod waves;

pub use application::{Application, ApplicationReport, ROWS, ShuffleReads, result_without_a_service};
pub use at_rest::ApplicationAtRest;
pub use cluster::{Cluster, WorkerConfig};
pub use job::{JobReport, JobSize, Phase, run_job};
pub use live::LiveApplication;
pub use rounds::{Round, Rounds};
pub use waves::{WaveReport, Waves};
