//! What a restart must not forget: directories of applications that have ended, until they are cleared, and since when a
//! server watches over these disks.
//!
//! It is a file of its own beside the recovery store, and holds paths alone: they stand on the disks for everybody who can
//! read this file. What it names is judged anew after a restart, and is cleared only if it could be anyway, so whoever
//! changes it gains nothing. A crash loses what came in the last second; the look for orphans finds that.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_transport::lane::{Lane, OnLane};
use serde_json::{Value, json};
use tracing::warn;

use super::figures::lock;
use crate::disk::{Disk, Executors, LeftBy, Roots};
use crate::private_file;

/// The name of the file in the state directory.
pub(crate) const NAME: &str = "remains.json";

/// Of the form of the file.
const VERSION: u64 = 1;

/// The longest file that is read.
const LONGEST: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    lane: Lane,
    kept: Mutex<Contents>,
}

/// A directory that an earlier server had not cleared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LeftDirectory {
    pub(super) path: String,
    /// For how long nothing must have been written there.
    pub(super) quiet: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// By the disk that they lie on; what was not taken up yet.
    left: Vec<Vec<LeftDirectory>>,
    /// Seconds since 1970.
    since: Option<u64>,
    /// Of what was written last.
    version: Option<u64>,
    /// Whether the last write failed.
    failed: bool,
}

impl Journal {
    pub(super) fn new(path: PathBuf, lane: Lane) -> Self {
        Self { path, lane, kept: Mutex::default() }
    }

    /// For how long a server watches here; `None` before [`Journal::load`].
    pub(super) fn watched(&self) -> Option<Duration> {
        let since = lock(&self.kept).since?;
        Some(Duration::from_secs(now().saturating_sub(since)))
    }

    /// Reads the directories that were not cleared yet. A file that cannot be read names none.
    pub(super) async fn load(&self, roots: &Roots) {
        let path = self.path.clone();
        let read = self.lane.run(move |on| private_file::read(on, &path, LONGEST)).await;
        let known = match read {
            Ok(Ok(Some(bytes))) => match parse(&bytes) {
                Some(known) => Some(known),
                None => {
                    let path = self.path.display();
                    warn!(%path, "the list of directories that are to be cleared is of another form: it begins anew");
                    None
                }
            },
            Ok(Ok(None)) => None,
            Ok(Err(error)) => {
                let path = self.path.display();
                warn!(%path, %error, "the list of directories that are to be cleared cannot be read: it begins anew");
                None
            }
            Err(_) => None,
        };
        let (since, dirs) = known.unwrap_or_else(|| (now(), Vec::new()));
        // What lies on no disk of today stays in the list: a disk may be missing for a while.
        let nowhere = roots.disks().len();
        let mut left = vec![Vec::new(); nowhere + 1];
        for dir in dirs {
            // Paths are canonical, as those of the disks are.
            let lies_there = |disk: &Arc<Disk>| Path::new(&dir.path).starts_with(disk.path());
            let disk = roots.disks().iter().position(lies_there);
            left[disk.unwrap_or(nowhere)].push(dir);
        }
        let mut kept = lock(&self.kept);
        (kept.since, kept.left) = (Some(since.min(now())), left);
    }

    /// What was left on a disk.
    pub(super) fn left(&self, disk: usize) -> Vec<LeftDirectory> {
        lock(&self.kept).left.get(disk).cloned().unwrap_or_default()
    }

    /// That has been taken up.
    pub(super) fn taken_up(&self, disk: usize) {
        if let Some(left) = lock(&self.kept).left.get_mut(disk) {
            left.clear();
        }
    }

    pub(super) async fn save_if_changed(&self, executors: &Executors) {
        let version = executors.leaving_count().0;
        let is_kept = { lock(&self.kept).version == Some(version) };
        if !is_kept {
            self.save(executors).await;
        }
    }

