//! Names of blocks, in the grammar of executors and drivers.
//!
//! Source: `BlockId`, Spark 4.3.0, whose regular expressions are tried in the order of the variants here.
//! Numbers are ASCII digits without a sign. Two places are stricter than Spark: the dot in front of `data`,
//! `index` and `meta` must be a dot (Spark's expression takes any character there), and a UUID must be whole.
//!
//! A shuffle service reads names by other rules: [`crate::shuffle::OpenRequest`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId};

/// The name of a block, taken apart. `Display` and `FromStr` are its text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // fields are what their types or the form above them say
pub enum BlockId {
    /// `rdd_<rdd>_<split>`: a cached partition.
    Rdd { rdd: i32, split: i32 },
    /// `shuffle_<shuffle>_<map>_<reduce>`: one partition of a map task.
    Shuffle { shuffle: ShuffleId, map: MapId, reduce: ReduceId },
    /// `shuffle_<shuffle>_<map>_<start>_<end>`: a range of partitions, the end exclusive (Spark 3.0).
    ShuffleBatch { shuffle: ShuffleId, map: MapId, start: ReduceId, end: ReduceId },
    /// `shuffle_<shuffle>_<map>_<reduce>.data`: the file of a map task; the partition is always 0.
    ShuffleData { shuffle: ShuffleId, map: MapId, reduce: ReduceId },
    /// `shuffle_<shuffle>_<map>_<reduce>.index`: the offsets in it.
    ShuffleIndex { shuffle: ShuffleId, map: MapId, reduce: ReduceId },
    /// `shufflePush_<shuffle>_<merge>_<map index>_<reduce>`: a block to merge (Spark 3.2, as all of merging).
    ShufflePush { shuffle: ShuffleId, merge: ShuffleMergeId, map_index: i32, reduce: ReduceId },
    /// `shuffleMerged_<shuffle>_<merge>_<reduce>`: a whole merged partition, as clients see it.
    ShuffleMerged { shuffle: ShuffleId, merge: ShuffleMergeId, reduce: ReduceId },
    /// `shuffleMerged_<app>_<shuffle>_<merge>_<reduce>.data`: the file of a merged partition.
    ShuffleMergedData { app: AppId, shuffle: ShuffleId, merge: ShuffleMergeId, reduce: ReduceId },
    /// `shuffleMerged_<app>_<shuffle>_<merge>_<reduce>.index`: the offsets of its chunks.
    ShuffleMergedIndex { app: AppId, shuffle: ShuffleId, merge: ShuffleMergeId, reduce: ReduceId },
    /// `shuffleMerged_<app>_<shuffle>_<merge>_<reduce>.meta`: the bitmaps of its chunks.
    ShuffleMergedMeta { app: AppId, shuffle: ShuffleId, merge: ShuffleMergeId, reduce: ReduceId },
    /// `shuffleChunk_<shuffle>_<merge>_<reduce>_<chunk>`: a piece of a merged partition.
    ShuffleChunk { shuffle: ShuffleId, merge: ShuffleMergeId, reduce: ReduceId, chunk: i32 },
    /// `broadcast_<id>` or `broadcast_<id>_<field>`; the field is empty where there is none.
    Broadcast { id: i64, field: String },
    /// `taskresult_<task>`: a result too large for its status message.
    TaskResult { task: i64 },
    /// `input-<stream>-<unique>`: data of a streaming receiver.
    Input { stream: i32, unique: i64 },
    /// `python-stream-<stream>-<unique>` (Spark 4.0).
    PythonStream { stream: i32, unique: i64 },
    /// `temp_local_<uuid>`: a spill.
    TempLocal { uuid: u128 },
    /// `temp_shuffle_<uuid>`: a spill of a shuffle.
    TempShuffle { uuid: u128 },
    /// `test_log_<time>_<executor>` (Spark 4.2).
    TestLog { time: i64, executor: ExecutorId },
    /// `python_worker_log_<time>_<executor>_<session>_<worker>`, no part with an underscore (Spark 4.2).
    PythonWorkerLog { time: i64, executor: ExecutorId, session: String, worker: String },
    /// `test_<anything>`
    Test { id: String },
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rdd { rdd, split } => write!(f, "rdd_{rdd}_{split}"),
            Self::Shuffle { shuffle, map, reduce } => write!(f, "shuffle_{shuffle}_{map}_{reduce}"),
            Self::ShuffleBatch { shuffle, map, start, end } => {
                write!(f, "shuffle_{shuffle}_{map}_{start}_{end}")
            }
            Self::ShuffleData { shuffle, map, reduce } => write!(f, "shuffle_{shuffle}_{map}_{reduce}.data"),
            Self::ShuffleIndex { shuffle, map, reduce } => {
                write!(f, "shuffle_{shuffle}_{map}_{reduce}.index")
            }
            Self::ShufflePush { shuffle, merge, map_index, reduce } => {
                write!(f, "shufflePush_{shuffle}_{merge}_{map_index}_{reduce}")
            }
            Self::ShuffleMerged { shuffle, merge, reduce } => {
                write!(f, "shuffleMerged_{shuffle}_{merge}_{reduce}")
            }
            Self::ShuffleMergedData { app, shuffle, merge, reduce } => {
                write!(f, "shuffleMerged_{app}_{shuffle}_{merge}_{reduce}.data")
            }
            Self::ShuffleMergedIndex { app, shuffle, merge, reduce } => {
                write!(f, "shuffleMerged_{app}_{shuffle}_{merge}_{reduce}.index")
            }
            Self::ShuffleMergedMeta { app, shuffle, merge, reduce } => {
                write!(f, "shuffleMerged_{app}_{shuffle}_{merge}_{reduce}.meta")
            }
            Self::ShuffleChunk { shuffle, merge, reduce, chunk } => {
                write!(f, "shuffleChunk_{shuffle}_{merge}_{reduce}_{chunk}")
            }
            Self::Broadcast { id, field } if field.is_empty() => write!(f, "broadcast_{id}"),
            Self::Broadcast { id, field } => write!(f, "broadcast_{id}_{field}"),
            Self::TaskResult { task } => write!(f, "taskresult_{task}"),
            Self::Input { stream, unique } => write!(f, "input-{stream}-{unique}"),
            Self::PythonStream { stream, unique } => write!(f, "python-stream-{stream}-{unique}"),
            Self::TempLocal { uuid } => write!(f, "temp_local_{}", Uuid(*uuid)),
            Self::TempShuffle { uuid } => write!(f, "temp_shuffle_{}", Uuid(*uuid)),
            Self::TestLog { time, executor } => write!(f, "test_log_{time}_{}", executor.as_str()),
            Self::PythonWorkerLog { time, executor, session, worker } => {
                write!(f, "python_worker_log_{time}_{}_{session}_{worker}", executor.as_str())
            }
            Self::Test { id } => write!(f, "test_{id}"),
        }
    }
}

