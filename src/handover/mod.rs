//! Applications that a resource manager hands over: it tells their secrets when they begin, and it tells their end.
//!
//! ```text
//! YARN's NodeManager ─► yarn/ ─► sealed-shuffle hand-over ═══ Unix socket ═══► run ─► Receiver (the server)
//!                                relay, checks the server                      checks the client
//! a Worker's and its Master's pages ─► hand-over standalone ══ the same socket ═══► …
//! Kubernetes' API server ────────────► hand-over kubernetes ══ the same socket ═══► …
//!                                      Speaker, checks the server
//!
//! The protocol is lines of UTF-8, so that the other side needs no parser. The client first says which version it
//! speaks. Then it reports one event a line, and sends the next line after the answer to the last one. The connection
//! stays open: when it ends, the client knows that it has to report everything again to the next server.
//!
//! | client | means |
//! |---|---|
//! | `sealed-shuffle-handover 1` | the version; this is the first line |
//! | `started ID PAYLOAD` | the application runs; the payload in base64 as the application gave it, `-` for none |
//! | `ended ID` | the application is over |
//! | `executor-ended ID EXECUTOR` | this executor of it is over; what it wrote for others is still served |
//! | `held` | of which applications does the server hold a secret? |
//!
//! | server | means |
//! |---|---|
//! | `ok` | done; stored, too, where there is a state store |
//! | `held ID ID …` | the answer to `held` |
//! | `refused TEXT` | refused for good: the same line is refused again |
//! | `failed TEXT` | not done now; send the line again later |
//!
//! Invariants: a peer that is not our own user, root or a named user gets one line of refusal and nothing else;
//! lines, connections and the time for a line are bounded; a line that is cut off changes nothing; every line may be
//! repeated; buffers that held secrets are wiped. `serve` calls [`run`]; the
//! command `hand-over` calls [`relay()`], and `hand-over standalone` and `hand-over kubernetes` call [`Speaker`].

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod lines;
mod message;
mod relay;
mod serve;
mod speaker;
pub mod standalone;
#[cfg(test)]
mod tests;

use sealed_shuffle_config::HandoverConfig;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use crate::local_socket::{LocalSocket, Place, SocketError};

pub use self::relay::{RelayError, relay};
pub use self::serve::run;
pub use self::speaker::{Reply, Speaker};

/// The first line of a client.
const GREETING: &str = "sealed-shuffle-handover 1";

/// Begins the answer that names applications, and is the question.
const HELD: &str = "held";

/// Makes the socket of a configuration and listens on it; and its directory, for our user alone, where there is none. Must be called
/// within a runtime.
pub fn bind(config: &HandoverConfig, place: Place) -> Result<LocalSocket, SocketError> {
    const KEY: &str = "spark.sealed.handover.socket";
    LocalSocket::make_directory_of(KEY, &config.socket)?;
    LocalSocket::bind_at(KEY, &config.socket, &config.users, place)
}

/// Receives the events that are handed over.
pub trait Receiver: Send + Sync + 'static {
    /// An application runs. The call may wait for a disk.
    fn started(&self, app: &AppId, given: HandOverPayload) -> Result<(), EventError>;

    /// An application is over; it need not be known. The call may wait for a disk.
    fn ended(&self, app: &AppId) -> Result<(), EventError>;

    /// An executor of an application is over; neither need be known. Its map outputs are still asked for.
    fn executor_ended(&self, _app: &AppId, _executor: &ExecutorId) -> Result<(), EventError> {
        Err(EventError::Refused("ends of executors are not taken here".to_owned()))
    }

    /// The applications whose secret is held. Who hands over asks for them after a restart of either side.
    fn held(&self) -> Vec<AppId> {
        Vec::new()
    }
}

/// The payload that an application gave to the shuffle service when it began.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandOverPayload {
    /// The application's secret. `None`: the application does not authenticate.
    pub secret: Option<AppSecret>,
    /// Whether the secret and the state of the application may be stored for the next start.
    pub remember: bool,
}

impl HandOverPayload {
    /// Makes a payload from a secret and from whether it may be stored.
    pub fn new(secret: Option<AppSecret>, remember: bool) -> Self {
        Self { secret, remember }
    }
}

/// The reason why an event was not taken. The text is for the log of the other side.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EventError {
    /// The event is refused for good.
    Refused(String),
    /// The event may be taken later.
    Failed(String),
}
