//! The executor whose blocks are served: its names and its registration.

use std::path::Path;

use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};

use crate::commands::{Exit, Failure};

/// The id of its application.
pub(super) const APP: &str = "app-bench";

/// The id of the executor.
pub(super) const EXECUTOR: &str = "1";

/// Spark's default number of sub-directories.
pub(super) const SUB_DIRS: i32 = 64;

/// The shuffle manager of an application that does not push.
pub(super) const SORT_MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

/// The registration of an executor whose directory is `dir`.
pub(super) fn info(dir: &Path, manager: &str) -> Result<ExecutorShuffleInfo, Failure> {
    let dirs = Strings::try_from_iter([dir.display().to_string().as_str()]);
    Ok(ExecutorShuffleInfo {
        local_dirs: dirs.map_err(|error| Failure::new(Exit::Failed, error))?,
        sub_dirs_per_local_dir: SUB_DIRS,
        shuffle_manager: manager.into(),
    })
}
