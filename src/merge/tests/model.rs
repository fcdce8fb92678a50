//! The rules again, in a naive form. Random conversations run against both, and every answer must agree.
//!
//! The model is made from the tables of push-based merging, not from the code. It keeps whole byte strings, copies
//! them when in doubt, and looks everything up anew. It knows one application of attempt 1 and a disk that never
//! fails. The comments name the differences from Spark (pushes with gaps).

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use sealed_shuffle_protocol::ids::{AppId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{Bitmap, FinalizeShuffleMerge, RemoveShuffleMerge};
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, Fixture, answer, block, refusal};
use crate::merge::Push;

const MIN_CHUNK: usize = 16;

/// One event.
#[derive(Clone, Debug)]
enum Step {
    /// A push begins on a connection that has none.
    Begin {
        connection: usize,
        attempt: i32,
        shuffle: i32,
        merge: i32,
        map: i32,
        reduce: i32,
    },
    /// Bytes of the push on a connection.
    Data {
        connection: usize,
        len: usize,
    },
    Complete {
        connection: usize,
    },
    /// The connection is lost.
    Lose {
        connection: usize,
    },
    Finalize {
        attempt: i32,
        shuffle: i32,
        merge: i32,
    },
    Remove {
        attempt: i32,
        shuffle: i32,
        merge: i32,
    },
    Meta {
        shuffle: i32,
        merge: i32,
        reduce: i32,
    },
    Chunk {
        shuffle: i32,
        merge: i32,
        reduce: i32,
        chunk: i32,
    },
    CleanUp,
}

const CONNECTIONS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let connection = 0..CONNECTIONS;
    let attempt = prop_oneof![20 => Just(1), 1 => 0..3];
    let (shuffle, merge, map, reduce) =
        (0..2, prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(2)], 0..4, 0..2);
    let named = (attempt.clone(), shuffle.clone(), merge.clone());
    let partition = (shuffle, merge, reduce);
    prop_oneof![
        10 => (connection.clone(), attempt.clone(), map, partition.clone()).prop_map(
            |(connection, attempt, map, (shuffle, merge, reduce))| Step::Begin { connection, attempt, shuffle, merge, map, reduce }
        ),
        14 => (connection.clone(), 0..12usize).prop_map(|(connection, len)| Step::Data { connection, len }),
        10 => connection.clone().prop_map(|connection| Step::Complete { connection }),
        2 => connection.prop_map(|connection| Step::Lose { connection }),
        1 => named.clone().prop_map(|(attempt, shuffle, merge)| Step::Finalize { attempt, shuffle, merge }),
        1 => (named, any::<bool>()).prop_map(|((attempt, shuffle, merge), current)| {
            let merge = if current { -1 } else { merge };
            Step::Remove { attempt, shuffle, merge }
        }),
        2 => partition.clone().prop_map(|(shuffle, merge, reduce)| Step::Meta { shuffle, merge, reduce }),
        2 => (partition, -1..4).prop_map(|((shuffle, merge, reduce), chunk)| Step::Chunk { shuffle, merge, reduce, chunk }),
        1 => Just(Step::CleanUp),
    ]
}

#[derive(Default)]
struct Model {
    /// shuffleId to its newest merge.
    shuffles: BTreeMap<i32, (i32, Status)>,
    /// The chunks that a reader would find: (shuffle, merge, reduce) to chunks.
    files: BTreeMap<(i32, i32, i32), Vec<Chunk>>,
    pushes: BTreeMap<usize, Arriving>,
}

enum Status {
    Open(BTreeMap<i32, Merging>),
    Finalized(BTreeSet<i32>),
}

#[derive(Default)]
struct Merging {
    /// dataPos, and the bytes before it.
    data: Vec<u8>,
    merged: BTreeSet<u32>,
    since_chunk: BTreeSet<u32>,
    chunk_end: usize,
    /// currentMap, and the push that writes it.
    current: Option<(i32, usize)>,
}

#[derive(Clone)]
struct Chunk {
    bytes: Vec<u8>,
    maps: BTreeSet<u32>,
}

#[derive(Clone)]
struct Arriving {
    at: (i32, i32, i32),
    map: i32,
    name: String,
    /// The decision on the header.
    verdict: Option<&'static str>,
    bytes: Vec<u8>,
    /// Some of its bytes were ignored.
    has_gaps: bool,
}

