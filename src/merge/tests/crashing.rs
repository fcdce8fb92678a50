//! A process may be killed between any two things that it does to files, and come back with the records that it had, with
//! older ones, with none, or without a store at all. Whatever the driver was told of a partition is served then, or an
//! error; never less.
//!
//! Random sequences run against sealed files on disks. The model knows one thing alone: what the driver was told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use rustix::io::Errno;
use sealed_shuffle_config::OutagePolicy;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{Bitmap, FinalizeShuffleMerge, PushBlockStream, ReturnCode};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::disk::own::{Deed, Watch};
use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::keys::envelope::{EnvelopeKeys, KeyCalls, LocalKeyFile, RingSettings};
use crate::merge::{
    Journal, MergeDirs, MergeError, MergeSettings, Merger, PartitionId, SealedMerges, StoredAttempt,
};
use crate::receipt::WriteReceipt;
use crate::sealed_files::{Fsync, SealedLimits, SealedStore};

const APP: &str = "application_1_2";
const SUB_DIRS: i32 = 2;

/// Dies before it does what comes after so many deeds.
#[derive(Debug, Default)]
struct Fate {
    dies: AtomicBool,
    left: AtomicU32,
    dead: AtomicBool,
}

impl Fate {
    fn dies_after(&self, deeds: u32) {
        self.left.store(deeds, Ordering::SeqCst);
        self.dies.store(true, Ordering::SeqCst);
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

impl Watch for Fate {
    fn before(&self, _: Deed<'_>, _: (usize, String)) -> Result<(), Errno> {
        if !self.dies.load(Ordering::SeqCst) {
            return Ok(());
        }
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.dead.store(true, Ordering::SeqCst);
            return Err(Errno::IO);
        }
        Ok(())
    }
}

type Records = BTreeMap<i32, StoredAttempt>;

/// The records, all states that they ever had, and what could not be written.
#[derive(Debug, Default)]
struct Book {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    now: Records,
    history: Vec<Records>,
    waiting: Vec<Entry>,
    is_full: bool,
    is_off: bool,
}

#[derive(Clone, Debug)]
enum Entry {
    Registered(StoredAttempt),
    Over(i32),
    Finalized(i32, ShuffleId, ShuffleMergeId),
    Superseded(i32, ShuffleId, ShuffleMergeId),
}

impl Kept {
    fn write(&mut self, entry: Entry) -> bool {
        if self.is_off {
            return true;
        }
        if self.is_full {
            self.waiting.push(entry);
            return false;
        }
        match entry {
            Entry::Registered(known) => _ = self.now.insert(known.attempt, known),
            Entry::Over(attempt) => _ = self.now.remove(&attempt),
            Entry::Finalized(attempt, shuffle, merge) => {
                if let Some(known) = self.now.get_mut(&attempt) {
                    known.finalized.retain(|(other, _)| *other != shuffle);
                    known.finalized.push((shuffle, merge));
                }
            }
            Entry::Superseded(attempt, shuffle, merge) => {
                if let Some(known) = self.now.get_mut(&attempt) {
                    known.finalized.retain(|kept| *kept != (shuffle, merge));
                }
            }
        }
        self.history.push(self.now.clone());
        true
    }
}

impl Book {
    fn write(&self, entry: Entry) -> bool {
        self.kept.lock().unwrap().write(entry)
    }
}

impl Journal for Book {
    fn registered(&self, app: &AppId, attempt: i32, dirs: &MergeDirs, key: Option<&WrappedKey>) {
        self.write(Entry::Registered(StoredAttempt {
            app: app.clone(),
            attempt,
            dirs: dirs.texts().map(str::to_owned).collect(),
            sub_dirs: dirs.sub_dirs(),
            key: key.cloned(),
            finalized: Vec::new(),
        }));
    }

    fn over(&self, _: &AppId, attempt: i32) {
        self.write(Entry::Over(attempt));
    }

