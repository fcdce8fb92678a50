//! A shuffle service in this process, on loopback.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use sealed_shuffle_client::Address;
use sealed_shuffle_config::{ConfiguredSecret, Policy, ServerConfig};
use sealed_shuffle_protocol::channel::SecurityLevel;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::commands::{Exit, Failure};
use crate::listeners::Listeners;
use crate::server::Server;

/// A running server; stops when dropped.
pub(super) struct Service {
    pub(super) address: Address,
    _stop: DropGuard,
}

/// Serves `root` under `secret`, and refuses channels below `minimum`. Without a secret it serves anyone in clear.
pub(super) async fn start(
    root: &Path,
    secret: Option<&str>,
    minimum: SecurityLevel,
) -> Result<Service, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    // Nothing is remembered, so the second directory stays empty.
    let mut config = ServerConfig::new([root.to_owned()], root);
    config.recovery = false;
    config.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.secret = secret.map(ConfiguredSecret::new);
    config.policy = Policy { anonymous: secret.is_none(), ..Policy::at_least(minimum) };
    config.timeouts.drain = Duration::from_secs(1);
    let server = Server::from_config(&config).await.map_err(|error| failed(&error))?;
    let listeners = Listeners::bind(&config).await.map_err(|error| failed(&error))?;
    let address = listeners.address();
    let stop = CancellationToken::new();
    tokio::spawn(listeners.serve(server, stop.clone().cancelled_owned()));
    Ok(Service { address: Address::from(address), _stop: stop.drop_guard() })
}
