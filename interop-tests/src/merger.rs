//! Either service as a merger, and the files of ours.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    fixture::Fixture,
    machine::files_named,
    modes::{Mode, Service},
    ours::Server,
};

/// A service that merges; the state of ours lies in a directory of its own.
#[derive(Debug)]
pub struct Merger {
    /// The service.
    pub f: Fixture,
    /// Keys, and what survives a restart.
    pub state: TempDir,
}

impl Merger {
    /// Starts ours with chunks of at least `min_chunk`.
    pub fn start(mode: Mode, min_chunk: &str) -> Self {
        Self::start_of(Service::Ours, mode, min_chunk, &[])
    }

    /// Starts either, with further keys. Spark's own merger is the handler of its YARN service, RemoteBlockPushResolver
    /// behind ExternalBlockHandler, of the client's release.
    pub fn start_of(service: Service, mode: Mode, min_chunk: &str, more: &[(&str, &str)]) -> Self {
        let state = TempDir::with_prefix("interop-state-").expect("the temporary directory is writable");
        let conf = conf(state.path(), min_chunk);
        let conf = conf.iter().map(|(key, value)| (*key, value.as_str()));
        let all: Vec<(&str, &str)> = conf.chain(more.iter().copied()).collect();
        let f = Fixture::start_with(service, mode, &all);
        if service == Service::Ours {
            f.allow_warning("on the same file system");
            f.expect_warning("made the key file");
        }
        Self { f, state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.f.ours().expect("it is ours")
    }

    /// A counter of merging, by its name without the words that all of them have.
    pub fn count(&self, name: &str) -> f64 {
        self.server().metric(&format!("sealed_shuffle_merge_{name}_total"))
    }
}

/// The handler of pushed blocks that switches merging on, in Spark and in ours.
pub const PUSH_RESOLVER: (&str, &str) = (
    "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
    "org.apache.spark.network.shuffle.RemoteBlockPushResolver",
);

/// The keys that switch merging on.
pub fn conf(state: &Path, min_chunk: &str) -> [(&'static str, String); 3] {
    [
        (PUSH_RESOLVER.0, PUSH_RESOLVER.1.to_owned()),
        ("spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", min_chunk.to_owned()),
        ("spark.sealed.state.dir", state.to_str().expect("test paths are text").to_owned()),
    ]
}

/// All files of merged partitions beneath a directory: what the service wrote, and not the executors.
pub fn merged_files(root: &Path) -> Vec<PathBuf> {
    files_named(root, |name| name.starts_with("shuffleMerged_"))
}