    fn finalized(&self, _: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId) -> WriteReceipt {
        WriteReceipt::at_once(self.write(Entry::Finalized(attempt, shuffle, merge)))
    }

    fn superseded(&self, _: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId) {
        self.write(Entry::Superseded(attempt, shuffle, merge));
    }
}

/// What the next process finds in the place of the store.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// What the last one wrote.
    Same,
    /// A copy from so many changes ago.
    Older(u8),
    /// Nothing: the file was moved away.
    Nothing,
    /// It is switched off, or the application is in no record.
    Off,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Push { shuffle: i32, merge: i32, reduce: i32, map: i32 },
    Finalize { shuffle: i32, merge: i32 },
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Act(Act),
    /// The process is killed after so many deeds of an act.
    Killed(Act, u32, Found),
    Restart(Found),
    /// An executor registers, of this attempt or the next one.
    Register {
        next: bool,
    },
    /// The state disk is full, or has room again.
    Full(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let merge = || prop_oneof![5 => Just(0), 1 => Just(1)];
    let push = (0..2, merge(), 0..3, 0..5).prop_map(|(shuffle, merge, reduce, map)| Act::Push {
        shuffle,
        merge,
        reduce,
        map,
    });
    let finalize = (0..2, merge()).prop_map(|(shuffle, merge)| Act::Finalize { shuffle, merge });
    let act = prop_oneof![5 => push, 1 => finalize.clone()];
    let found = || {
        prop_oneof![
            2 => Just(Found::Same), 2 => (0_u8..6).prop_map(Found::Older), 1 => Just(Found::Nothing), 2 => Just(Found::Off)
        ]
    };
    prop_oneof![
        16 => act.clone().prop_map(Step::Act),
        2 => (act, 0_u32..20, found()).prop_map(|(act, deeds, found)| Step::Killed(act, deeds, found)),
        2 => (finalize, 0_u32..30, found()).prop_map(|(act, deeds, found)| Step::Killed(act, deeds, found)),
        2 => found().prop_map(Step::Restart),
        3 => prop_oneof![6 => Just(false), 1 => Just(true)].prop_map(|next| Step::Register { next }),
        1 => any::<bool>().prop_map(Step::Full),
    ]
}

struct Node {
    temp: TempDir,
    keys: TempDir,
    runtime: Runtime,
    /// Attempts merge into one directory, or each into its own.
    is_shared: bool,
    fsync: Fsync,
    attempt: i32,
    book: Arc<Book>,
    fate: Arc<Fate>,
    blocks: BlockStore,
    merger: Arc<Merger>,
    /// What the driver was told: maps and bytes of partitions.
    told: BTreeMap<(i32, i32, i32), (BTreeSet<u32>, u64)>,
    tally: Tally,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    served: u32,
    refused: u32,
    late: u32,
}

fn content(attempt: i32, act: (i32, i32, i32), map: u32) -> Vec<u8> {
    let name = format!("<{attempt}.{}.{}.{}.{map}>", act.0, act.1, act.2);
    name.bytes().cycle().take(name.len() * 4).collect()
}

impl Node {
    fn new(is_shared: bool, fsync: Fsync) -> Self {
        let (temp, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        ["1", "2"].iter().for_each(|disk| fs::create_dir(temp.path().join(disk)).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (book, fate) = (Arc::new(Book::default()), Arc::new(Fate::default()));
        let blocks = Self::blocks(&temp);
        let merger = Self::merger(&blocks, &keys, &runtime, fsync, &book, &fate);
        let (told, tally) = (BTreeMap::new(), Tally::default());
        let mut node = Self {
            temp,
            keys,
            runtime,
            is_shared,
            fsync,
            attempt: 1,
            book,
            fate,
            blocks,
            merger,
            told,
            tally,
        };
        node.register();
        node
    }

    fn blocks(temp: &TempDir) -> BlockStore {
        let roots = ["1", "2"].map(|disk| temp.path().join(disk));
        BlockStore::new(Roots::open(roots).unwrap(), DiskLimits::default())
    }

    fn merger(
        blocks: &BlockStore,
        keys: &TempDir,
        runtime: &Runtime,
        fsync: Fsync,
        book: &Arc<Book>,
        fate: &Arc<Fate>,
    ) -> Arc<Merger> {
        let roots = Arc::clone(blocks.roots());
        // Few descriptors, so that files are opened again.
        let limits = SealedLimits { write_handles: 2, ..SealedLimits::default() };
        let files = SealedStore::new(Arc::clone(&roots), limits).watched_by(Arc::clone(fate) as _);
        let provider = LocalKeyFile::for_test(&keys.path().join("keys"));
        let ring = RingSettings::new(OutagePolicy::Refuse, Duration::from_secs(10));
        let ring = EnvelopeKeys::new(Arc::new(provider), ring, KeyCalls::default());
        let store = SealedMerges::new(Arc::new(files), roots, ring, runtime.handle().clone(), fsync);
        let settings = MergeSettings { min_chunk: 100, ..MergeSettings::default() };
        Arc::new(Merger::new(settings, Arc::new(store)).with_journal(Arc::clone(book) as _))
    }

    fn manager(&self) -> String {
        let (dir, attempt) = (self.dir_name(), self.attempt);
        format!(r#"x:{{"mergeDir":"{dir}","attemptId":"{attempt}"}}"#)
    }

    fn dir_name(&self) -> String {
        if self.is_shared { "merge".to_owned() } else { format!("merge_{}", self.attempt) }
    }

    fn base(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap()
    }

    /// How many files lie in the merge directories of this name.
    fn files(&self, name: &str) -> usize {
        let disks = ["1", "2"].into_iter().flat_map(|disk| (0..SUB_DIRS).map(move |sub| (disk, sub)));
        let dirs = disks.map(|(disk, sub)| self.base().join(format!("{disk}/app/{name}/{sub:02x}")));
        dirs.map(|dir| fs::read_dir(dir).unwrap().count()).sum()
    }

    fn local_dirs(&self) -> Vec<String> {
        ["1", "2"].map(|disk| self.base().join(disk).join("app/blockmgr").to_str().unwrap().to_owned()).into()
    }

    fn register(&mut self) {
        for disk in ["1", "2"] {
            for sub in 0..SUB_DIRS {
                let sub = format!("{disk}/app/{}/{sub:02x}", self.dir_name());
                fs::create_dir_all(self.base().join(sub)).unwrap();
            }
        }
        let (on, app, manager) = (OnLane::here(), AppId::new(APP), self.manager());
        self.runtime.block_on(self.merger.prepare(&app, &manager)).unwrap();
        let dirs = self.local_dirs();
        let executor = ExecutorId::new("1");
        self.blocks.register(&on, &app, &executor, &dirs, SUB_DIRS, &manager, Proof::Proven).unwrap();
        let dirs = dirs.iter().map(String::as_str);
        self.merger.register(&on, &app, dirs, SUB_DIRS, &manager, &self.blocks).unwrap();
        self.merger.clean_up(&on);
    }

    fn restart(&mut self, found: Found) {
        let records = {
            let mut kept = self.book.kept.lock().unwrap();
            kept.waiting.clear();
            kept.is_full = false;
            kept.is_off = matches!(found, Found::Off);
            match found {
                Found::Same => {}
                Found::Older(back) => {
                    let at = kept.history.len().checked_sub(1 + usize::from(back));
                    kept.now = at.map_or_else(Records::new, |at| kept.history[at].clone());
                }
                Found::Nothing | Found::Off => kept.now.clear(),
            }
            kept.now.clone()
        };
        self.fate = Arc::new(Fate::default());
        self.blocks = Self::blocks(&self.temp);
        self.merger =
            Self::merger(&self.blocks, &self.keys, &self.runtime, self.fsync, &self.book, &self.fate);
        let on = OnLane::here();
        let newest = records.keys().next_back().copied();
        let mut over = Vec::new();
        for (attempt, known) in records {
            if Some(attempt) != newest {
                over.push(known);
                continue;
            }
            let (app, executor) = (AppId::new(APP), ExecutorId::new("1"));
            let dirs = self.local_dirs();
            self.blocks.register(&on, &app, &executor, &dirs, SUB_DIRS, "x", Proof::Proven).unwrap();
            self.merger.restore(&on, known, &self.blocks).unwrap();
        }
        over.into_iter().for_each(|known| self.merger.restore_over(&on, known, &self.blocks));
        self.merger.clean_up(&on);
        self.check();
    }

    fn act(&mut self, act: Act) {
        let (on, app) = (OnLane::here(), AppId::new(APP));
        self.runtime.block_on(self.merger.at_hand(&app));
        match act {
            Act::Push { shuffle, merge, reduce, map } => {
                let message = PushBlockStream {
                    app,
                    app_attempt: self.attempt,
                    shuffle: ShuffleId(shuffle),
                    merge: ShuffleMergeId(merge),
                    map_index: map,
                    reduce: ReduceId(reduce),
                    index: 0,
                };
                let bytes = content(self.attempt, (shuffle, merge, reduce), map.unsigned_abs());
                let Ok(mut push) = self.merger.begin(&on, &message, bytes.len() as u64) else { return };
                if push.data(&on, &[&bytes]).is_ok()
                    && let Ok(code) = push.complete(&on)
                    && code.code == ReturnCode::TooLateBlockPush
                {
                    self.tally.late += 1;
                }
            }
            Act::Finalize { shuffle, merge } => {
                let (shuffle_id, merge_id) = (ShuffleId(shuffle), ShuffleMergeId(merge));
                let app_attempt = self.attempt;
                let message = FinalizeShuffleMerge { app, app_attempt, shuffle: shuffle_id, merge: merge_id };
                let Ok(statuses) = self.merger.finalize(&on, &message) else { return };
                if self.fate.is_dead() {
                    return;
                }
                let told = statuses.reduces.iter().zip(&statuses.bitmaps).zip(&statuses.sizes);
                for ((reduce, maps), size) in told {
                    let maps = maps.as_roaring().iter().collect();
                    let told = (maps, u64::try_from(*size).unwrap());
                    assert!(self.told.insert((shuffle, merge, reduce.0), told).is_none(), "told twice");
                }
            }
        }
    }

    /// Everything that the driver was told of is served whole, or refused.
    fn check(&mut self) {
        let told = self.told.clone();
        for (at, (maps, len)) in told {
            match self.read(at) {
                Ok((found, bytes)) => {
                    self.tally.served += 1;
                    assert_eq!((found, bytes), (maps, len), "{at:?}");
                }
                Err(_) => self.tally.refused += 1,
            }
        }
    }

    /// The maps that the bitmaps say, and how many bytes there are of them.
    fn read(&self, (shuffle, merge, reduce): (i32, i32, i32)) -> Result<(BTreeSet<u32>, u64), MergeError> {
        let (on, app) = (OnLane::here(), AppId::new(APP));
        let merged = MergedPartition {
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
            reduce: ReduceId(reduce),
        };
        let partition = PartitionId { app: app.clone(), merged };
        self.runtime.block_on(self.merger.at_hand(&app));
        let meta = match self.merger.meta(&on, &partition) {
            Err(MergeError::AwaitsKey { key, .. }) => {
                self.runtime.block_on(self.merger.fetch_key(&app, &key));
                self.merger.meta(&on, &partition)?
            }
            found => found?,
        };
        let (mut all, mut len) = (BTreeSet::new(), 0);
        for (n, bitmap) in (0..).zip(Bitmap::decode_all(meta.bitmaps).unwrap()) {
            let mut chunk = self.merger.chunk(&on, &partition, n)?;
            let bytes = super::fixture::read_all(&mut *chunk);
            let expected = |map| content(self.attempt, (shuffle, merge, reduce), map);
            let mut left: BTreeSet<u32> = bitmap.as_roaring().iter().collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let map = left.iter().copied().find(|map| rest.starts_with(&expected(*map)));
                let map = map.unwrap_or_else(|| panic!("wrong bytes in {merged:?}: {rest:?}"));
                rest = &rest[expected(map).len()..];
                left.remove(&map);
                all.insert(map);
            }
            assert!(left.is_empty(), "{left:?} are said to be in chunk {n}");
            len += bytes.len() as u64;
        }
        Ok((all, len))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Act(act) => self.act(act),
            Step::Killed(act, deeds, found) => {
                self.fate.dies_after(deeds);
                self.act(act);
                self.restart(found);
            }
            Step::Restart(found) => self.restart(found),
            Step::Register { next } => {
                if next {
                    self.attempt += 1;
                    self.told.clear();
                }
                self.register();
            }
            Step::Full(is_full) => {
                let mut kept = self.book.kept.lock().unwrap();
                kept.is_full = is_full;
                if !is_full {
                    std::mem::take(&mut kept.waiting).into_iter().for_each(|entry| _ = kept.write(entry));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_gets_what_the_driver_was_told_or_an_error(
        is_shared in any::<bool>(), syncs in any::<bool>(), steps in prop::collection::vec(step(), 1..70),
    ) {
        let mut node = Node::new(is_shared, if syncs { Fsync::Always } else { Fsync::Never });
        for step in steps {
            node.take(step);
            node.check();
        }
        node.restart(Found::Nothing);
        node.register();
        node.check();
    }
}

/// Map 31 alone, where maps 0 to 30 were announced.
#[test]
fn a_late_push_replaces_nothing_whatever_is_remembered() {
    for found in [Found::Older(1), Found::Nothing, Found::Off] {
        let mut node = Node::new(false, Fsync::Never);
        for map in 0..31 {
            node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map });
        }
        node.act(Act::Finalize { shuffle: 0, merge: 0 });
        assert_eq!(node.told[&(0, 0, 0)].0.len(), 31);
        node.restart(found);
        node.register();
        node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map: 31 });
        node.check();
        let Tally { served, refused, late } = node.tally;
        // Without a record nobody knows the application before it registers.
        let expected = if matches!(found, Found::Older(_)) { (2, 0, 1) } else { (1, 1, 1) };
        assert_eq!((served, refused, late), expected, "{found:?}");
        // Its other partitions are over with it, too.
        node.act(Act::Push { shuffle: 0, merge: 0, reduce: 1, map: 31 });
        assert_eq!(node.tally.late, 2, "{found:?}");
    }
}

/// The attempt before the one that readers read, whose record and files are there.
#[test]
fn an_older_record_does_not_bring_an_older_attempt_back() {
    for (next, served) in [(false, 2), (true, 1)] {
        let mut node = Node::new(false, Fsync::Never);
        node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map: 0 });
        node.act(Act::Finalize { shuffle: 0, merge: 0 });
        // Nobody writes down that the next attempt begins.
        node.restart(Found::Off);
        node.take(Step::Register { next });
        node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map: 0 });
        node.act(Act::Finalize { shuffle: 0, merge: 0 });
        node.check();
        node.restart(Found::Older(0));
        assert_eq!(node.tally.served, served, "next attempt: {next}");
        assert_eq!(node.files("merge_1") == 0, next, "what it made is deleted");
    }
}

#[test]
fn a_merge_whose_end_is_not_recorded_is_told_to_nobody() {
    let mut node = Node::new(false, Fsync::Never);
    node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map: 0 });
    node.take(Step::Full(true));
    node.act(Act::Finalize { shuffle: 0, merge: 0 });
    assert!(node.told.is_empty());
    node.act(Act::Push { shuffle: 0, merge: 0, reduce: 0, map: 1 });
    assert_eq!(node.tally.late, 1, "it is over all the same");
}
