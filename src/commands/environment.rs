//! The environment of the process, which can be read again, and knows when that is worthwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealed_shuffle_config::{Environment, FileVersion, ProcessEnvironment};
use zeroize::Zeroizing;

/// How often files are looked at that the kubelet changes.
const IN_KUBERNETES: Duration = Duration::from_secs(30);

/// The files that were read, each as it was just before that.
type Versions = BTreeMap<PathBuf, Option<FileVersion>>;

/// Standard input is read once and kept, so a secret that came from it stays valid.
#[derive(Debug, Default)]
pub(crate) struct RepeatableEnvironment {
    stdin: Mutex<Option<Zeroizing<Vec<u8>>>>,
    read: Mutex<Versions>,
}

impl RepeatableEnvironment {
    /// Everything is read again from here on.
    pub(super) fn begin_again(&self) {
        self.files().clear();
    }

    /// The files that were read, as they are now, where one is another than it was.
    pub(super) fn changed(&self) -> Option<Versions> {
        let read = self.files().clone();
        let now: Versions = read.keys().map(|path| (path.clone(), FileVersion::of(path))).collect();
        (now != read).then_some(now)
    }

    /// How often the files are looked at: as configured, or as often as is right for where they lie; `None` for never.
    pub(super) fn interval(&self, configured: Option<Duration>) -> Option<Duration> {
        let mounted = || self.files().keys().any(|path| ProcessEnvironment.is_in_mounted_secret(path));
        configured.or_else(|| mounted().then_some(IN_KUBERNETES)).filter(|interval| !interval.is_zero())
    }

    fn files(&self) -> MutexGuard<'_, Versions> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment for RepeatableEnvironment {
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.files().insert(path.to_owned(), FileVersion::of(path));
        ProcessEnvironment.read(path)
    }

    fn read_stdin(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read_before) = &*stdin {
            return Ok(read_before.clone());
        }
        let read = ProcessEnvironment.read_stdin()?;
        *stdin = Some(read.clone());
        Ok(read)
    }
}
