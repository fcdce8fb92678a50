//! An application with two local directories, as in the examples: chunks of 16 bytes, 64 sub-directories.

use std::path::PathBuf;
use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{
    BlockPushReturnCode, FinalizeShuffleMerge, MergeStatuses, PushBlockStream, RemoveShuffleMerge, ReturnCode,
};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::Pull;
use tempfile::TempDir;

use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::merge::{
    MemoryStore, MergeError, MergeSettings, MergedMeta, Merger, PartitionId, Push, PushRefusal,
};

pub(super) const APP: &str = "application_1700000000000_0001";
pub(super) const CLASS: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

pub(super) struct Fixture {
    pub(super) merger: Arc<Merger>,
    pub(super) store: MemoryStore,
    pub(super) blocks: BlockStore,
    /// Stands for `/b` in the examples.
    pub(super) base: PathBuf,
    _temp: TempDir,
}

impl Fixture {
    /// The application is not registered yet.
    pub(super) fn unregistered(change: impl FnOnce(&mut MergeSettings)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap().join("b");
        std::fs::create_dir(&base).unwrap();
        Self::beneath(temp, base.clone(), &[base], change)
    }

    /// Its two directories lie on a disk each. Nothing is registered yet.
    pub(super) fn on_two_disks() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap().join("b");
        let roots = ["d1", "d2"].map(|disk| base.join(disk));
        roots.iter().for_each(|root| std::fs::create_dir_all(root).unwrap());
        Self::beneath(temp, base, &roots, |_| {})
    }

    fn beneath(
        temp: TempDir,
        base: PathBuf,
        roots: &[PathBuf],
        change: impl FnOnce(&mut MergeSettings),
    ) -> Self {
        let blocks = BlockStore::new(Roots::open(roots).unwrap(), DiskLimits::default());
        let mut settings = MergeSettings { min_chunk: 16, ..MergeSettings::default() };
        change(&mut settings);
        let store = MemoryStore::new();
        let merger = Arc::new(Merger::new(settings, Arc::new(store.clone())));
        Self { merger, store, blocks, base, _temp: temp }
    }

    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut MergeSettings)) -> Self {
        let fixture = Self::unregistered(change);
        fixture.register_attempt(1).unwrap();
        fixture
    }

    pub(super) fn register_attempt(&self, attempt: i32) -> Result<(), String> {
        let meta = format!(r#"{CLASS}:{{"mergeDir":"merge_manager_{attempt}","attemptId":"{attempt}"}}}}}}"#);
        self.register(APP, &meta)
    }

    pub(super) fn register(&self, app: &str, shuffle_manager: &str) -> Result<(), String> {
        let dirs = [self.path("d1/blockmgr-a"), self.path("d2/blockmgr-a")];
        self.register_in(app, &dirs, shuffle_manager, Proof::Proven)
    }

    /// Registers an executor with these directories, for its blocks and for merging.
    pub(super) fn register_in(
        &self,
        app: &str,
        dirs: &[String],
        shuffle_manager: &str,
        proof: Proof,
    ) -> Result<(), String> {
        let (on, app, executor) = (OnLane::here(), AppId::new(app), ExecutorId::new("1"));
        let registered = self.blocks.register(&on, &app, &executor, dirs, 64, shuffle_manager, proof);
        registered.map_err(|error| error.spark_text())?;
        let dirs = dirs.iter().map(String::as_str);
        let merging = self.merger.register(&on, &app, dirs, 64, shuffle_manager, &self.blocks);
        merging.map(drop).map_err(|error| error.spark_text())
    }

    pub(super) fn path(&self, below: &str) -> String {
        self.base.join(below).to_str().unwrap().to_owned()
    }

    /// A file of the examples: its path below `/b` is written by hand.
    pub(super) fn file(&self, below: &str) -> Vec<u8> {
        let path = self.path(below);
        self.store.file(&path).unwrap_or_else(|| panic!("{path} is not among {:#?}", self.store.paths()))
    }

    pub(super) fn begin(&self, push: PushBlockStream) -> Result<Push, PushRefusal> {
        self.merger.begin(&OnLane::here(), &push, 0)
    }

    /// Begins a push.
    pub(super) fn started(&self, push: PushBlockStream) -> Push {
        self.begin(push).unwrap()
    }

    /// Makes a whole push in one piece; no piece if it is empty.
    pub(super) fn push(&self, push: PushBlockStream, data: &[u8]) -> String {
        let mut push = match self.begin(push) {
            Ok(push) => push,
            Err(refused) => return format!("closed: {}", refusal(refused)),
        };
        if !data.is_empty()
            && let Err(error) = push.data(&OnLane::here(), &[data])
        {
            return format!("closed: {}", error.spark_text());
        }
        answer(push.complete(&OnLane::here()))
    }

    pub(super) fn finalize(&self, shuffle: i32, merge: i32) -> Result<MergeStatuses, String> {
        let message = FinalizeShuffleMerge {
            app: AppId::new(APP),
            app_attempt: 1,
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
        };
        self.merger.finalize(&OnLane::here(), &message).map_err(|error| error.spark_text())
    }

    pub(super) fn remove(&self, shuffle: i32, merge: i32) -> Result<(), String> {
        let message = RemoveShuffleMerge {
            app: AppId::new(APP),
            app_attempt: 1,
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
        };
        self.merger.remove(&message).map_err(|error| error.spark_text())
    }

    pub(super) fn meta(&self, shuffle: i32, merge: i32, reduce: i32) -> Result<MergedMeta, String> {
        self.merger
            .meta(&OnLane::here(), &partition(shuffle, merge, reduce))
            .map_err(|error| error.spark_text())
    }

    pub(super) fn chunk(&self, shuffle: i32, merge: i32, reduce: i32, chunk: i32) -> Result<Vec<u8>, String> {
        let found = self.merger.chunk(&OnLane::here(), &partition(shuffle, merge, reduce), chunk);
        found.map(|mut chunk| read_all(&mut *chunk)).map_err(|error| error.spark_text())
    }
}

