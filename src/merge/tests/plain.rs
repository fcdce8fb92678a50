//! Merged partitions in Spark's own form: the same bytes, names and places as the files in memory, which the examples
//! hold to Spark's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::FinalizeShuffleMerge;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, CLASS, Fixture, answer, block, partition};
use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::merge::{MergeSettings, Merger, PlainMerges};

const SUB_DIRS: i32 = 64;

/// A merger of plain files beneath a directory that outlives it.
struct OnDisk {
    merger: Arc<Merger>,
    base: PathBuf,
}

impl OnDisk {
    /// Starts it, makes the merge directories as an executor does, and registers one.
    fn start(base: &Path) -> Self {
        let base = base.canonicalize().unwrap();
        for dir in ["d1", "d2"] {
            fs::create_dir_all(base.join(dir).join("blockmgr-a")).unwrap();
            for sub in 0..SUB_DIRS {
                fs::create_dir_all(base.join(dir).join(format!("merge_manager_1/{sub:02x}"))).unwrap();
            }
        }
        let blocks =
            BlockStore::new(Roots::open(std::slice::from_ref(&base)).unwrap(), DiskLimits::default());
        let settings = MergeSettings { min_chunk: 16, ..MergeSettings::default() };
        let merges = PlainMerges::new(Arc::clone(blocks.roots()), 16, true);
        let merger = Arc::new(Merger::new(settings, Arc::new(merges)));
        let dirs = ["d1", "d2"].map(|dir| base.join(dir).join("blockmgr-a").to_str().unwrap().to_owned());
        let (on, app) = (OnLane::here(), AppId::new(APP));
        let meta = format!(r#"{CLASS}:{{"mergeDir":"merge_manager_1","attemptId":"1"}}}}}}"#);
        blocks.register(&on, &app, &ExecutorId::new("1"), &dirs, SUB_DIRS, &meta, Proof::Proven).unwrap();
        let dirs = dirs.iter().map(String::as_str);
        merger.register(&on, &app, dirs, SUB_DIRS, &meta, &blocks).map(drop).unwrap();
        Self { merger, base }
    }

    fn push(&self, map: i32, reduce: i32, data: &[u8]) -> String {
        let on = OnLane::here();
        let mut push = self.merger.begin(&on, &block(0, 0, map, reduce), data.len() as u64).unwrap();
        push.data(&on, &[data]).unwrap();
        answer(push.complete(&on))
    }

    fn finalize(&self) -> usize {
        let message = FinalizeShuffleMerge {
            app: AppId::new(APP),
            app_attempt: 1,
            shuffle: ShuffleId(0),
            merge: ShuffleMergeId(0),
        };
        self.merger.finalize(&OnLane::here(), &message).unwrap().reduces.len()
    }

    /// All merged files, by their paths below the base.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for dir in ["d1", "d2"] {
            for sub in fs::read_dir(self.base.join(dir).join("merge_manager_1")).unwrap() {
                for file in fs::read_dir(sub.unwrap().path()).unwrap() {
                    let path = file.unwrap().path();
                    let below = path.strip_prefix(&self.base).unwrap().to_str().unwrap().to_owned();
                    found.insert(below, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    fn file(&self, name: &str) -> PathBuf {
        let files = self.files();
        self.base.join(files.keys().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("no {name}")))
    }

    /// How many chunks a partition has, or why it has none.
    fn chunks(&self, reduce: i32) -> Result<i32, String> {
        let meta = self.merger.meta(&OnLane::here(), &partition(0, 0, reduce));
        meta.map(|meta| meta.chunks).map_err(|error| error.to_string())
    }
}

/// Blocks of some partitions; the last one of the first is in no full chunk.
const PUSHES: [(i32, i32, &[u8]); 5] = [
    (0, 0, b"sixteen bytes or"),
    (1, 0, b"a few"),
    (2, 0, b"more than that, or so"),
    (0, 1, b"one"),
    (3, 1, b"x"),
];

#[test]
fn files_are_those_of_spark_to_the_byte() {
    let temp = tempfile::tempdir().unwrap();
    let (disk, memory) = (OnDisk::start(temp.path()), Fixture::new());
    for (map, reduce, data) in PUSHES {
        assert_eq!(disk.push(map, reduce, data), "ok");
        assert_eq!(memory.push(block(0, 0, map, reduce), data), "ok");
    }
    assert!(!disk.files().keys().any(|path| path.ends_with(".index")), "not finalized, so not to be read");
    assert_eq!(disk.finalize(), memory.finalize(0, 0).unwrap().reduces.len());
    let files = disk.files();
    assert_eq!(files.len(), 6, "{:?}", files.keys());
    for (path, content) in &files {
        assert_eq!(*content, memory.file(path), "{path}");
        let mode = fs::metadata(disk.base.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o644, "executors of other users read {path}");
    }
    assert_eq!(
        disk.chunks(0).unwrap(),
        memory.merger.meta(&OnLane::here(), &partition(0, 0, 0)).unwrap().chunks
    );
}

#[test]
fn finalized_partition_is_read_after_a_restart_and_never_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let before = OnDisk::start(temp.path());
    for (map, reduce, data) in PUSHES {
        before.push(map, reduce, data);
    }
    before.finalize();
    let (files, chunks) = (before.files(), before.chunks(0));
    drop(before);
    // Nothing is remembered but what the disk has.
    let after = OnDisk::start(temp.path());
    let late = after.push(9, 0, b"this comes too late");
    assert!(late.starts_with("0 ") || late.starts_with("1 "), "{late}");
    assert_eq!(after.files(), files);
    assert_eq!(after.chunks(0), chunks);
}

#[test]
fn partition_that_was_open_at_a_restart_begins_anew() {
    let temp = tempfile::tempdir().unwrap();
    let before = OnDisk::start(temp.path());
    before.push(0, 0, b"of before the restart, sixteen and more");
    drop(before);
    let after = OnDisk::start(temp.path());
    assert_eq!(after.push(1, 0, b"after"), "ok");
    after.finalize();
    assert_eq!(fs::read(after.file("_0.data")).unwrap(), b"after");
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let disk = OnDisk::start(temp.path());
    for (map, reduce, data) in PUSHES {
        disk.push(map, reduce, data);
    }
    disk.finalize();
    let data = fs::OpenOptions::new().write(true).open(disk.file("_0_0_0.data")).unwrap();
    data.set_len(7).unwrap();
    fs::write(disk.file("_0_0_1.index"), [0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    drop(disk);
    let disk = OnDisk::start(temp.path());
    for reduce in [0, 1] {
        disk.chunks(reduce).unwrap_err();
    }
}