    /// Writes it as it is now.
    pub(super) async fn save(&self, executors: &Executors) {
        let (version, leaving) = executors.all_leaving();
        // Orphans are found again.
        let of_applications = leaving.iter().filter(|leaver| leaver.left_by == LeftBy::Application);
        let left = of_applications
            .map(|leaver| LeftDirectory { path: leaver.dir.shown().to_owned(), quiet: leaver.quiet });
        let (since, not_taken_up) = {
            let kept = lock(&self.kept);
            // Before it was read, nothing is written over it.
            let Some(since) = kept.since else { return };
            (since, kept.left.concat())
        };
        let directory = |left: LeftDirectory| json!({"path": left.path, "quiet_seconds": left.quiet.map(|quiet| quiet.as_secs())});
        let directories: Vec<Value> = left.chain(not_taken_up).map(directory).collect();
        let text = json!({"version": VERSION, "since": since, "directories": directories}).to_string();
        let path = self.path.clone();
        let written = self.lane.run(move |on| write(on, &path, &text)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let mut kept = lock(&self.kept);
        if let Some(error) = &error
            && !kept.failed
        {
            let path = self.path.display();
            warn!(%path, error, "the list of directories that are to be cleared cannot be written: a restart may forget some");
        }
        kept.failed = error.is_some();
        if error.is_none() {
            kept.version = Some(version);
        }
    }
}

fn write(on: &OnLane, path: &Path, text: &str) -> std::io::Result<()> {
    private_file::make_directory(on, private_file::directory_of(path))?;
    let file = private_file::beside(on, path, |mut file| file.write_all(text.as_bytes()))?;
    private_file::replace(on, file, path)
}

type Record = (u64, Vec<LeftDirectory>);

fn parse(bytes: &[u8]) -> Option<Record> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value["version"].as_u64() != Some(VERSION) {
        return None;
    }
    let directory = |value: &Value| {
        let quiet = value["quiet_seconds"].as_u64().map(Duration::from_secs);
        Some(LeftDirectory { path: value["path"].as_str()?.to_owned(), quiet })
    };
    let directories = value["directories"].as_array()?.iter().filter_map(directory).collect();
    Some((value["since"].as_u64()?, directories))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::ids::{AppId, ExecutorId};

    use super::*;
    use crate::disk::{BlockStore, DiskLimits, Proof, RegistryLimits};

    #[test]
    fn what_is_to_be_cleared_outlasts_the_process() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("root");
        std::fs::create_dir(&root).unwrap();
        let registry = RegistryLimits { clears: Some(Proof::Unproven), ..RegistryLimits::default() };
        let roots = Roots::open([&root]).unwrap();
        let store = BlockStore::new(roots, DiskLimits { registry, ..DiskLimits::default() });
        let (app, executor) = (AppId::new("app-1"), ExecutorId::new("1"));
        let dir = root.join("blockmgr-7b3a0c56-3f1c-4a42-9d6e-0123456789ab");
        let dirs = [dir.to_str().unwrap()];
        store.register(&OnLane::here(), &app, &executor, &dirs, 64, "sort", Proof::Unproven).unwrap();
        store.forget(&app).unwrap();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let journal = || Journal::new(temp.path().join("state").join(NAME), Lane::new(1));
        runtime.block_on(async {
            let first = journal();
            first.save(store.executors()).await;
            assert!(first.watched().is_none(), "what was not read is not written over");
            first.load(store.roots()).await;
            assert_eq!((first.left(0), first.watched()), (vec![], Some(Duration::ZERO)));
            first.save_if_changed(store.executors()).await;
            let next = journal();
            next.load(store.roots()).await;
            assert_eq!(next.left(0), [LeftDirectory { path: dirs[0].to_owned(), quiet: None }]);
            store.executors().cleared(&store.executors().leaving(0, None, 1)[0].dir);
            next.save(store.executors()).await;
            let third = journal();
            third.load(store.roots()).await;
            assert_eq!(third.left(0).len(), 1, "it was not taken up yet");
            third.taken_up(0);
            third.save(store.executors()).await;
            third.load(store.roots()).await;
            assert_eq!(third.left(0), []);
        });
    }

    #[test]
    fn a_list_of_another_form_names_nothing() {
        let good = br#"{"version":1,"since":7,"directories":[{"path":"/a","quiet_seconds":null},{"path":"/b","quiet_seconds":9},{}]}"#;
        let left = |path: &str, quiet| LeftDirectory { path: path.to_owned(), quiet };
        let dirs = vec![left("/a", None), left("/b", Some(Duration::from_secs(9)))];
        assert_eq!(parse(good), Some((7, dirs)));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"since":7,"directories":[]}"#,
            r#"{"version":1,"directories":[]}"#,
            r#"{"version":1,"since":7}"#,
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
