//! A server as it was configured: the one way to make one.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use sealed_shuffle_config::{AtRest, ByteCount, Clears, ServerConfig};
use sealed_shuffle_protocol::auth::legacy::LegacyLimits;
use sealed_shuffle_transport::descriptors::Ceiling;
use sealed_shuffle_transport::lane::Lane;
use sealed_shuffle_transport::pot::Pot;
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::seal::{Budget, SegmentPool};
use sealed_shuffle_transport::turns::Turns;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::evidence::Evidence;
use super::recovery::AwaitedStore;
use super::repeats::Repeats;
use super::start_error::{Cause, StartError};
use super::streams::StreamIds;
use super::succession::Succession;
use super::{Server, Shared, known, merging, recovery, reload};
use crate::applications::{ApplicationLimits, Applications};
use crate::audit::{Audit, audit_app};
use crate::disk::{BlockStore, DiskLimits, LOOK_THREADS, Proof, RegistryLimits, Roots};
use crate::keys::Secrets;
use crate::keys::envelope::{EnvelopeKeys, KeyWitness};
use crate::merge::Store;
use crate::remains::Remains;
use crate::telemetry::Metrics;
use crate::traces::Traces;
use crate::view::{View, ViewMount};

/// Threads for slow ciphers.
const SLOW_LANE: usize = 2;

/// Threads for the key derivations of the older handshake, which strangers may ask for: they hold up each other alone.
const DERIVATIONS: usize = 1;

/// Threads that look at keys and certificates of TLS.
const MATERIAL: usize = 1;

/// Threads for what operators tell.
const TOLD: usize = 4;

/// Threads for what has a lane of its own elsewhere (secrets, keys, recovery store, cluster managers), and for paths that
/// nobody knows.
const OTHERS: usize = 24;

/// Segments kept for the next transfer while nobody uses them.
const KEPT_SEGMENTS: usize = 32;

impl Server {
    /// A server as it was configured: opens the roots, takes the secrets, sets up the memory, has the keys at hand, and
    /// takes up what an earlier server left in the recovery store. It listens nowhere yet.
    pub async fn from_config(config: &ServerConfig) -> Result<Self, StartError> {
        Ok(set_up(config, None, None).await?)
    }

    /// The same with a view that is mounted already: a process that has confined itself mounts nothing.
    pub(crate) async fn seen_through(
        config: &ServerConfig,
        view: Option<ViewMount>,
    ) -> Result<Self, StartError> {
        Ok(set_up(config, None, view).await?)
    }

    /// What [`Server::from_config`] would refuse, as far as it can be told without making or asking anything.
    pub fn check(config: &ServerConfig) -> Result<(), StartError> {
        Ok(check(config)?)
    }

    /// The threads that the runtime's blocking pool must have room for: all that wait for disks and for slow ciphers.
    /// Threads are made when they are needed.
    pub fn blocking_threads(config: &ServerConfig) -> usize {
        // One lane a root, and the one for what concerns several.
        let roots = config.roots.paths.len();
        let disks = (roots + 1) * Lane::most_threads(config.disk_threads) + roots * LOOK_THREADS;
        disks + SLOW_LANE + DERIVATIONS + Lane::most_threads(MATERIAL) + TOLD + OTHERS
    }
}

fn check(config: &ServerConfig) -> Result<(), Cause> {
    reload::tls(config)?;
    reload::source(config)?;
    Roots::open(&config.roots.paths)?;
    Ok(())
}

