//! The task that sends traces: one message every few seconds, or as soon as there are enough for one.
//!
//! A collector that does not answer, or says that it has no time (429, 502, 503, 504), is asked again, each time later; what
//! waits too long meanwhile is lost. A message that it refuses is lost. Both are said once in the log, until a message is taken
//! again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sealed_shuffle_config::TracesConfig;
use sealed_shuffle_protocol::shown::{Shown, short};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::counters::Loss;
use super::notes::Notes;
use super::otlp;
use super::queue::Queue;
use crate::private_file::read;

/// The longest time between two messages to a collector that does not take them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest name of a machine.
const LONGEST_NAME: u64 = 256;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// Sends what comes into its queue.
pub(super) struct Exporter {
    config: TracesConfig,
    queue: Arc<Queue>,
    closing: CancellationToken,
    /// The server's, where it has an id.
    node: Option<String>,
}

/// Why the collector did not take a message.
enum Fault {
    /// It may take it later.
    Away(String),
    /// It will not.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Refused(why) => write!(f, "it refuses them: {why}"),
        }
    }
}

impl Exporter {
    pub(super) fn new(
        config: TracesConfig,
        node: Option<String>,
        queue: Arc<Queue>,
        closing: CancellationToken,
    ) -> Self {
        Self { config, queue, closing, node }
    }

    /// Runs until the server ends, and sends what waits then.
    pub(super) async fn run(self) {
        let host = host().await;
        let (mut pause, mut fails) = (self.config.interval, false);
        loop {
            let is_last = self.wait(pause, fails).await;
            match self.send(host.as_deref()).await {
                Ok(Sent::All) => {
                    if fails {
                        info!(endpoint = %self.config.endpoint, "the collector takes traces again");
                    }
                    (pause, fails) = (self.config.interval, false);
                }
                Ok(Sent::Nothing) => {}
                Err(fault) => {
                    self.queue.counters().fails();
                    if !fails {
                        let endpoint = &self.config.endpoint;
                        warn!(%endpoint, "the collector does not take traces: {fault}; those that wait too long are lost (spark.sealed.traces.endpoint)");
                    }
                    (pause, fails) = ((pause * 2).min(LONGEST_PAUSE), true);
                }
            }
            // With the last message ends what can be sent: more than one would be for a collector that is slow.
            if is_last && (fails || !self.queue.is_enough()) {
                return;
            }
        }
    }

    /// Waits until a message is to be sent; whether the server ends. A collector that fails is not asked earlier because more
    /// wait.
    async fn wait(&self, pause: Duration, fails: bool) -> bool {
        let enough = async {
            match fails {
                true => std::future::pending().await,
                false if self.queue.is_enough() => {}
                false => self.queue.has_enough().await,
            }
        };
        tokio::select! {
            () = self.closing.cancelled() => true,
            () = tokio::time::sleep(pause) => false,
            () = enough => false,
        }
    }

    async fn send(&self, host: Option<&str>) -> Result<Sent, Fault> {
        let batch = self.queue.batch();
        if batch.is_empty() {
            return Ok(Sent::Nothing);
        }
        let spans = batch.iter().map(Notes::spans).sum::<u64>();
        let message = otlp::message(&batch, host, self.node.as_deref());
        let counters = self.queue.counters();
        let timeout = self.config.timeout;
        let posted = tokio::time::timeout(timeout, self.post(message)).await;
        match posted.unwrap_or_else(|_| Err(Fault::Away(format!("no answer within {timeout:?}")))) {
            Ok(answer) => {
                let (rejected, why) = otlp::rejected(&answer);
                let rejected = rejected.min(spans);
                counters.sends(spans - rejected);
                if rejected == 0 {
                    return Ok(Sent::All);
                }
                counters.loses(Loss::Refused, rejected);
                Err(Fault::Refused(format!("{rejected} of {spans} spans, {}", short(&why))))
            }
            Err(fault) => {
                match fault {
                    Fault::Away(_) => self.queue.gives_back(batch),
                    Fault::Refused(_) => counters.loses(Loss::Refused, spans),
                }
                Err(fault)
            }
        }
    }

    /// Sends one message over a connection of its own; the body of its answer.
    async fn post(&self, message: Vec<u8>) -> Result<Bytes, Fault> {
        let away = |error: &dyn fmt::Display| Fault::Away(error.to_string());
        let endpoint = &self.config.endpoint;
        let connected = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let connection = TokioIo::new(connected.map_err(|error| away(&error))?);
        let (mut sender, driving) = http1::handshake(connection).await.map_err(|error| away(&error))?;
        let request = Request::post(endpoint.path.as_str())
            .header(HOST, endpoint.authority())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("sealed-shuffle/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(message)));
        let request = request.map_err(|error| Fault::Refused(error.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| away(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|error| away(&error))?.to_bytes();
            match status {
                status if status.is_success() => Ok(body),
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Err(Fault::Away(format!("it answers {status}"))),
                status => {
                    let text = String::from_utf8_lossy(&body);
                    Err(Fault::Refused(format!("{status} {}", Shown::first_line(&short(&text)))))
                }
            }
        };
        // The connection ends with this call, whoever hangs.
        let driven = async {
            match driving.await {
                Ok(()) => std::future::pending().await,
                Err(error) => Err(Fault::Away(error.to_string())),
            }
        };
        tokio::select! {
            biased;
            done = exchange => done,
            failed = driven => failed,
        }
    }
}

/// The name of this machine.
async fn host() -> Option<String> {
    let read = |on: &OnLane| read(on, Path::new("/proc/sys/kernel/hostname"), LONGEST_NAME);
    let bytes = Lane::new(1).run(read).await.ok()?.ok()??;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What became of a message.
enum Sent {
    All,
    /// There was none.
    Nothing,
}
