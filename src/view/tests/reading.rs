//! What is read through the view, without a kernel: names, stretches, users, disks that do not answer.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{Bitmap, FinalizeShuffleMerge, PushBlockStream};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::merge::{MemoryStore, MergeSettings, Merger};
use crate::view::View;
use crate::view::files::{OpenFile, ViewError, Wanted};
use crate::view::names::Entry;

const APP: &str = "application_1_2";
const PATIENCE: Duration = Duration::from_millis(200);

struct Shown {
    view: Arc<View>,
    merger: Arc<Merger>,
    blocks: Arc<BlockStore>,
    runtime: Runtime,
    _temp: TempDir,
}

impl Shown {
    /// Attempt 1 has pushed blocks of these lengths to reduce partition 3 of shuffle 0; chunks are of 10,000 bytes.
    fn of(lens: &[usize]) -> (Self, Vec<u8>) {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("d/merge_manager_1")).unwrap();
        let blocks = Arc::new(BlockStore::new(Roots::open([&base]).unwrap(), DiskLimits::default()));
        let settings = MergeSettings { min_chunk: 10_000, ..MergeSettings::default() };
        let merger = Arc::new(Merger::new(settings, Arc::new(MemoryStore::new())));
        let local = base.join("d/blockmgr-1").to_str().unwrap().to_owned();
        let (on, app, executor) = (OnLane::here(), AppId::new(APP), ExecutorId::new("1"));
        let manager = r#"x:{"mergeDir":"merge_manager_1","attemptId":"1"}"#;
        blocks.register(&on, &app, &executor, &[&local], 64, manager, Proof::Proven).unwrap();
        merger.register(&on, &app, [local.as_str()], 64, manager, &blocks).unwrap();
        let mut all = Vec::new();
        for (map, len) in lens.iter().enumerate() {
            let map = i32::try_from(map).unwrap();
            let block: Vec<u8> =
                (0..*len).map(|at| u8::try_from((at + map as usize) % 251).unwrap()).collect();
            let push = PushBlockStream {
                app: AppId::new(APP),
                app_attempt: 1,
                shuffle: ShuffleId(0),
                merge: ShuffleMergeId(0),
                map_index: map,
                reduce: ReduceId(3),
                index: 0,
            };
            let mut push = merger.begin(&on, &push, 0).unwrap();
            push.data(&on, &[&block]).unwrap();
            push.complete(&on).unwrap();
            all.extend(block);
        }
        let view = Arc::new(View::new(Arc::clone(&merger), Arc::clone(&blocks), PATIENCE));
        (Self { view, merger, blocks, runtime: Runtime::new().unwrap(), _temp: temp }, all)
    }

    fn finalized(lens: &[usize]) -> (Self, Vec<u8>) {
        let (shown, all) = Self::of(lens);
        let (shuffle, merge) = (ShuffleId(0), ShuffleMergeId(0));
        let message = FinalizeShuffleMerge { app: AppId::new(APP), app_attempt: 1, shuffle, merge };
        shown.merger.finalize(&OnLane::here(), &message).unwrap();
        (shown, all)
    }

    fn look_up(&self, path: &str) -> Result<(Entry, Option<u64>), ViewError> {
        self.runtime.block_on(async {
            let (mut entry, mut len) = (Entry::Root, None);
            for name in path.split('/') {
                let (next, attributes) = self.view.look_up(&entry, name).await?;
                (entry, len) = (next, attributes.len);
            }
            Ok((entry, len))
        })
    }

    fn file(&self, kind: &str) -> Result<(Entry, Option<u64>), ViewError> {
        self.look_up(&format!("{APP}.1/0a/shuffleMerged_{APP}_0_0_3.{kind}"))
    }

    fn open(&self, entry: &Entry) -> Arc<OpenFile> {
        self.runtime.block_on(self.view.open(entry, 0)).unwrap()
    }

    fn read(&self, file: &Arc<OpenFile>, offset: u64, len: usize) -> Result<Vec<u8>, ViewError> {
        let (told, answer) = channel();
        let answered = move |read: Result<&[u8], ViewError>| told.send(read.map(<[u8]>::to_vec)).unwrap();
        if file.ask(Wanted { offset, len, answer: Box::new(answered) }) {
            self.runtime.block_on(self.view.work_off(file));
        }
        answer.recv().unwrap()
    }

    fn whole(&self, kind: &str) -> Vec<u8> {
        let (entry, len) = self.file(kind).unwrap();
        let bytes = self.read(&self.open(&entry), 0, 1 << 20).unwrap();
        assert_eq!(Some(bytes.len() as u64), len, "the kernel is told the length of the plain file");
        bytes
    }
}