pub(super) fn read_all(chunk: &mut dyn Pull) -> Vec<u8> {
    let len = usize::try_from(chunk.remaining()).unwrap();
    let mut bytes = Vec::new();
    while chunk.remaining() > 0 {
        if !chunk.fill_now().unwrap() {
            chunk.fill_blocking(&OnLane::here()).unwrap();
        }
        let n = chunk.plain().len().min(7);
        bytes.extend_from_slice(&chunk.plain()[..n]);
        chunk.consume(n);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

pub(super) fn partition(shuffle: i32, merge: i32, reduce: i32) -> PartitionId {
    PartitionId {
        app: AppId::new(APP),
        merged: MergedPartition {
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
            reduce: ReduceId(reduce),
        },
    }
}

/// A push of attempt 1.
pub(super) fn block(shuffle: i32, merge: i32, map: i32, reduce: i32) -> PushBlockStream {
    PushBlockStream {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        map_index: map,
        reduce: ReduceId(reduce),
        index: 0,
    }
}

/// `ok`, or the code and the block.
pub(super) fn answer(answer: Result<BlockPushReturnCode, MergeError>) -> String {
    match answer {
        Ok(code) => code_text(&code),
        Err(error) => error.spark_text(),
    }
}

pub(super) fn refusal(refused: PushRefusal) -> String {
    match refused {
        PushRefusal::Code(code) => code_text(&code),
        PushRefusal::Failed(error) => error.spark_text(),
    }
}

fn code_text(code: &BlockPushReturnCode) -> String {
    match code.code {
        ReturnCode::Success => {
            assert_eq!(code.failure_block, "");
            "ok".to_owned()
        }
        other => format!("{} {}", other as u8, code.failure_block),
    }
}
