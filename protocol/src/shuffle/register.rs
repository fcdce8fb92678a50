//! How an executor tells a shuffle service where its files are.

use crate::ids::{AppId, ExecutorId};
use crate::limits::PATH_MAX;
use crate::shuffle::Strings;

fields! {
    /// Registers an executor, or registers it anew.
    RegisterExecutor {
        /// The application.
        app: AppId,
        /// The executor.
        executor: ExecutorId,
        /// Where its files are.
        info: ExecutorShuffleInfo,
    }
}

fields! {
    /// Where an executor keeps its files. Has no type byte of its own.
    ExecutorShuffleInfo {
        /// Its block manager's directories.
        local_dirs: Strings<PATH_MAX>,
        /// Sub-directories in each.
        sub_dirs_per_local_dir: i32,
        /// Class of its shuffle manager; for push-based shuffle with a merge directory behind a colon.
        shuffle_manager: String where PATH_MAX,
    }
}