impl FromStr for BlockId {
    type Err = BlockIdError;

    fn from_str(name: &str) -> Result<Self, BlockIdError> {
        match parse(name) {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(BlockIdError::Unrecognized(name.to_owned())),
            Err(TooLarge) => Err(BlockIdError::NumberTooLarge(name.to_owned())),
        }
    }
}

/// Why a text is not the name of a block.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BlockIdError {
    /// It has no known form.
    #[error("{0:?} is not the name of a block; a shuffle block is shuffle_<shuffle>_<map>_<reduce>")]
    Unrecognized(String),
    /// It has a known form with a number that does not fit.
    #[error("{0:?} holds a number that is too large")]
    NumberTooLarge(String),
}

/// Digits that fit no `i32` or `i64`. The form matched, so no other form is tried.
struct TooLarge;

fn parse(name: &str) -> Result<Option<BlockId>, TooLarge> {
    let Some((kind, rest)) = split_kind(name) else { return Ok(None) };
    match kind {
        "rdd_" => rdd(rest),
        "shuffle_" => shuffle(rest),
        "shufflePush_" => shuffle_push(rest),
        "shuffleMerged_" => shuffle_merged(rest),
        "shuffleChunk_" => shuffle_chunk(rest),
        "broadcast_" => broadcast(rest),
        "taskresult_" => {
            numbers(rest, '_').map(|[task]| Ok(BlockId::TaskResult { task: long(task)? })).transpose()
        }
        "input-" => numbers(rest, '-')
            .map(|[stream, unique]| Ok(BlockId::Input { stream: int(stream)?, unique: long(unique)? }))
            .transpose(),
        "python-stream-" => numbers(rest, '-')
            .map(|[stream, unique]| Ok(BlockId::PythonStream { stream: int(stream)?, unique: long(unique)? }))
            .transpose(),
        "temp_local_" => Ok(uuid(rest).map(|uuid| BlockId::TempLocal { uuid })),
        "temp_shuffle_" => Ok(uuid(rest).map(|uuid| BlockId::TempShuffle { uuid })),
        "python_worker_log_" => python_worker_log(rest),
        _ => test(rest),
    }
}

