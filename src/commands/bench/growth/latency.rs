//! One connection that asks for one small block after the other.

use std::time::{Duration, Instant};

use sealed_shuffle_client::{Address, Client};
use sealed_shuffle_protocol::ids::ExecutorId;
use sealed_shuffle_protocol::shuffle::BlockId;

use super::super::process;
use super::super::report::percentile;
use super::super::service::Service;
use super::series::Column;
use super::unmeasured;
use crate::commands::Failure;

/// What [`Asking::values`] gives.
pub(super) const COLUMNS: &[Column] = &[
    Column { key: "request_seconds_p50", heading: "P50 US", scale: 1e6, digits: 1 },
    Column { key: "request_seconds_p99", heading: "P99 US", scale: 1e6, digits: 1 },
    Column { key: "server_anonymous_bytes", heading: "SERVER MB", scale: 1e-6, digits: 1 },
];

/// Slices of a round, so that points that are compared are measured under the same weather.
pub(super) const SLICES: u32 = 10;

/// A connection, and what it saw in this round.
pub(super) struct Asking {
    pub(super) client: Client,
    latencies: Vec<f64>,
    /// State of a generator whose numbers need not be good.
    random: u64,
}

impl Asking {
    pub(super) fn new(client: Client) -> Self {
        Self { client, latencies: Vec::new(), random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Asks for a while for what `choose` makes of a random number.
    pub(super) async fn ask(
        &mut self,
        server: &Address,
        time: Duration,
        choose: impl Fn(u64) -> (ExecutorId, Vec<BlockId>),
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let (executor, blocks) = choose(self.random);
            let asked = Instant::now();
            let mut fetch = self.client.fetch(server, &executor, blocks);
            while let Some(outcome) = fetch.next().await {
                outcome.map_err(|error| Failure::new(error.error.kind().into(), error.error))?;
            }
            self.latencies.push(asked.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Ends the round.
    pub(super) fn values(&mut self, service: &Service) -> Result<Vec<f64>, Failure> {
        let mut sorted = std::mem::take(&mut self.latencies);
        sorted.sort_by(f64::total_cmp);
        let memory = process::resident_anonymous(service.process()).map_err(unmeasured)?;
        Ok(vec![percentile(&sorted, 50), percentile(&sorted, 99), memory as f64])
    }
}
