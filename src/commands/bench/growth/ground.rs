//! The common ground of all series: a mode, the directory of the run, and its servers.

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use sealed_shuffle_client::{Client, Settings};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};

use super::super::executor::{APP, EXECUTOR, SORT_MANAGER, info};
use super::super::mode::Mode;
use super::super::service::Service;
use crate::commands::Failure;

/// The common ground of all series.
pub(in super::super) struct Ground<'a> {
    pub(in super::super) mode: Mode,
    pub(in super::super) secret: &'a str,
    /// The directory of the run.
    pub(in super::super) dir: &'a Path,
    /// The directory of an executor beneath it.
    pub(in super::super) executor: &'a Path,
    /// Duration of the measurement of each point in each round.
    pub(in super::super) time: Duration,
    pub(in super::super) rounds: usize,
    pub(in super::super) progress: &'a ProgressBar,
}

impl Ground<'_> {
    /// Starts a server that knows one executor.
    pub(super) async fn service(&self, conf: &[&str]) -> Result<Service, Failure> {
        let service = Service::start(self.mode, self.secret, self.dir, conf)?;
        let executor = ExecutorId::new(EXECUTOR);
        self.client()?.register(&service.address, &executor, info(self.executor, SORT_MANAGER)?).await?;
        Ok(service)
    }

    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        self.mode.client(self.secret, self.dir)
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.settings()?, AppId::new(APP)))
    }
}
