//! A store in a directory of its own, under a local key file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::stored::envelope::Context;
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;

use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::keys::envelope::LocalKeyFile;
use crate::merge::MergeDirs;
use crate::state::{FILE_NAME, Recovery, State, StateError, node_app};

pub(crate) const MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

pub(crate) struct Fixture {
    dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of the store; it is not there before the first opening.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.state_dir().join(FILE_NAME)
    }

    pub(crate) fn provider(&self) -> LocalKeyFile {
        LocalKeyFile::for_test(&self.path().join("keys"))
    }

    pub(crate) fn try_open(&self) -> Result<(Arc<State>, Recovery), StateError> {
        open_with(&self.state_dir(), &self.provider())
    }

    pub(crate) fn open(&self) -> (Arc<State>, Recovery) {
        self.try_open().unwrap()
    }

    /// Closes `state`, and says what the next opening finds.
    pub(crate) fn reopen(&self, state: &State) -> (Arc<State>, Recovery) {
        state.close();
        self.open()
    }

    /// The root beneath which executors' directories lie.
    pub(crate) fn root(&self) -> String {
        self.path().join("root").to_str().unwrap().to_owned()
    }

    /// A directory beneath the root, made.
    pub(crate) fn dir(&self, name: &str) -> String {
        let dir = format!("{}/{name}", self.root());
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(crate) fn store(&self) -> BlockStore {
        BlockStore::new(Roots::open([self.root()]).unwrap(), DiskLimits::default())
    }

    /// Merge directories of these names.
    pub(crate) fn merge_dirs(&self, names: &[&str]) -> MergeDirs {
        let roots = Roots::open([self.root()]).unwrap();
        let dirs = names.iter().map(|name| roots.accept(&OnLane::here(), &self.dir(name)).unwrap());
        MergeDirs::new(dirs.collect(), 64)
    }
}

/// Opens the store in `dir` under the keys of `provider`.
pub(crate) fn open_with(dir: &Path, provider: &LocalKeyFile) -> Result<(Arc<State>, Recovery), StateError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(State::open(dir, provider, &Context::of(node_app())))
}

pub(crate) fn app(name: &str) -> AppId {
    AppId::new(name)
}

pub(crate) fn executor(name: &str) -> ExecutorId {
    ExecutorId::new(name)
}

/// Registers an executor with one directory; whether it is on the disk.
pub(crate) fn register(state: &State, name: &str, id: &str, dir: &str) -> bool {
    state.executor(&app(name), &executor(id), &[dir], 64, MANAGER, Proof::Proven).wait()
}

/// Everything that was recovered, as sorted lines.
pub(crate) fn lines(recovered: &Recovery) -> Vec<String> {
    let executors = recovered.executors.iter().map(|known| format!("{known:?}"));
    let secrets = recovered
        .secrets
        .iter()
        .map(|(app, secret)| format!("secret {app} {}", String::from_utf8_lossy(secret.as_bytes())));
    let merges = recovered.merges.iter().map(|known| {
        let mut known = known.clone();
        known.finalized.sort_unstable();
        format!("{known:?}")
    });
    let mut lines: Vec<_> = executors.chain(secrets).chain(merges).collect();
    lines.sort_unstable();
    lines
}