/// Sets up a server. What is merged goes into `merges`, and without that into sealed files beneath the roots; `view` is
/// mounted already.
pub(super) async fn set_up(
    config: &ServerConfig,
    merges: Option<Arc<dyn Store>>,
    view: Option<ViewMount>,
) -> Result<Server, Cause> {
    let tls = reload::tls(config)?;
    let source = reload::source(config)?;
    let secrets = match &config.handover {
        Some(handover) => Secrets::handed_over_or(source, handover.wait),
        None => Secrets::from_source(source),
    };
    let ceiling = Ceiling::below(config.descriptor_limit, config.kept_descriptors);
    let roots = Roots::open(&config.roots.paths)?
        .with_threads(config.disk_threads, config.disk_timeout)
        .with_app_scope(config.app_scoped_dirs)
        .with_ceiling(ceiling);
    let clears = clears(config, &secrets);
    let store = Arc::new(BlockStore::new(roots, disk_limits(config, clears)));
    let metrics = Arc::new(Metrics::new());
    metrics.begin_at_zero(&known::labels());
    let at_rest = config.merging.as_ref().map(|merging| merging.at_rest);
    let seals = at_rest == Some(AtRest::Sealed) && merges.is_none();
    let audit = config.audit.as_ref().map(|audit| Audit::begin(audit, metrics.audit.clone()));
    let audit = audit.unwrap_or_default();
    let traces = config
        .traces
        .as_ref()
        .map(|traces| Traces::begin(traces, config.envelope.node.clone(), metrics.traces.clone()));
    let keys = match config.recovery || seals || audit.is_on() {
        true => {
            let witness = audit.is_on().then(|| Arc::new(audit.clone()) as Arc<dyn KeyWitness>);
            Some(EnvelopeKeys::witnessed(config, metrics.key_calls.clone(), witness).await?)
        }
        false => None,
    };
    audit.started(&config.policy.to_json(), config.roots.paths.len());
    if let (Some(keys), Some(trail)) = (&keys, &config.audit) {
        audit.open(trail, keys.provider(), keys.context(&audit_app()));
    }
    let opened = match keys.as_ref().filter(|_| config.recovery) {
        Some(keys) => Some(recovery::open(config, keys).await),
        None => None,
    };
    let (state, recovered, awaited_store) = match opened {
        Some(Ok((state, all))) => (Some(state), Some(all), None),
        Some(Err(error)) if error.awaits_key() => {
            warn!(%error, "what was registered before the restart is not known until then, and what needs no key is served");
            (None, None, Some(AwaitedStore::of(config)))
        }
        Some(Err(error)) => return Err(error.into()),
        None => (None, None, None),
    };
    let merger = config.merging.as_ref().and_then(|merging| {
        let files = || match merging.at_rest {
            AtRest::Sealed => Some(merging::sealed_files(config, merging, keys.clone()?, store.roots())),
            AtRest::Plain => Some(merging::plain_files(config, merging, store.roots())),
        };
        Some(Arc::new(merging::merger(config, merging, merges.or_else(files)?, state.clone())))
    });
    let view = match &merger {
        Some(merger) => {
            let files = View::new(Arc::clone(merger), Arc::clone(&store), config.disk_timeout);
            merging::view(config, view, files).await?
        }
        None => None,
    };
    let memory = state
        .as_ref()
        .map(|state| (config.envelope.state_dir.join(crate::remains::JOURNAL), state.lane().clone()));
    let evidence = Evidence::of(config, keys.as_ref());
    let remains = Arc::new(Remains::new(config.clean_up.clone(), Arc::clone(&store), memory, audit.clone()));
    let budget = Budget::new(config.memory_budget.as_u64() - merging::merge_bytes(config))
        .with_quota(config.quota.memory.map(ByteCount::as_u64));
    let turns = Turns::with_quota(config.worker_threads, config.quota.bandwidth.map(ByteCount::as_u64));
    let pool = SegmentPool::with_turns(budget, turns, config.segment_size.as_usize(), KEPT_SEGMENTS)
        .with_phases(Arc::clone(&metrics.phases));
    let shared = Arc::new(Shared {
        limits: config.limits.clone(),
        timeouts: config.timeouts,
        sasl: config.sasl.clone(),
        legacy_limits: LegacyLimits { iterations: config.max_legacy_iterations },
        max_connections: config.max_connections,
        ceiling,
        max_chunks: config.max_chunks_being_transferred,
        policy: ArcSwap::from_pointee(config.policy.clone()),
        tls: ArcSwapOption::new(tls),
        applications: Applications::new(
            ApplicationLimits { rows: config.max_applications, idle_ttl: config.app_idle_ttl },
            secrets,
            Arc::clone(&store),
            merger.clone(),
            state.clone(),
            Arc::clone(&metrics),
        )
        .with_audit(audit.clone()),
        store,
        keys,
        awaited_store,
        merger,
        view,
        remains,
        repeats: Repeats::default(),
        stream_ids: StreamIds::starting_at(random_bytes()?),
        connections: Pot::new("connections", config.max_connections as u64)
            .with_remedy("raise spark.sealed.connections.max and the limit of open descriptors")
            .with_quota(config.quota.connections),
        seats: config.quota.connections.map(|_| Arc::default()),
        open_streams: Pot::new("open_streams", pool.budget().total() / 2)
            .with_remedy("raise spark.sealed.memory.budget"),
        min_rate: config.min_rate.as_u64(),
        pool,
        metrics,
        audit,
        traces: traces.unwrap_or_default(),
        evidence,
        slow_lane: Lane::new(SLOW_LANE),
        derivations: Lane::new(DERIVATIONS),
        material: Lane::new(MATERIAL).with_patience(config.disk_timeout),
        told: Lane::new(TOLD),
        draining: CancellationToken::new(),
        succession: Succession::default(),
        controls: OnceLock::new(),
        started: SystemTime::now(),
    });
    if shared.awaited_store.is_some() {
        shared.applications.await_store();
    }
    if let (Some(state), Some(recovered)) = (&state, recovered) {
        recovery::take_up(&shared, state, recovered).await.map_err(Cause::Recovery)?;
    }
    shared.remains.restore().await;
    Ok(Server { shared })
}

/// The least proof with which an application's directories are cleared when it has ended. Where secrets prove who is
/// who, an application without proof may have named any directory.
fn clears(config: &ServerConfig, secrets: &Secrets) -> Option<Proof> {
    match config.clean_up.applications {
        Clears::Off => None,
        Clears::DryRun | Clears::On if secrets.exist() => Some(Proof::Proven),
        Clears::DryRun | Clears::On => Some(Proof::Unproven),
    }
}

fn disk_limits(config: &ServerConfig, clears: Option<Proof>) -> DiskLimits {
    DiskLimits {
        index_cache_bytes: config.index_cache_size.as_u64(),
        open_files: config.max_open_files - merging::open_files(config),
        registry: RegistryLimits {
            executors: config.max_executors,
            idle_ttl: config.app_idle_ttl,
            clears,
            ..Default::default()
        },
        ..DiskLimits::default()
    }
}