/// The beginnings of all names; none of these is the beginning of another.
const KINDS: [&str; 13] = [
    "rdd_",
    "shuffle_",
    "shufflePush_",
    "shuffleMerged_",
    "shuffleChunk_",
    "broadcast_",
    "taskresult_",
    "input-",
    "python-stream-",
    "temp_local_",
    "temp_shuffle_",
    "python_worker_log_",
    "test_",
];

fn split_kind(name: &str) -> Option<(&'static str, &str)> {
    KINDS.iter().find_map(|kind| name.strip_prefix(kind).map(|rest| (*kind, rest)))
}

fn rdd(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let Some([rdd, split]) = numbers(rest, '_') else { return Ok(None) };
    Ok(Some(BlockId::Rdd { rdd: int(rdd)?, split: int(split)? }))
}

fn shuffle(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    if let Some([shuffle, map, start, end]) = numbers(rest, '_') {
        let (shuffle, map) = (ShuffleId(int(shuffle)?), MapId(long(map)?));
        let (start, end) = (ReduceId(int(start)?), ReduceId(int(end)?));
        return Ok(Some(BlockId::ShuffleBatch { shuffle, map, start, end }));
    }
    let (stem, suffix) = split_suffix(rest);
    let Some([shuffle, map, reduce]) = numbers(stem, '_') else { return Ok(None) };
    let (shuffle, map, reduce) = (ShuffleId(int(shuffle)?), MapId(long(map)?), ReduceId(int(reduce)?));
    Ok(match suffix {
        "" => Some(BlockId::Shuffle { shuffle, map, reduce }),
        ".data" => Some(BlockId::ShuffleData { shuffle, map, reduce }),
        ".index" => Some(BlockId::ShuffleIndex { shuffle, map, reduce }),
        _ => None,
    })
}

fn shuffle_push(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let Some([shuffle, merge, map_index, reduce]) = numbers(rest, '_') else { return Ok(None) };
    Ok(Some(BlockId::ShufflePush {
        shuffle: ShuffleId(int(shuffle)?),
        merge: ShuffleMergeId(int(merge)?),
        map_index: int(map_index)?,
        reduce: ReduceId(int(reduce)?),
    }))
}

fn shuffle_merged(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let (stem, suffix) = split_suffix(rest);
    let (app, ids) = if suffix.is_empty() { (None, stem) } else { split_app(stem) };
    let Some([shuffle, merge, reduce]) = numbers(ids, '_') else { return Ok(None) };
    let (shuffle, merge) = (ShuffleId(int(shuffle)?), ShuffleMergeId(int(merge)?));
    let reduce = ReduceId(int(reduce)?);
    Ok(match (app, suffix) {
        (None, "") => Some(BlockId::ShuffleMerged { shuffle, merge, reduce }),
        (Some(app), ".data") => Some(BlockId::ShuffleMergedData { app, shuffle, merge, reduce }),
        (Some(app), ".index") => Some(BlockId::ShuffleMergedIndex { app, shuffle, merge, reduce }),
        (Some(app), ".meta") => Some(BlockId::ShuffleMergedMeta { app, shuffle, merge, reduce }),
        _ => None,
    })
}

/// Takes the application id, which may hold underscores itself, off the three numbers behind it.
fn split_app(stem: &str) -> (Option<AppId>, &str) {
    let Some((before_ids, _)) = stem.rmatch_indices('_').nth(2) else { return (None, stem) };
    let app = &stem[..before_ids];
    (app.chars().all(is_word).then(|| AppId::new(app)), &stem[before_ids + 1..])
}

fn shuffle_chunk(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let Some([shuffle, merge, reduce, chunk]) = numbers(rest, '_') else { return Ok(None) };
    Ok(Some(BlockId::ShuffleChunk {
        shuffle: ShuffleId(int(shuffle)?),
        merge: ShuffleMergeId(int(merge)?),
        reduce: ReduceId(int(reduce)?),
        chunk: int(chunk)?,
    }))
}

fn broadcast(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (id, field) = rest.split_at(digits);
    if id.is_empty() || !field.chars().all(is_word) {
        return Ok(None);
    }
    let field = field.strip_prefix('_').unwrap_or(field).to_owned();
    Ok(Some(BlockId::Broadcast { id: long(id)?, field }))
}

fn python_worker_log(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    let Some([time, executor, session, worker]) = parts(rest, '_') else { return Ok(None) };
    if !is_digits(time) {
        return Ok(None);
    }
    Ok(Some(BlockId::PythonWorkerLog {
        time: long(time)?,
        executor: ExecutorId::new(executor),
        session: session.to_owned(),
        worker: worker.to_owned(),
    }))
}

