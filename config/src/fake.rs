//! Surroundings that a test makes up, and how it asks a configuration. The tests of this package and of the client's
//! settings use them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::{Environment, PathStat};
use super::error::ConfigError;
use super::load::Sources;
use super::notice::Notice;

/// Surroundings without variables and files, of a process that may open 65,536 files.
#[derive(Clone, Debug)]
pub struct FakeEnvironment {
    vars: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    dirs: Vec<PathBuf>,
    /// Files of other users than ours.
    owners: BTreeMap<PathBuf, u32>,
    /// Directories at which something is mounted, with their modes.
    mounts: BTreeMap<PathBuf, u32>,
    /// Directories at which a Secret is mounted.
    secret_mounts: Vec<PathBuf>,
    stdin: Vec<u8>,
    /// Whether there is IPv6.
    pub ipv6: bool,
    /// What `ulimit -n` would say.
    pub descriptor_limit: Option<u64>,
}

impl Default for FakeEnvironment {
    fn default() -> Self {
        Self {
            vars: BTreeMap::new(),
            files: BTreeMap::new(),
            dirs: Vec::new(),
            owners: BTreeMap::new(),
            mounts: BTreeMap::new(),
            secret_mounts: Vec::new(),
            stdin: Vec::new(),
            ipv6: true,
            descriptor_limit: Some(65536),
        }
    }
}

impl FakeEnvironment {
    /// A variable is set.
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// A file, which only its owner may read.
    pub fn with_file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), (bytes.as_ref().to_vec(), 0o600));
        self
    }

    /// The mode of a file that was added.
    pub fn with_mode(mut self, path: &str, mode: u32) -> Self {
        self.files.get_mut(Path::new(path)).expect("the test added the file").1 = mode;
        self
    }

    /// A directory.
    pub fn with_dir(mut self, path: &str) -> Self {
        self.dirs.push(path.into());
        self
    }

    /// The owner of a file that was added.
    pub fn with_owner(mut self, path: &str, user: u32) -> Self {
        self.owners.insert(path.into(), user);
        self
    }

    /// A directory at which something is mounted.
    pub fn with_mount(mut self, path: &str, mode: u32) -> Self {
        self.mounts.insert(path.into(), mode);
        self
    }

    /// A directory at which Kubernetes has mounted a Secret.
    pub fn with_secret_mount(mut self, path: &str) -> Self {
        self.secret_mounts.push(path.into());
        self
    }

    /// What standard input gives.
    pub fn with_stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }
}

impl Environment for FakeEnvironment {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let (bytes, _) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Zeroizing::new(bytes.clone()))
    }

    fn read_stdin(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(self.stdin.clone()))
    }

    fn stat(&self, path: &Path) -> io::Result<PathStat> {
        if let Some(mode) = self.mounts.get(path) {
            return Ok(PathStat { is_dir: true, mode: *mode });
        }
        if self.dirs.iter().any(|dir| dir == path) {
            return Ok(PathStat { is_dir: true, mode: 0o755 });
        }
        let (_, mode) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(PathStat { is_dir: false, mode: *mode })
    }

    fn is_mount(&self, path: &Path) -> bool {
        self.mounts.contains_key(path)
    }

    fn is_in_mounted_secret(&self, path: &Path) -> bool {
        self.secret_mounts.iter().any(|dir| path.parent() == Some(dir))
    }

    fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    fn user_id(&self) -> u32 {
        1000
    }

    fn owner(&self, path: &Path) -> io::Result<u32> {
        Ok(self.owners.get(path).copied().unwrap_or_else(|| self.user_id()))
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.descriptor_limit
    }

    fn processors(&self) -> usize {
        4
    }
}

/// Surroundings with one root and nothing else.
pub fn bare() -> FakeEnvironment {
    FakeEnvironment::default().with_var("SPARK_LOCAL_DIRS", "/data").with_dir("/data")
}

/// Sources of these settings alone, each `KEY=VALUE`.
pub fn conf(settings: &[&str]) -> Sources {
    Sources { conf: settings.iter().map(|text| (*text).to_owned()).collect(), ..Sources::default() }
}

/// The texts of all warnings, in their order.
pub fn warnings(notices: &[Notice]) -> Vec<&str> {
    notices.iter().filter(|notice| matches!(notice, Notice::Warning(_))).map(Notice::text).collect()
}

/// Asserts one refusal, of that subject, with those words in its line.
///
/// # Panics
///
/// If nothing is refused, something else is, or something else beside it.
#[track_caller]
pub fn assert_refused<T: Debug>(result: Result<T, ConfigError>, subject: &str, words: &[&str]) {
    let error = result.expect_err(subject);
    let [issue] = &error.issues[..] else { panic!("one issue expected: {error}") };
    assert_eq!(issue.subject, subject, "{issue}");
    let line = issue.to_string();
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(!issue.remedy.is_empty(), "{issue} names no remedy");
}
