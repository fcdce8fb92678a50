//! What tests look at, and what they do in the place of time.

use std::sync::Arc;
use std::time::Instant;

use sealed_shuffle_config::ServerConfig;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::tls::LiveServerTls;

use super::setup::set_up;
use super::start_error::StartError;
use super::{Server, housekeeping};
use crate::disk::BlockStore;
use crate::merge::Store;

impl Server {
    /// As [`Server::from_config`], but what is merged goes into `merges`.
    pub async fn merging_into(config: &ServerConfig, merges: Arc<dyn Store>) -> Result<Self, StartError> {
        Ok(set_up(config, Some(merges), None).await?)
    }

    /// Where blocks are looked up.
    pub fn store(&self) -> &BlockStore {
        &self.shared.store
    }

    /// The key and certificates that connections are shown from now on.
    pub fn tls(&self) -> Option<Arc<LiveServerTls>> {
        self.shared.tls()
    }

    /// One sweep of housekeeping at the time `now`: closes files, and ends applications that are over. [`Server::run`] does
    /// so every few seconds.
    pub fn sweep(&self, on: &OnLane, now: Instant) {
        (0..self.shared.store.roots().disks().len())
            .for_each(|disk| housekeeping::close_files(on, &self.shared, disk, now));
        self.shared.applications.sweep(on, now);
    }
}
