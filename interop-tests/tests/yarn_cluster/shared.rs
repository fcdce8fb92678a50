//! The cluster that all tests of this file's program take in turns.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sealed_shuffle_interop_tests::{
    machine::{Lack, Turn},
    modes::{Cipher, Mode},
    yarn::Cluster,
};

/// What applications speak, unless a test says otherwise.
pub(crate) const MODE: Mode = Mode::newest(Cipher::Gcm, 2);

/// The cluster, and a turn at heavy work.
pub(crate) struct Held {
    pub(crate) cluster: MutexGuard<'static, Cluster>,
    _turns: Vec<Turn>,
}

/// The cluster; nothing where it cannot be had here. Then the reason is told, and with `SEALED_SHUFFLE_YARN=required` it is
/// a failure.
pub(crate) fn cluster() -> Option<Held> {
    /// Never dropped: the kernel ends it with this process.
    static CLUSTER: OnceLock<Result<Mutex<Cluster>, Lack>> = OnceLock::new();
    let turns = Turn::wait_for_all();
    match CLUSTER.get_or_init(|| Cluster::start(&MODE, 3).map(Mutex::new)) {
        Ok(cluster) => {
            let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
            cluster.begin();
            Some(Held { cluster, _turns: turns })
        }
        Err(reason) => {
            let must = std::env::var_os("SEALED_SHUFFLE_YARN").is_some_and(|value| value == "required");
            assert!(!must, "{reason}");
            println!("skipped: {reason}");
            None
        }
    }
}
