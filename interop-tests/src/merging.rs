//! Either service as a merger, and the files of ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    mode::Mode,
    server::Server,
    service::{Fixture, Service},
};

/// A service that merges; the state of ours lies in a directory of its own.
#[derive(Debug)]
pub struct Merging {
    /// The service.
    pub f: Fixture,
    /// Keys, and what survives a restart.
    pub state: TempDir,
}

impl Merging {
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

/// The keys that switch merging on.
pub fn conf(state: &Path, min_chunk: &str) -> [(&'static str, String); 3] {
    [
        (
            "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
            "org.apache.spark.network.shuffle.RemoteBlockPushResolver".to_owned(),
        ),
        ("spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", min_chunk.to_owned()),
        ("spark.sealed.state.dir", state.to_str().expect("test paths are text").to_owned()),
    ]
}

/// All files of merged partitions beneath a directory: what the service wrote, and not the executors.
pub fn merged_files(root: &Path) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut all = files(root);
    all.retain(|path| name(path).is_some_and(|name| name.starts_with("shuffleMerged_")));
    all
}

/// All files beneath a directory; what disappears meanwhile is left out.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut all, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true => dirs.push(path),
                false => all.push(path),
            }
        }
    }
    all
}
