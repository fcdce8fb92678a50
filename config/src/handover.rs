//! Where applications are handed over, and by whom.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::error::ConfigError;
use super::key::{AnyKey, Reader};
use super::load::Sources;
use super::local_socket::{check_place, check_place_in_volume, users};
use super::values::{Values, read_sources};
use super::{Issue, keys};

/// A socket at which another program says which applications begin and end, with their secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandoverConfig {
    /// The socket (`spark.sealed.handover.socket`).
    pub socket: PathBuf,
    /// User ids that may hand over beside our own and root's (`spark.sealed.handover.users`).
    pub users: Vec<u32>,
    /// How long a handshake waits for its secret (`spark.sealed.auth.secret-wait`). 10 s.
    pub wait: Duration,
}

impl HandoverConfig {
    /// `users` may hand over at `socket`, beside our own user and root.
    pub fn new(socket: impl Into<PathBuf>, users: Vec<u32>, wait: Duration) -> Self {
        Self { socket: socket.into(), users, wait }
    }
}

impl HandoverConfig {
    /// The socket of a server with these sources; what else it reads is not looked at.
    pub fn socket_of(
        sources: &Sources,
        environment: &dyn Environment,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let read = |v: &mut Values<'_>| {
            let socket = v.optional(&keys::HANDOVER_SOCKET).filter(|(path, _)| !path.is_empty());
            socket.map(|(path, _)| PathBuf::from(path))
        };
        Ok(read_sources(sources, environment, Reader::Serve, read)?.0)
    }
}

/// None where nothing is handed over.
pub(crate) fn read(v: &mut Values<'_>, wait: Duration) -> Option<HandoverConfig> {
    let named = v.optional(&keys::HANDOVER_USERS).is_some();
    let Some((path, origin)) = v.optional(&keys::HANDOVER_SOCKET).filter(|(path, _)| !path.is_empty()) else {
        if named {
            let (users, socket) = (keys::HANDOVER_USERS.name(), keys::HANDOVER_SOCKET.name());
            v.warn(format!("{users} has no effect without {socket}"));
        }
        return None;
    };
    let users = users(v, &keys::HANDOVER_USERS);
    // Other users would not get through to it.
    let checked = if users.is_empty() { check_place_in_volume(v, &path) } else { check_place(v, &path) };
    if let Err(reason) = checked {
        const OWN: &str = "name a path in a directory of this user, such as /run/sealed-shuffle/handover.sock; in a volume \
             of a pod's containers name one in a directory that is not there yet: the server makes it for its user alone";
        let issue = Issue::new(keys::HANDOVER_SOCKET.name(), reason, OWN);
        v.refuse(issue.with_value(path).with_origin(origin));
        return None;
    }
    Some(HandoverConfig { socket: path.into(), users, wait })
}