impl Model {
    fn begin(
        &mut self,
        connection: usize,
        attempt: i32,
        at: (i32, i32, i32),
        map: i32,
    ) -> Result<(), String> {
        let (shuffle, merge, reduce) = at;
        let name = format!("shufflePush_{shuffle}_{merge}_{map}_{reduce}");
        if attempt != 1 {
            return Err(format!("4 {name}"));
        }
        let mut verdict = None;
        match self.shuffles.get_mut(&shuffle) {
            Some((known, _)) if *known > merge => verdict = Some("3"),
            Some((known, Status::Finalized(_))) if *known == merge => verdict = Some("1"),
            Some((known, _)) if *known == merge => {}
            Some((known, status)) => {
                if let Status::Open(old) = status {
                    for reduce in old.keys() {
                        self.files.remove(&(shuffle, *known, *reduce));
                    }
                }
                self.shuffles.insert(shuffle, (merge, Status::Open(BTreeMap::new())));
            }
            None => _ = self.shuffles.insert(shuffle, (merge, Status::Open(BTreeMap::new()))),
        }
        if verdict.is_none() {
            let Some((_, Status::Open(partitions))) = self.shuffles.get_mut(&shuffle) else { unreachable!() };
            let is_new = !partitions.contains_key(&reduce);
            let partition = partitions.entry(reduce).or_default();
            if is_new {
                self.files.insert(at, Vec::new());
            }
            if partition.merged.contains(&map.unsigned_abs()) {
                verdict = Some("0");
            }
        }
        let push = Arriving { at, map, name, verdict, bytes: Vec::new(), has_gaps: false };
        self.pushes.insert(connection, push);
        Ok(())
    }

    fn open_partition(&mut self, at: (i32, i32, i32)) -> Option<&mut Merging> {
        match self.shuffles.get_mut(&at.0) {
            Some((merge, Status::Open(partitions))) if *merge == at.1 => partitions.get_mut(&at.2),
            _ => None,
        }
    }

    fn data(&mut self, connection: usize, bytes: &[u8]) {
        let mut push = self.pushes.remove(&connection).unwrap();
        if push.verdict.is_none() && !bytes.is_empty() {
            let map = push.map;
            match self.open_partition(push.at) {
                None => push.has_gaps = true,
                Some(partition) => match partition.current {
                    _ if partition.merged.contains(&map.unsigned_abs()) => push.has_gaps = true,
                    Some((writing, by)) if writing == map && by != connection => push.has_gaps = true,
                    Some((_, by)) if by != connection => push.bytes.extend_from_slice(bytes),
                    // Spark would write the bytes behind a gap.
                    _ if push.has_gaps => {}
                    _ => {
                        partition.current = Some((map, connection));
                        push.bytes.extend_from_slice(bytes);
                    }
                },
            }
        }
        if push.has_gaps {
            push.bytes.clear();
        }
        self.pushes.insert(connection, push);
    }

    fn complete(&mut self, connection: usize) -> String {
        let push = self.pushes.remove(&connection).unwrap();
        let failed = |code: &str| format!("{code} {}", push.name);
        match push.verdict {
            Some("0") => return "ok".into(),
            Some(code) => return failed(code),
            None => {}
        }
        let (shuffle, merge, reduce) = push.at;
        match self.shuffles.get(&shuffle) {
            Some((known, Status::Open(partitions))) if partitions.contains_key(&reduce) => {
                if *known > merge {
                    return failed("3");
                }
            }
            _ => return failed("1"),
        }
        let (map, id) = (push.map, push.map.unsigned_abs());
        let partition = self.open_partition(push.at).unwrap();
        match partition.current {
            _ if partition.merged.contains(&id) => return "ok".into(),
            Some((writing, by)) if writing == map && by != connection => return "ok".into(),
            Some((_, by)) if by != connection => return failed("2"),
            _ if push.has_gaps => return failed("2"),
            _ => {}
        }
        partition.data.extend_from_slice(&push.bytes);
        partition.merged.insert(id);
        partition.since_chunk.insert(id);
        partition.current = None;
        if partition.data.len() - partition.chunk_end >= MIN_CHUNK {
            let chunk = partition.close();
            self.files.get_mut(&push.at).unwrap().push(chunk);
        }
        "ok".into()
    }

    fn lose(&mut self, connection: usize) {
        let push = self.pushes.remove(&connection).unwrap();
        if let Some(partition) = self.open_partition(push.at)
            && partition.current.is_some_and(|(_, by)| by == connection)
        {
            partition.current = None;
        }
    }

