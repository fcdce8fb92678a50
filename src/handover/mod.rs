//! Applications that a resource manager hands over: their secrets at their beginning, and their end.
//!
//! ```text
//! YARN's NodeManager ─► yarn/ ─► sealed-shuffle hand-over ═══ Unix socket ═══► run ─► Receiver (the server)
//!                                 relay, and looks who listens                 looks who says it
//! ```
//!
//! The protocol is lines of UTF-8, so that no parser is needed on the other side. The client says which version it
//! speaks, then what happened, one line after the answer to the line before; the connection stays open, so that its
//! end tells the client to say everything again to the next server.
//!
//! | client | means |
//! |---|---|
//! | `sealed-shuffle-handover 1` | first of all: the version |
//! | `started ID PAYLOAD` | the application runs; the payload in base64 as the application gave it, `-` for none |
//! | `ended ID` | it is over |
//!
//! | server | means |
//! |---|---|
//! | `ok` | done, remembered where there is a state store |
//! | `refused TEXT` | never will be, said again it is refused again |
//! | `failed TEXT` | not now; say it again later |
//!
//! Invariants: who is not ourselves, root or a named user gets no further than one line of refusal; lines,
//! connections and the time for a line are bounded; a line that is cut off changes nothing; everything can be said
//! twice; buffers that held secrets are wiped. `serve` calls [`run`], the command `hand-over` calls [`relay()`].

mod lines;
mod message;
mod relay;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;

pub use self::relay::{RelayError, relay};
pub use self::serve::run;
pub use self::socket::{Socket, SocketError};

/// The first line of a client.
const GREETING: &str = "sealed-shuffle-handover 1";

/// Who is told.
pub trait Receiver: Send + Sync + 'static {
    /// An application runs. May wait for a disk.
    fn started(&self, app: &AppId, given: Given) -> Result<(), NotDone>;

    /// An application is over, known or not. May wait for a disk.
    fn ended(&self, app: &AppId) -> Result<(), NotDone>;
}

/// What an application gave to the shuffle service when it began.
#[derive(Debug)]
#[non_exhaustive]
pub struct Given {
    /// Its secret; none where it authenticates nobody.
    pub secret: Option<AppSecret>,
    /// Whether its secret and state are to outlast a restart.
    pub remember: bool,
}

impl Given {
    /// A secret, and whether it is to outlast a restart.
    pub fn new(secret: Option<AppSecret>, remember: bool) -> Self {
        Self { secret, remember }
    }
}

/// Why something was not done; the text is for the other side's log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NotDone {
    /// It never will be.
    Refused(String),
    /// It may be later.
    Failed(String),
}