#[test]
fn three_files_are_those_that_spark_would_have_written() {
    let (shown, all) = Shown::finalized(&[4000, 7000, 9000, 2000]);
    assert_eq!(shown.whole("data"), all);
    let index: Vec<u8> = [0, 11_000, 22_000].iter().flat_map(|at: &u64| at.to_be_bytes()).collect();
    assert_eq!(shown.whole("index"), index);
    let maps = Bitmap::decode_all(shown.whole("meta").into()).unwrap();
    assert_eq!(maps, [[0, 1].into_iter().collect(), [2, 3].into_iter().collect()]);
}

#[test]
fn stretches_are_read_in_any_order_and_across_chunks() {
    let (shown, all) = Shown::finalized(&[4000, 7000, 9000, 2000, 25_000, 1]);
    let file = shown.open(&shown.file("data").unwrap().0);
    let end = all.len();
    for (offset, len) in [
        (0, 100),
        (100, 20_000),
        (5, 7),
        (10_990, 20),
        (22_000, 1),
        (0, end),
        (end - 1, 10),
        (end, 5),
        (end + 9, 5),
    ] {
        let expected = &all[offset.min(end)..(offset + len).min(end)];
        assert!(shown.read(&file, offset as u64, len).unwrap() == expected, "{len} bytes at {offset}");
    }
    assert_eq!(shown.view.counters().opened, 1);
    assert!(shown.view.counters().read_bytes > all.len() as u64);
}

#[test]
fn only_finalized_partitions_of_the_current_attempt_are_there() {
    let (open, _) = Shown::of(&[4000]);
    assert_eq!(open.file("data"), Err(ViewError::Missing), "it is still merged");
    let (shown, _) = Shown::finalized(&[4000]);
    shown.file("data").unwrap();
    let stem = format!("shuffleMerged_{APP}_0_0_3");
    for path in [
        format!("{APP}.2/0a/{stem}.data"),
        format!("{APP}/0a/{stem}.data"),
        format!("other.1/0a/{stem}.data"),
        format!("{APP}.1/A/{stem}.data"),
        format!("{APP}.1/0a/{stem}.other"),
        format!("{APP}.1/0a/shuffleMerged_{APP}_0_0_03.data"),
        format!("{APP}.1/0a/shuffleMerged_{APP}_0_0_4.data"),
        format!("{APP}.1/0a/shuffleMerged_{APP}_0_1_3.data"),
        format!("{APP}.1/{stem}.data"),
        format!("{APP}.1/0a/.."),
    ] {
        assert_eq!(shown.look_up(&path).err(), Some(ViewError::Missing), "{path}");
    }
    let (entry, _) = shown.file("data").unwrap();
    shown.merger.forget(&AppId::new(APP));
    assert_eq!(shown.file("data"), Err(ViewError::Missing), "its application is over");
    let opened = shown.runtime.block_on(shown.view.open(&entry, 0));
    assert_eq!(opened.err(), Some(ViewError::Missing));
}

#[test]
fn owner_of_the_directories_and_root_open_files_and_nobody_else() {
    let (shown, _) = Shown::finalized(&[4000]);
    let (entry, _) = shown.file("data").unwrap();
    let owner = rustix::process::geteuid().as_raw();
    let open = |user| shown.runtime.block_on(shown.view.open(&entry, user)).err();
    assert_eq!(open(owner), None);
    assert_eq!(open(0), None);
    assert_eq!(open(owner + 4711), Some(ViewError::Denied));
    assert_eq!(shown.view.counters().denied, 1);
    let attributes = shown.runtime.block_on(shown.view.attributes(&entry)).unwrap();
    assert_eq!(attributes.owner, owner, "the kernel judges by it");
}

#[test]
fn disk_that_does_not_answer_is_an_error_for_all_who_wait() {
    let (shown, all) = Shown::finalized(&[4000, 9000, 9000]);
    let (entry, _) = shown.file("data").unwrap();
    let file = shown.open(&entry);
    assert_eq!(shown.read(&file, 0, 10).unwrap(), all[..10], "the control");
    shown.blocks.roots().disks()[0].lane().shut("a test says so");
    assert_eq!(shown.read(&file, 15_000, 10), Err(ViewError::Failed));
    assert_eq!(shown.read(&file, 0, 10), Err(ViewError::Failed), "what the disk's thread had is lost");
    let opened = shown.runtime.block_on(shown.view.open(&entry, 0));
    assert_eq!(opened.err(), Some(ViewError::Failed));
    shown.blocks.roots().disks()[0].lane().open();
    assert_eq!(shown.read(&shown.open(&entry), 15_000, 10).unwrap(), all[15_000..15_010]);
}
