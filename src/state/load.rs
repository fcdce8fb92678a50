//! Reads everything, and believes nothing that does not agree with the rest.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;

use super::error::StateError;
use super::file::RECORDS;
use super::record::{AttemptRecord, ExecutorRecord, FinalizedRecord, Kind, LONGEST, Text, parse_secret};
use super::seal::{OVERHEAD, PART, StateKeys};
use super::tally::{self, Tally};
use super::writer::{MOST_BYTES, MOST_RECORDS};
use crate::disk::Proof;
use crate::merge::StoredAttempt;

/// The records of the store when it was opened. `applications` judges them.
#[derive(Default)]
#[non_exhaustive]
pub struct Recovery {
    /// Registered executors, in no order.
    pub executors: Vec<RecoveredExecutor>,
    /// Secrets that were handed over.
    pub secrets: Vec<(AppId, AppSecret)>,
    /// Applications that merge, each with its newest attempt.
    pub merges: Vec<StoredAttempt>,
    /// Attempts that are older than those: over, and their files may not be deleted.
    pub(crate) stale: Vec<StoredAttempt>,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// A registered executor.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RecoveredExecutor {
    /// The application.
    pub app: AppId,
    /// The executor.
    pub executor: ExecutorId,
    /// How it was registered.
    pub proof: Proof,
    /// The directories, as they were registered.
    pub dirs: Vec<String>,
    /// Sub-directories of each.
    pub sub_dirs: i32,
    /// Class name of the shuffle manager, with what push-based shuffle appends.
    pub shuffle_manager: String,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("executors", &self.executors.len())
            .field("secrets", &self.secrets.len())
            .field("merges", &self.merges.len())
            .finish_non_exhaustive()
    }
}

/// All records.
pub(super) fn load(
    _: &OnLane,
    path: &Path,
    database: &Database,
    keys: &StateKeys,
) -> Result<Recovery, StateError> {
    let view = database.begin_read().map_err(|error| StateError::damaged(path, error))?;
    read(path, &view, keys)
}

/// The same of a view.
pub(super) fn read(path: &Path, view: &ReadTransaction, keys: &StateKeys) -> Result<Recovery, StateError> {
    let damaged = |error: &dyn fmt::Display| StateError::damaged(path, error);
    let records = view.open_table(RECORDS).map_err(|error| damaged(&error))?;
    let mut loading = Loader::default();
    for entry in records.iter().map_err(|error| damaged(&error))? {
        let (name, value) = entry.map_err(|error| damaged(&error))?;
        loading.take(keys, name.value(), value.value()).map_err(|what| damaged(&what))?;
    }
    loading.finish().map_err(|what| damaged(&what))
}

/// The name of a record under `keys`, which has the name `name` under other ones.
pub(super) fn name_of(keys: &StateKeys, name: &[u8], text: &Text) -> Option<Vec<u8>> {
    let kind = name.get(PART).copied().and_then(Kind::of)?;
    Loader::default().keep(keys, kind, text)
}

#[derive(Default)]
struct Loader {
    counted: Tally,
    written: Option<Tally>,
    executors: Vec<RecoveredExecutor>,
    secrets: Vec<(AppId, AppSecret)>,
    attempts: HashMap<(AppId, i32), AttemptRecord>,
    finalized: HashMap<(AppId, i32), Vec<(ShuffleId, ShuffleMergeId)>>,
}

const FOREIGN: &str = "a record does not verify: it was changed, or put in the place of another";
const ODD: &str = "a record makes no sense";
const UNEQUAL: &str = "records were taken away, or older ones put back";
const TOO_MUCH: &str = "it holds more than a store may";

impl Loader {
    fn take(&mut self, keys: &StateKeys, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let kind = name.get(PART).copied().and_then(Kind::of).ok_or(ODD)?;
        if value.len() > LONGEST + OVERHEAD {
            return Err(TOO_MUCH);
        }
        let text = keys.open(name, value).ok_or(FOREIGN)?;
        if kind == Kind::Tally {
            let tally = Tally::decode(&text).filter(|_| name == tally::NAME).ok_or(ODD)?;
            self.written = Some(tally);
            return Ok(());
        }
        self.counted.add(keys, name, value);
        if self.counted.records > MOST_RECORDS || self.counted.bytes > MOST_BYTES {
            return Err(TOO_MUCH);
        }
        let expected = self.keep(keys, kind, &text).ok_or(ODD)?;
        if expected != name { Err(FOREIGN) } else { Ok(()) }
    }

    /// Keeps a record, and says which name it must have.
    fn keep(&mut self, keys: &StateKeys, kind: Kind, text: &Text) -> Option<Vec<u8>> {
        Some(match kind {
            Kind::Tally => return None,
            Kind::Executor => {
                let ExecutorRecord { app, executor, proof, sub_dirs, shuffle_manager, dirs } =
                    ExecutorRecord::decode(text)?;
                let name = keys.executor(&app, &executor);
                let found = RecoveredExecutor { app, executor, proof, dirs, sub_dirs, shuffle_manager };
                self.executors.push(found);
                name
            }
            Kind::Secret => {
                let (app, secret) = parse_secret(text)?;
                let name = keys.secret(&app);
                self.secrets.push((app, secret));
                name
            }
            Kind::Attempt => {
                let record = AttemptRecord::decode(text)?;
                let name = keys.attempt(&record.app, record.attempt);
                self.attempts.insert((record.app.clone(), record.attempt), record);
                name
            }
            Kind::Finalized => {
                let FinalizedRecord { app, attempt, shuffle, merge } = FinalizedRecord::decode(text)?;
                let name = keys.finalized(&app, attempt, shuffle);
                self.finalized.entry((app, attempt)).or_default().push((shuffle, merge));
                name
            }
        })
    }

    fn finish(mut self) -> Result<Recovery, &'static str> {
        if self.written != Some(self.counted) {
            return Err(UNEQUAL);
        }
        let mut newest: HashMap<AppId, i32> = HashMap::new();
        for (app, attempt) in self.attempts.keys() {
            let known = newest.entry(app.clone()).or_insert(*attempt);
            *known = (*known).max(*attempt);
        }
        let (mut merges, mut stale) = (Vec::new(), Vec::new());
        for ((app, attempt), record) in self.attempts {
            let AttemptRecord { sub_dirs, dirs, key, .. } = record;
            let finalized = self.finalized.remove(&(app.clone(), attempt)).unwrap_or_default();
            let is_newest = newest.get(&app) == Some(&attempt);
            let known = StoredAttempt { app, attempt, dirs, sub_dirs, key, finalized };
            if is_newest { &mut merges } else { &mut stale }.push(known);
        }
        // Of what was finalized by an attempt that is not there, nothing is known but that.
        stale.extend(self.finalized.into_iter().map(|((app, attempt), finalized)| {
            let dirs = Vec::new();
            StoredAttempt { app, attempt, dirs, sub_dirs: 0, key: None, finalized }
        }));
        Ok(Recovery {
            merges,
            stale,
            executors: self.executors,
            secrets: self.secrets,
            records: self.counted.records,
            bytes: self.counted.bytes,
        })
    }
}
