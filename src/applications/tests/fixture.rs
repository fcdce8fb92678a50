//! All tables that know an application, real ones, and applications that are in every one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_config::OutagePolicy;
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId, StreamId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{
    ExecutorShuffleInfo, PushBlockStream, RegisterExecutor, ReturnCode, Strings,
};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::broken_gcm::Peer;
use super::super::{ApplicationLimits, Applications, Enrolment, Speaker};
use crate::disk::layout::{self, Placement};
use crate::disk::{BlockStore, DiskLimits, Proof, RegisterError, RegistryLimits, Roots};
use crate::handover::HandOverPayload;
use crate::keys::envelope::{EnvelopeKeys, KeyCalls, LocalKeyFile, RingSettings};
use crate::keys::{Secrets, Source, Watch};
use crate::merge::{MergeSettings, Merger, SealedMerges};
use crate::sealed_files::{Fsync, SealedLimits, SealedStore};
use crate::state::State;
use crate::state::tests::fixture::{Fixture, lines};
use crate::telemetry::{Metrics, SecretUsed};

const ADDRESS: [u8; 4] = [10, 0, 0, 1];
const EXECUTOR: &str = "1";
const BLOCK: &[u8] = b"a block that is pushed";
/// So long without use, and an application is over.
pub(super) const IDLE: Duration = Duration::from_secs(3600);

/// The home, and the tables that it owns.
pub(super) struct Home {
    pub(super) applications: Applications,
    pub(super) state: Arc<State>,
    pub(super) merger: Arc<Merger>,
    pub(super) ring: EnvelopeKeys,
    store: Arc<BlockStore>,
    metrics: Arc<Metrics>,
    runtime: Runtime,
    root: PathBuf,
    recovery: Fixture,
    _keys: TempDir,
}

/// What a connection of an application holds while it is open.
pub(super) struct Connection {
    _speaker: Speaker,
    pub(super) access: Watch,
}