fn test(rest: &str) -> Result<Option<BlockId>, TooLarge> {
    if rest.contains(LINE_ENDS) {
        return Ok(None);
    }
    let log = rest.strip_prefix("log_").and_then(|log| log.split_once('_'));
    if let Some((time, executor)) = log.filter(|(time, _)| is_digits(time)) {
        return Ok(Some(BlockId::TestLog { time: long(time)?, executor: ExecutorId::new(executor) }));
    }
    Ok(Some(BlockId::Test { id: rest.to_owned() }))
}

/// Characters that the dot of a Java regular expression does not match.
const LINE_ENDS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

fn split_suffix(text: &str) -> (&str, &str) {
    text.split_at(text.find('.').unwrap_or(text.len()))
}

/// The parts of `text`, if they are just `N` and all digits.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    parts(text, separator).filter(|parts| parts.iter().all(|part| is_digits(part)))
}

fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut split = text.split(separator);
    let mut parts = [""; N];
    for part in &mut parts {
        *part = split.next()?;
    }
    split.next().is_none().then_some(parts)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn int(digits: &str) -> Result<i32, TooLarge> {
    digits.parse().map_err(|_| TooLarge)
}

fn long(digits: &str) -> Result<i64, TooLarge> {
    digits.parse().map_err(|_| TooLarge)
}

const UUID_PARTS: [usize; 5] = [8, 4, 4, 4, 12];

fn uuid(text: &str) -> Option<u128> {
    let parts: [&str; 5] = parts(text, '-')?;
    let whole = parts
        .iter()
        .zip(UUID_PARTS)
        .all(|(part, len)| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    whole.then(|| u128::from_str_radix(&parts.concat(), 16).ok()).flatten()
}

struct Uuid(u128);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut at = 0;
        for len in UUID_PARTS {
            if at > 0 {
                f.write_str("-")?;
            }
            f.write_str(&digits[at..at + len])?;
            at += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "rdd_7_12",
            "shuffle_0_4294967298_2",
            "shuffle_0_3_0_4",
            "shuffle_0_3_0.data",
            "shuffle_0_3_0.index",
            "shufflePush_5_2_7_9",
            "shuffleMerged_5_2_9",
            "shuffleMerged_application_1_2_5_2_9.data",
            "shuffleMerged_application_1_2_5_2_9.index",
            "shuffleMerged__5_2_9.meta",
            "shuffleChunk_5_2_9_0",
            "broadcast_12",
            "broadcast_12_piece0",
            "taskresult_9223372036854775807",
            "input-1-1700000000000",
            "python-stream-1-1700000000000",
            "temp_local_0f8fad5b-d9cb-469f-a165-70867728950e",
            "temp_shuffle_00000000-0000-0000-0000-000000000001",
            "test_log_1700000000000_driver",
            "test_log_1_",
            "python_worker_log_1700000000000_1_session_42",
            "test_",
            "test_log_x_1",
        ] {
            let id: BlockId = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(id.to_string(), name);
            assert!(!matches!(&id, BlockId::Test { .. }) || ["test_", "test_log_x_1"].contains(&name));
        }
    }

    #[test]
    fn rejects_other_forms() {
        for name in [
            "",
            "shuffle",
            "shuffle_0_1",
            "shuffle_0_1_2_3_4",
            "shuffle_-1_1_2",
            "shuffle_+1_1_2",
            "shuffle_0_1_2_",
            "shuffle_0_1_٣",
            "shuffle_0_1_2.checksum.ADLER32",
            "shuffle_0_1_2.meta",
            "shuffle_0_1_2xdata",
            "shuffleMerged_app-1_5_2_9.data",
            "shuffleMerged_5_2_9.data",
            "broadcast_",
            "broadcast_1-2",
            "rdd_1_2\n",
            "xrdd_1_2",
            "temp_local_1-2-3-4-5",
            "test_a\nb",
            "../shuffle_0_1_2",
        ] {
            assert_eq!(name.parse::<BlockId>(), Err(BlockIdError::Unrecognized(name.into())), "{name:?}");
        }
    }

    #[test]
    fn rejects_numbers_that_do_not_fit() {
        for name in ["rdd_2147483648_0", "shuffle_0_9223372036854775808_0", "shuffle_2147483648_0_0_1"] {
            assert_eq!(name.parse::<BlockId>(), Err(BlockIdError::NumberTooLarge(name.into())));
        }
    }

    #[test]
    fn a_broadcast_field_may_lack_its_underscore() {
        let id: BlockId = "broadcast_12piece0".parse().unwrap();
        assert_eq!(id, BlockId::Broadcast { id: 12, field: "piece0".into() });
    }
}
