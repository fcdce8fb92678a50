//! A shuffle service in this process, on loopback.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle::disk::{BlockStore, DiskLimits, Roots};
use sealed_shuffle::server::{ApplicationLimits, Secrets, Server, Settings};
use sealed_shuffle::telemetry::Metrics;
use sealed_shuffle_client::Address;
use sealed_shuffle_config::{Policy, SaslSettings};
use sealed_shuffle_protocol::auth::legacy::LegacyLimits;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::seal::{Budget, SegmentPool};
use sealed_shuffle_transport::wire::{ListenSettings, bind};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::commands::{Exit, Failure};

/// A running server; stops when dropped.
pub(super) struct Service {
    pub(super) address: Address,
    _stop: DropGuard,
}

/// Serves `root` under `secret`, and refuses channels below `minimum`. Without a secret it serves anyone in clear.
pub(super) fn start(root: &Path, secret: Option<&str>, minimum: SecurityLevel) -> Result<Service, Failure> {
    let settings = Settings {
        limits: Limits::default(),
        policy: Policy { anonymous: secret.is_none(), ..Policy::at_least(minimum) },
        applications: ApplicationLimits::default(),
        tls: None,
        sasl: SaslSettings::default(),
        legacy_limits: LegacyLimits { iterations: 10_000 },
        connections: 64,
        max_chunks: u64::MAX,
        handshake_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(120),
        stalled_timeout: Duration::from_secs(120),
        drain_timeout: Duration::from_secs(1),
        min_rate: 16 << 10,
    };
    let secrets = match secret {
        None => Secrets::none(),
        Some(text) => Secrets::shared(AppSecret::new(text.to_owned())),
    };
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    let roots = Roots::open(&[PathBuf::from(root)]).map_err(|error| failed(&error))?;
    let store = Arc::new(BlockStore::new(roots, DiskLimits::default()));
    let pool = SegmentPool::new(Budget::new(64 << 20), 256 << 10, 8);
    let server = Server::new(settings, secrets, store, pool, Arc::new(Metrics::new()))
        .map_err(|error| failed(&error))?;
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = bind("demo", loopback, &ListenSettings::default()).map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move { server.run(listener, stopped.cancelled_owned()).await });
    Ok(Service { address: Address::from(address), _stop: stop.drop_guard() })
}
