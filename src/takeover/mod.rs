//! A new process takes a server's place, and no peer that connects is refused.
//!
//! ```text
//! successor (`serve --takeover`)               predecessor (`serve`)
//!   greeting ────────────────────────────────►   its user must be our own or root (SO_PEERCRED)
//!   ◄───────────────── ports and their descriptors (SCM_RIGHTS), which file the records are in
//!   checks its configuration
//!   `store` ─────────────────────────────────►   accepts nobody, lets changes end, closes the store
//!   ◄───────────────────────────────── `closed`
//!   opens the store, takes up its records
//!   `serving` ───────────────────────────────►   lets go: reading goes on until connections are quiet
//!   ◄──────────────────────────────── `retired`
//!   accepts; moves its own sockets into their places
//!   `placed` ────────────────────────────────►   closes its own
//! ```
//!
//! Both have the same listening socket, so peers that connect in between wait in its backlog. Where the successor goes
//! away or is silent before it says `serving`, the predecessor opens the store again and goes on as before. Lines end
//! with a line break and have at most [`LONGEST_LINE`] bytes. An answer that begins with `refused ` says why, and ends
//! the conversation.
//!
//! | module | knows |
//! |---|---|
//! | `claim` | the successor's end |
//! | `offer` | the predecessor's end |
//! | `line` | reading a line with its descriptors, and writing one |

mod claim;
mod line;
mod offer;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sealed_shuffle_config::SocketPlace;
use sealed_shuffle_transport::lane::OnLane;
use tokio::net::TcpListener;
use tracing::info;

pub(crate) use self::claim::{Claim, ClaimError};
pub(crate) use self::offer::offer;
use crate::local_socket::{LocalSocket, Place, SocketError};
use crate::private_file::{directory_of, make_directory};

/// The first line, with the version of this conversation.
const GREETING: &str = "sealed-shuffle takeover 1";

/// Longest line with its end.
const LONGEST_LINE: usize = 1024;

/// For the next line of a process that has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

/// For a successor to look at its configuration. The predecessor serves meanwhile.
const CHECKING: Duration = Duration::from_secs(60);

/// For a successor to open the store and to take up its records. Nobody is accepted meanwhile.
const OPENING: Duration = Duration::from_secs(20);

/// The key of the socket.
const KEY: &str = "spark.sealed.takeover.socket";

/// The listening ports of a server, which another process can have.
#[derive(Debug)]
pub(crate) struct Ports {
    /// That of the service, as long as it is served. A copy would keep it open in a drain.
    pub(crate) service: Weak<TcpListener>,
    /// The operator's, which is served to the end.
    pub(crate) admin: Option<OwnedFd>,
}

impl Ports {
    /// Those of a server.
    pub(crate) fn of(service: &Arc<TcpListener>, admin: Option<&TcpListener>) -> std::io::Result<Self> {
        let admin = admin.map(|admin| admin.as_fd().try_clone_to_owned()).transpose()?;
        Ok(Self { service: Arc::downgrade(service), admin })
    }
}

/// Makes the socket at which successors ask; `None` where it is at the default place and cannot be made.
pub(crate) fn bind(on: &OnLane, place: &SocketPlace, at: Place) -> Result<Option<LocalSocket>, SocketError> {
    let make = || {
        if place.by_default {
            let io = |source| SocketError::Io { key: KEY, path: place.path.clone(), source };
            make_directory(on, directory_of(&place.path)).map_err(io)?;
        }
        LocalSocket::bind_at(KEY, &place.path, &[], at)
    };
    match make() {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if place.by_default => {
            info!("no successor can take over: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Which file the records are in, for the other process: a name would not do where it sees other paths.
fn identity(_: &OnLane, file: &Path) -> std::io::Result<String> {
    let found = rustix::fs::stat(file)?;
    Ok(format!("{:x}:{:x}", found.st_dev, found.st_ino))
}

/// Whether an address that is listened on is the wanted one. Port 0 wants any. All addresses of IPv4 do for all of both
/// families: a server that listened on no others is succeeded without a gap, and its port stays as it is until the next
/// start.
fn fits(listening: SocketAddr, wanted: SocketAddr) -> bool {
    let is_ip = listening.ip() == wanted.ip()
        || (listening.ip() == Ipv4Addr::UNSPECIFIED && wanted.ip() == Ipv6Addr::UNSPECIFIED);
    is_ip && (wanted.port() == 0 || listening.port() == wanted.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_over_where_it_is_the_wanted_one() {
        for (listening, wanted, is_it) in [
            ("0.0.0.0:7337", "0.0.0.0:7337", true),
            ("0.0.0.0:7337", "[::]:7337", true),
            ("[::]:7337", "[::]:0", true),
            ("[::]:7337", "0.0.0.0:7337", false),
            ("0.0.0.0:7337", "[::]:7338", false),
            ("127.0.0.1:7337", "[::]:7337", false),
        ] {
            assert_eq!(
                fits(listening.parse().unwrap(), wanted.parse().unwrap()),
                is_it,
                "{listening} {wanted}"
            );
        }
    }
}