impl Home {
    pub(super) fn new() -> Self {
        let (recovery, keys, runtime) =
            (Fixture::new(), tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let root = PathBuf::from(recovery.root()).canonicalize().unwrap();
        let registry = RegistryLimits { idle_ttl: Some(IDLE), ..RegistryLimits::default() };
        let limits = DiskLimits { registry, file_idle: IDLE * 10, ..DiskLimits::default() };
        let store = Arc::new(BlockStore::new(Roots::open([&root]).unwrap(), limits));
        let roots = Arc::clone(store.roots());
        let provider = LocalKeyFile::for_test(&keys.path().join("keys"));
        let settings = RingSettings::new(OutagePolicy::Refuse, Duration::from_secs(10));
        let ring = EnvelopeKeys::new(Arc::new(provider), settings, KeyCalls::default());
        let files = Arc::new(SealedStore::new(Arc::clone(&roots), SealedLimits::default()));
        let handle = runtime.handle().clone();
        let merges = SealedMerges::new(files, roots, ring.clone(), handle, Fsync::Never);
        let (state, _) = recovery.open();
        let journal = Arc::clone(&state);
        let merger = Arc::new(Merger::new(MergeSettings::default(), Arc::new(merges)).with_journal(journal));
        let metrics = Arc::new(Metrics::new());
        let applications = Applications::new(
            ApplicationLimits::default(),
            Secrets::handed_over_or(Source::None, Duration::ZERO),
            Arc::clone(&store),
            Some(Arc::clone(&merger)),
            Some(Arc::clone(&state)),
            Arc::clone(&metrics),
        );
        Self { applications, state, merger, ring, store, metrics, runtime, root, recovery, _keys: keys }
    }

    fn dir(&self, app: &AppId) -> PathBuf {
        self.root.join(app.as_str())
    }

    /// Hands over the secret of an application.
    pub(super) fn begin(&self, app: &AppId, remember: bool) {
        let secret = AppSecret::new(format!("the secret of {app}"));
        self.applications.begin(app, HandOverPayload::new(Some(secret), remember)).unwrap();
    }

    /// Registers an executor of an attempt of an application.
    pub(super) fn register(&self, app: &AppId, attempt: i32, proof: Proof) -> Enrolment {
        self.try_register(app, app, attempt, proof).unwrap()
    }

    /// The same in the directories of `owner`.
    pub(super) fn try_register(
        &self,
        app: &AppId,
        owner: &AppId,
        attempt: i32,
        proof: Proof,
    ) -> Result<Enrolment, RegisterError> {
        let block_dir = self.dir(owner).join("blockmgr-1");
        fs::create_dir_all(&block_dir).unwrap();
        fs::create_dir_all(self.dir(owner).join(format!("merge_manager_{attempt}/00"))).unwrap();
        let shuffle_manager =
            format!(r#"x:{{"mergeDir":"merge_manager_{attempt}","attemptId":"{attempt}"}}"#);
        self.runtime.block_on(self.merger.prepare(app, &shuffle_manager)).unwrap();
        let local_dirs = Strings::try_from_iter([block_dir.to_str().unwrap()]).unwrap();
        let info = ExecutorShuffleInfo { local_dirs, sub_dirs_per_local_dir: 1, shuffle_manager };
        let message = RegisterExecutor { app: app.clone(), executor: ExecutorId::new(EXECUTOR), info };
        self.applications.register(&OnLane::here(), &message, proof)
    }

    /// Merges one block of an attempt.
    pub(super) fn push(&self, app: &AppId, app_attempt: i32) {
        let push = PushBlockStream {
            app: app.clone(),
            app_attempt,
            shuffle: ShuffleId(0),
            merge: ShuffleMergeId(0),
            map_index: 0,
            reduce: ReduceId(0),
            index: 0,
        };
        let mut push = self.merger.begin(&OnLane::here(), &push, BLOCK.len() as u64).unwrap();
        push.data(&OnLane::here(), &[BLOCK]).unwrap();
        assert_eq!(push.complete(&OnLane::here()).unwrap().code, ReturnCode::Success);
    }

    /// Writes a map output and reads it, so that its index and its data file are cached.
    pub(super) fn fetch(&self, app: &AppId) {
        let (shuffle, map) = (ShuffleId(0), MapId(7));
        let place = |name: String| {
            let sub = self.dir(app).join("blockmgr-1").join(Placement::of(&name, 1, 1).unwrap().sub_dir());
            fs::create_dir_all(&sub).unwrap();
            sub.join(name)
        };
        fs::write(place(layout::data_name(shuffle, map)), BLOCK).unwrap();
        let offsets = [0, BLOCK.len() as u64].map(u64::to_be_bytes).concat();
        fs::write(place(layout::index_name(shuffle, map)), offsets).unwrap();
        let found =
            self.store.resolve_map(&OnLane::here(), app, &ExecutorId::new(EXECUTOR), shuffle, map).unwrap();
        found.block(&OnLane::here(), ReduceId(0)).unwrap();
    }

    /// A connection that proves to be of `app`, and does not hear what is answered to it.
    pub(super) fn connect(&self, app: &AppId) -> Connection {
        let access = self.applications.prove(app, SecretUsed::Current);
        let mode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm };
        let speaker = self.applications.usage().connected(app, true, Channel::aes(mode), ADDRESS.into());
        let peer = Peer { app: app.clone(), address: ADDRESS.into() };
        let (deaf, then) = (self.applications.broken_gcm(), Instant::now());
        let mut listening = deaf.listen(peer, then).unwrap();
        listening.requested(then);
        deaf.opened(&mut listening, b"blocks", StreamId(1), then);
        deaf.fell_silent(listening, then + Duration::from_secs(120));
        Connection { _speaker: speaker, access }
    }

    /// An application that is in every table, with one connection.
    pub(super) fn run(&self, app: &AppId, remember: bool) -> Connection {
        self.begin(app, remember);
        let registration = self.register(app, 1, Proof::Proven);
        registration.merging.unwrap();
        assert!(registration.written.unwrap().wait());
        self.push(app, 1);
        self.fetch(app);
        self.connect(app)
    }

    /// The directories of an application go, as the one who made them removes them.
    pub(super) fn remove_directories(&self, app: &AppId) {
        fs::remove_dir_all(self.dir(app)).unwrap();
    }

    /// What is in the merge directories of an application.
    pub(super) fn merged_files(&self, app: &AppId, attempt: i32) -> usize {
        let dir = self.dir(app).join(format!("merge_manager_{attempt}"));
        fn count(dir: &Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&dir)
    }

    /// The tables that know an application; all of them are looked at.
    pub(super) fn tables_with(&self, app: &AppId) -> Vec<&'static str> {
        let Applications {
            turns,
            secrets,
            store,
            merger,
            state,
            usage,
            sightings_fail: _,
            broken_gcm,
            metrics: _,
            audit: _,
        } = &self.applications;
        let tables = [
            ("turns", turns.try_take(app).is_none()),
            ("secrets", secrets.is_handed_over(app)),
            ("executors", store.executors().proof(app).is_some()),
            ("merges", merger.as_ref().unwrap().local_dirs(app).is_ok()),
            ("exemptions", state.as_ref().unwrap().is_exempt(app)),
            ("usage", usage.knows(app)),
            ("broken_gcm", broken_gcm.knows(app)),
        ];
        tables.into_iter().filter(|(_, knows)| *knows).map(|(name, _)| name).collect()
    }

    /// Cached indexes, open files, and data keys of all applications.
    pub(super) fn caches(&self) -> (usize, usize, usize) {
        let disk = self.store.counters();
        (disk.indexes_cached, disk.files_cached, self.ring.len())
    }

    /// Applications that were counted as forgotten for a reason.
    pub(super) fn forgotten(&self, reason: &str) -> u64 {
        let page = self.metrics.render(Default::default()).unwrap();
        let sample = format!("sealed_shuffle_forgotten_applications_total{{reason=\"{reason}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&sample)).map_or(0, |count| count.parse().unwrap())
    }

    /// Closes the recovery store, and says which of its records name an application.
    pub(super) fn records_of(&self, app: &AppId) -> Vec<String> {
        let (state, recovered) = self.recovery.reopen(&self.state);
        state.close();
        lines(&recovered).into_iter().filter(|line| line.contains(app.as_str())).collect()
    }
}
