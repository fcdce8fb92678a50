//! One connection that asks for one small block after the other.

use std::time::{Duration, Instant};

use sealed_shuffle_client::{Address, Client};
use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_measure::{Noise, Sample};
use sealed_shuffle_protocol::ids::ExecutorId;
use sealed_shuffle_protocol::shuffle::BlockId;

use super::super::load::unmeasured;
use super::super::service::Service;
use super::series::Column;
use crate::commands::Failure;

/// The columns of [`Asker::values`].
pub(super) const COLUMNS: &[Column] = &[
    Column { key: "request_seconds_p50", heading: "P50 US", scale: 1e6, digits: 1 },
    Column { key: "request_seconds_p99", heading: "P99 US", scale: 1e6, digits: 1 },
    Column { key: "server_anonymous_bytes", heading: "SERVER MB", scale: 1e-6, digits: 1 },
];

/// Slices of a round. The points take turns by slices, so that they share the state of the machine.
pub(super) const SLICES: u32 = 10;

/// A connection and its latencies in this round.
pub(super) struct Asker {
    pub(super) client: Client,
    latencies: Vec<f64>,
    random: Noise,
}

impl Asker {
    pub(super) fn new(client: Client) -> Self {
        Self { client, latencies: Vec::new(), random: Noise::default() }
    }

    /// Asks for a while. `choose` makes each request from a random number.
    pub(super) async fn ask(
        &mut self,
        server: &Address,
        time: Duration,
        choose: impl Fn(u64) -> (ExecutorId, Vec<BlockId>),
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let (executor, blocks) = choose(self.random.next_u64());
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
        let latencies = Sample::of(std::mem::take(&mut self.latencies));
        let memory = anonymous_memory(service.process()).map_err(unmeasured)?;
        Ok(vec![latencies.percentile(50), latencies.percentile(99), memory as f64])
    }
}