    fn finalize(
        &mut self,
        attempt: i32,
        shuffle: i32,
        merge: i32,
    ) -> Result<Vec<(i32, BTreeSet<u32>, usize)>, String> {
        if attempt != 1 {
            return Err("java.lang.IllegalArgumentException: The attempt id".into());
        }
        if let Some((known, status)) = self.shuffles.get(&shuffle)
            && (merge < *known || matches!(status, Status::Finalized(_)))
        {
            return Err("java.lang.RuntimeException: Shuffle merge finalize request".into());
        }
        let mut told = Vec::new();
        let mut kept = BTreeSet::new();
        if let Some((known, Status::Open(mut partitions))) = self.shuffles.remove(&shuffle) {
            for (reduce, partition) in &mut partitions {
                let at = (shuffle, known, *reduce);
                if known < merge {
                    self.files.remove(&at);
                    continue;
                }
                if partition.data.len() > partition.chunk_end {
                    let chunk = partition.close();
                    self.files.get_mut(&at).unwrap().push(chunk);
                }
                kept.insert(*reduce);
                if !partition.merged.is_empty() {
                    told.push((*reduce, partition.merged.clone(), partition.data.len()));
                }
            }
        }
        self.shuffles.insert(shuffle, (merge, Status::Finalized(kept)));
        Ok(told)
    }

    fn remove(&mut self, attempt: i32, shuffle: i32, merge: i32) -> Result<(), String> {
        if attempt != 1 {
            return Err("java.lang.IllegalArgumentException: The attempt id".into());
        }
        let Some((known, status)) = self.shuffles.get(&shuffle) else {
            if merge != -1 {
                self.shuffles.insert(shuffle, (merge, Status::Finalized(BTreeSet::new())));
            }
            return Ok(());
        };
        let known = *known;
        if merge != -1 && merge < known {
            return Err("java.lang.RuntimeException: Asked to remove old shuffle merged data".into());
        }
        let reduces: Vec<i32> = match status {
            Status::Open(partitions) => partitions.keys().copied().collect(),
            Status::Finalized(reduces) => reduces.iter().copied().collect(),
        };
        for reduce in reduces {
            self.files.remove(&(shuffle, known, reduce));
        }
        self.shuffles.insert(shuffle, (known.max(merge), Status::Finalized(BTreeSet::new())));
        Ok(())
    }

    fn find(&self, at: (i32, i32, i32), stale: &str, missing: &str) -> Result<&Vec<Chunk>, String> {
        if self.shuffles.get(&at.0).is_some_and(|(known, _)| *known > at.1) {
            return Err(format!("java.lang.RuntimeException: {stale} fetch for shuffle"));
        }
        self.files
            .get(&at)
            .ok_or_else(|| format!("java.lang.RuntimeException: Merged shuffle {missing} file"))
    }
}

impl Merging {
    fn close(&mut self) -> Chunk {
        let bytes = self.data[self.chunk_end..].to_vec();
        self.chunk_end = self.data.len();
        Chunk { bytes, maps: std::mem::take(&mut self.since_chunk) }
    }
}

/// Merger and model together.
struct Both {
    model: Model,
    ours: Fixture,
    pushes: BTreeMap<usize, Push>,
    sent: u8,
}

impl Both {
    fn new() -> Self {
        Self { model: Model::default(), ours: Fixture::new(), pushes: BTreeMap::new(), sent: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Begin { connection, attempt, shuffle, merge, map, reduce } => {
                if self.pushes.contains_key(&connection) {
                    return;
                }
                let mut message = block(shuffle, merge, map, reduce);
                message.app_attempt = attempt;
                let expected = self.model.begin(connection, attempt, (shuffle, merge, reduce), map);
                match self.ours.begin(message) {
                    Ok(push) => {
                        assert_eq!(expected, Ok(()));
                        self.pushes.insert(connection, push);
                    }
                    Err(refused) => assert_eq!(expected, Err(refusal(refused))),
                }
            }
            Step::Data { connection, len } => {
                let Some(push) = self.pushes.get_mut(&connection) else { return };
                self.sent = self.sent.wrapping_add(1);
                let bytes = vec![self.sent; len];
                let (front, back) = bytes.split_at(len / 3);
                push.data(&OnLane::here(), &[front, back]).unwrap();
                self.model.data(connection, &bytes);
            }
            Step::Complete { connection } => {
                let Some(push) = self.pushes.remove(&connection) else { return };
                assert_eq!(answer(push.complete(&OnLane::here())), self.model.complete(connection));
            }
            Step::Lose { connection } => {
                if self.pushes.remove(&connection).is_some() {
                    self.model.lose(connection);
                }
            }
            Step::Finalize { attempt, shuffle, merge } => {
                let message = FinalizeShuffleMerge {
                    app: AppId::new(APP),
                    app_attempt: attempt,
                    shuffle: ShuffleId(shuffle),
                    merge: ShuffleMergeId(merge),
                };
                let expected = self.model.finalize(attempt, shuffle, merge);
                match self.ours.merger.finalize(&OnLane::here(), &message) {
                    Ok(statuses) => {
                        let told = statuses.reduces.iter().zip(&statuses.bitmaps).zip(&statuses.sizes);
                        let mut told: Vec<_> =
                            told.map(|((reduce, maps), size)| (reduce.0, maps, *size)).collect();
                        told.sort_by_key(|(reduce, ..)| *reduce);
                        let told: Vec<_> = told
                            .into_iter()
                            .map(|(reduce, maps, size)| {
                                (reduce, maps.as_roaring().iter().collect(), usize::try_from(size).unwrap())
                            })
                            .collect();
                        assert_eq!(Ok(told), expected);
                    }
                    Err(error) => agree(&error.spark_text(), expected.map(drop)),
                }
            }
            Step::Remove { attempt, shuffle, merge } => {
                let message = RemoveShuffleMerge {
                    app: AppId::new(APP),
                    app_attempt: attempt,
                    shuffle: ShuffleId(shuffle),
                    merge: ShuffleMergeId(merge),
                };
                let expected = self.model.remove(attempt, shuffle, merge);
                match self.ours.merger.remove(&message) {
                    Ok(()) => assert_eq!(expected, Ok(())),
                    Err(error) => agree(&error.spark_text(), expected),
                }
                self.ours.merger.clean_up(&OnLane::here());
            }
            Step::Meta { shuffle, merge, reduce } => self.meta((shuffle, merge, reduce)),
            Step::Chunk { shuffle, merge, reduce, chunk } => self.chunk((shuffle, merge, reduce), chunk),
            Step::CleanUp => self.ours.merger.clean_up(&OnLane::here()),
        }
    }

