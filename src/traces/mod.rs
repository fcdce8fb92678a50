//! Traces of requests, for a collector of OpenTelemetry: what was asked, by whom, what came of it, and where its time went.
//!
//! ```text
//! request ─ by chance ─► trace ─ phases, bytes, outcome ─► whoever holds it last drops it ─► queue ─► exporter ─► collector
//!              else: nothing                                                              bounded    every few seconds
//! ```
//!
//! | module | knows |
//! |---|---|
//! | `sampler` | which requests are traced |
//! | `trace`, `notes` | one request, and what is noted of it |
//! | `queue` | traces that wait, and how many are lost |
//! | `otlp` | the bytes of OTLP |
//! | `exporter` | the task that sends them |
//! | `counters` | metrics |
//!
//! # Cost
//!
//! Without a collector a request looks at an `Option`, and with one it adds to a counter. A request that is traced has some
//! memory of its own behind a lock that nobody contends for. Nobody waits: what the collector does not take in time is lost,
//! which a metric says.
//!
//! # What is in it
//!
//! Ids of applications and executors, addresses of peers, numbers, and the words of failures, as in the log. No secret and no
//! block.

mod counters;
mod exporter;
mod notes;
mod otlp;
mod queue;
mod sampler;
#[cfg(test)]
mod tests;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::TracesConfig;
use sealed_shuffle_protocol::channel::Channel;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::counters::TraceCounters;
use self::exporter::Exporter;
use self::queue::Queue;
use self::sampler::Sampler;
pub(crate) use self::trace::Trace;

/// For the last traces to be sent as the server ends.
const CLOSING: Duration = Duration::from_secs(2);

/// The traces of a server, or none. Clones make the same ones; with the last one the exporter ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces {
    handle: Option<Arc<Handle>>,
}

#[derive(Debug)]
struct Handle {
    sampler: Sampler,
    queue: Arc<Queue>,
    config: TracesConfig,
    closing: CancellationToken,
    ended: watch::Receiver<bool>,
}

impl Traces {
    /// Sends traces of the server with the id `node` to the collector of `config`. Must be called within a runtime.
    pub(crate) fn begin(config: &TracesConfig, node: Option<String>, counters: TraceCounters) -> Self {
        let queue = Arc::new(Queue::new(counters));
        let (closing, (ended, has_ended)) = (CancellationToken::new(), watch::channel(false));
        let exporter = Exporter::new(config.clone(), node, Arc::clone(&queue), closing.clone());
        drop(tokio::spawn(async move {
            exporter.run().await;
            ended.send_replace(true);
        }));
        let sampler = Sampler::of(config.sample_rate);
        Self {
            handle: Some(Arc::new(Handle {
                sampler,
                queue,
                config: config.clone(),
                closing,
                ended: has_ended,
            })),
        }
    }

    /// A trace of a request that begins now, if chance wants one.
    #[inline]
    pub(crate) fn request(
        &self,
        kind: &'static str,
        peer: SocketAddr,
        channel: Channel,
    ) -> Option<Arc<Trace>> {
        let handle = self.handle.as_ref()?;
        match handle.sampler.takes_next() {
            true => Trace::begin(&handle.queue, kind, peer, channel),
            false => None,
        }
    }

    /// Where they go and how many, as JSON; null where there are none.
    pub(crate) fn figures(&self) -> Value {
        let Some(handle) = &self.handle else { return Value::Null };
        let counters = handle.queue.counters();
        json!({
            "endpoint": handle.config.endpoint.to_string(),
            "sample_rate": handle.config.sample_rate,
            "spans_sent": counters.sent(),
            "spans_lost": counters.lost(),
        })
    }

    /// Sends what waits, and ends. A collector that does not answer does not hold up the process.
    pub(crate) async fn close(&self) {
        let Some(handle) = &self.handle else { return };
        handle.closing.cancel();
        let mut ended = handle.ended.clone();
        if tokio::time::timeout(CLOSING, ended.wait_for(|ended| *ended)).await.is_err() {
            let endpoint = &handle.config.endpoint;
            warn!(%endpoint, "the last traces were not taken in time");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