    fn meta(&mut self, at: (i32, i32, i32)) {
        // Nobody waits for deletions; the model deletes at once.
        self.ours.merger.clean_up(&OnLane::here());
        let expected = self.model.find(at, "MergedBlockMeta", "index");
        match (self.ours.meta(at.0, at.1, at.2), expected) {
            (Ok(meta), Ok(chunks)) => {
                assert_eq!(usize::try_from(meta.chunks).unwrap(), chunks.len());
                let maps: Vec<BTreeSet<u32>> = Bitmap::decode_all(meta.bitmaps)
                    .unwrap()
                    .iter()
                    .map(|maps| maps.as_roaring().iter().collect())
                    .collect();
                assert_eq!(maps, chunks.iter().map(|chunk| chunk.maps.clone()).collect::<Vec<_>>());
            }
            (Err(text), Ok(chunks)) => {
                assert!(chunks.is_empty() && text.ends_with(" is empty"), "{text}");
            }
            (Err(text), Err(expected)) => agree(&text, Err(expected)),
            (Ok(meta), Err(expected)) => panic!("{meta:?} where {expected} was expected"),
        }
    }

    fn chunk(&mut self, at: (i32, i32, i32), chunk: i32) {
        self.ours.merger.clean_up(&OnLane::here());
        let expected = self.model.find(at, "MergedBlockData", "data").and_then(|chunks| {
            let found = usize::try_from(chunk).ok().and_then(|chunk| chunks.get(chunk));
            found
                .map(|chunk| chunk.bytes.clone())
                .ok_or_else(|| "java.lang.IndexOutOfBoundsException".to_owned())
        });
        match self.ours.chunk(at.0, at.1, at.2, chunk) {
            Ok(bytes) => assert_eq!(Ok(bytes), expected),
            Err(text) => agree(&text, expected.map(drop)),
        }
    }

    /// Compares the end state: the same files, and no memory held.
    fn end(mut self) {
        for connection in 0..CONNECTIONS {
            self.take(&Step::Lose { connection });
        }
        assert_eq!(self.ours.merger.counters().deferred_bytes, 0);
        for at in (0..2).flat_map(|shuffle| (0..3).map(move |merge| (shuffle, merge))) {
            for reduce in 0..2 {
                self.meta((at.0, at.1, reduce));
                for chunk in 0..4 {
                    self.chunk((at.0, at.1, reduce), chunk);
                }
            }
        }
        assert_eq!(self.ours.store.paths().len(), 3 * self.model.files.len());
        let open = self.model.shuffles.values().map(|(_, status)| match status {
            Status::Open(partitions) => partitions.len() as u64,
            Status::Finalized(_) => 0,
        });
        assert_eq!(self.ours.merger.counters().open_partitions, open.sum::<u64>());
    }
}

/// Both failed alike: the model knows how the text begins.
#[track_caller]
fn agree(text: &str, expected: Result<(), String>) {
    let expected = expected.expect_err(text);
    assert!(text.starts_with(&expected), "{text}\nwhere this was expected: {expected}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_agrees_with_the_model(steps in vec(step(), 1..160)) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
        }
        both.end();
    }
}
