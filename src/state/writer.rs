//! The one thread that writes: it takes the changes that wait, commits them together, and answers.
//!
//! After a failure the file is opened anew and the same changes are tried once more: redb refuses all work after an
//! error of the disk. Changes that fail twice are kept, counted and tried again every second; that is logged once, until a
//! commit succeeds again.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use redb::{Database, ReadableTable as _, Table};
use sealed_shuffle_protocol::ids::ShuffleMergeId;
use sealed_shuffle_transport::lane::OnLane;

use super::change::Change;
use super::file::{self, HEADER, RECORDS};
use super::queue::{Batch, Queue};
use super::record::{ExecutorRecord, FinalizedRecord, LONGEST};
use super::seal::{OVERHEAD, StateKeys};
use super::tally::{self, Tally};
use crate::disk::Proof;

/// Records that the store holds at most: some times the executors, attempts and shuffles that a node has.
pub(super) const MOST_RECORDS: u64 = 1 << 20;
/// Bytes of names and sealed values that the store holds at most; all are in memory once, at start.
pub(super) const MOST_BYTES: u64 = 512 << 20;

/// Begins to write. Without a `database` it opens the file for the first change.
pub(super) fn start(
    path: PathBuf,
    database: Option<Database>,
    keys: Arc<StateKeys>,
    queue: Arc<Queue>,
    #[cfg(test)] gate: Arc<Gate>,
) -> io::Result<JoinHandle<()>> {
    let mut writer = Writer {
        path,
        keys,
        database,
        #[cfg(test)]
        gate,
    };
    let work = move || {
        // A panic has been said by then.
        _ = catch_unwind(AssertUnwindSafe(|| writer.run(&queue)));
        queue.abandon();
    };
    Builder::new().name("recovery-store".into()).spawn(work)
}

struct Writer {
    path: PathBuf,
    keys: Arc<StateKeys>,
    database: Option<Database>,
    #[cfg(test)]
    gate: Arc<Gate>,
}

/// Stands for the disk in tests: it hangs, or is full, until told otherwise.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: std::sync::Mutex<GateState>,
    changed: std::sync::Condvar,
}

#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum GateState {
    #[default]
    Open,
    Hangs,
    Full,
}

#[cfg(test)]
impl Gate {
    pub(crate) fn set(&self, state: GateState) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    fn pass(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| *state == GateState::Hangs).unwrap();
        match *state {
            GateState::Full => Err("No space left on device".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Which lots were written, how many changes of the backlog were not, and the records that there are now; `None` where
/// nothing changed.
struct Outcome {
    written: Vec<bool>,
    lost: u64,
    records: Option<u64>,
}

impl Writer {
    fn run(&mut self, queue: &Queue) {
        while let Some(batch) = queue.take() {
            match self.commit(&batch).or_else(|_| self.commit(&batch)) {
                Ok(Outcome { written, lost, records }) => queue.committed(batch, &written, lost, records),
                Err(why) => queue.failed(batch, &format_args!("{}: {why}", self.path.display())),
            }
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Outcome, String> {
        #[cfg(test)]
        self.gate.pass()?;
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let opened = file::open(&OnLane::here(), &self.path).map_err(|error| error.to_string())?;
                let (database, header) = opened.ok_or("the file is gone")?;
                if !header.fits(&self.keys) {
                    return Err("another store has taken its place".to_owned());
                }
                database
            }
        };
        let committed = catch_unwind(AssertUnwindSafe(|| transact(&database, &self.keys, batch)));
        let outcome = committed.unwrap_or_else(|_| Err("writing panicked".to_owned()))?;
        self.database = Some(database);
        Ok(outcome)
    }
}

fn transact(database: &Database, keys: &StateKeys, batch: &Batch) -> Result<Outcome, String> {
    let failed = |error: redb::Error| error.to_string();
    let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    let mut records = transaction.open_table(RECORDS).map_err(|error| failed(error.into()))?;
    let mut editor = Editor::new(&mut records, keys)?;
    let mut lost = 0;
    for change in &batch.backlog {
        lost += u64::from(!editor.apply(change).map_err(|error| failed(error.into()))?);
    }
    let mut written = Vec::with_capacity(batch.lots.len());
    let mut has_new_header = false;
    for lot in &batch.lots {
        let mut all = true;
        for change in &lot.changes {
            if let Change::Header { encoded } = change {
                let table = transaction.open_table(HEADER);
                let mut table = table.map_err(|error| failed(error.into()))?;
                table.insert((), &encoded[..]).map_err(|error| failed(error.into()))?;
                has_new_header = true;
            }
            all &= editor.apply(change).map_err(|error| failed(error.into()))?;
        }
        written.push(all);
    }
    let count = editor.finish()?;
    drop(records);
    match count.is_some() || has_new_header {
        true => transaction.commit().map_err(|error| failed(error.into()))?,
        false => transaction.abort().map_err(|error| failed(error.into()))?,
    }
    Ok(Outcome { written, lost, records: count })
}

/// Changes records and the tally together.
struct Editor<'a, 't> {
    records: &'a mut Table<'t, &'static [u8], &'static [u8]>,
    keys: &'a StateKeys,
    before: Tally,
    tally: Tally,
}

impl<'a, 't> Editor<'a, 't> {
    fn new(
        records: &'a mut Table<'t, &'static [u8], &'static [u8]>,
        keys: &'a StateKeys,
    ) -> Result<Self, String> {
        let found = records.get(&tally::NAME[..]).map_err(|error| error.to_string())?;
        let text = found.and_then(|value| keys.open(&tally::NAME, value.value()));
        let tally = text.and_then(|text| Tally::decode(&text)).ok_or("its tally does not open")?;
        Ok(Self { records, keys, before: tally, tally })
    }

    /// Whether there was room for it.
    fn apply(&mut self, change: &Change) -> Result<bool, redb::StorageError> {
        match change {
            Change::Put { name, value } => return self.put(name, value),
            Change::Delete { name } => self.delete(name)?,
            Change::DeleteMerge { name, merge } => {
                if self.merge(name)? == Some(*merge) {
                    self.delete(name)?;
                }
            }
            Change::DeleteUnproven { prefix } => {
                for name in self.beginning_with(prefix)? {
                    if Proof::Proven.overrules(self.proof(&name)?) {
                        self.delete(&name)?;
                    }
                }
            }
            Change::DeleteAll { prefix } => {
                for name in self.beginning_with(prefix)? {
                    self.delete(&name)?;
                }
            }
            // No record.
            Change::Header { .. } => {}
        }
        Ok(true)
    }

    fn put(&mut self, name: &[u8], value: &[u8]) -> Result<bool, redb::StorageError> {
        let mut tally = self.tally;
        if let Some(old) = self.records.get(name)? {
            tally.remove(self.keys, name, old.value());
        }
        tally.add(self.keys, name, value);
        if tally.records > MOST_RECORDS || tally.bytes > MOST_BYTES || value.len() > LONGEST + OVERHEAD {
            return Ok(false);
        }
        self.records.insert(name, value)?;
        self.tally = tally;
        Ok(true)
    }

    fn delete(&mut self, name: &[u8]) -> Result<(), redb::StorageError> {
        if let Some(old) = self.records.remove(name)? {
            self.tally.remove(self.keys, name, old.value());
        }
        Ok(())
    }

    /// Which merge is finalized, according to the record `name`.
    fn merge(&self, name: &[u8]) -> Result<Option<ShuffleMergeId>, redb::StorageError> {
        let Some(value) = self.records.get(name)? else { return Ok(None) };
        let text = self.keys.open(name, value.value());
        Ok(text.and_then(|text| FinalizedRecord::decode(&text)).map(|record| record.merge))
    }

    /// How the executor of the record `name` was registered; a record that does not open proves nothing.
    fn proof(&self, name: &[u8]) -> Result<Proof, redb::StorageError> {
        let Some(value) = self.records.get(name)? else { return Ok(Proof::Unproven) };
        let text = self.keys.open(name, value.value());
        let record = text.and_then(|text| ExecutorRecord::decode(&text));
        Ok(record.map_or(Proof::Unproven, |record| record.proof))
    }

    fn beginning_with(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, redb::StorageError> {
        let mut names = Vec::new();
        for entry in self.records.range(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            names.push(name.value().to_vec());
        }
        Ok(names)
    }

    /// Writes the tally; how many records there are, or `None` where nothing changed.
    fn finish(self) -> Result<Option<u64>, String> {
        if self.tally == self.before {
            return Ok(None);
        }
        let value = self.keys.seal(&tally::NAME, &self.tally.encode()).map_err(|error| error.to_string())?;
        self.records.insert(&tally::NAME[..], &value[..]).map_err(|error| error.to_string())?;
        Ok(Some(self.tally.records))
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Keep;
    use super::super::tests::fixture::{Fixture, register};
    use super::*;
    use crate::state::State;

    fn without_file(fixture: &Fixture, state: &State) -> Writer {
        Writer { path: fixture.file(), keys: Arc::clone(&state.keys), database: None, gate: Arc::default() }
    }

    #[test]
    fn a_file_that_was_given_up_is_opened_anew() {
        let fixture = Fixture::new();
        let (state, _) = fixture.open();
        register(&state, "a", "0", "/d");
        state.close();
        let mut writer = without_file(&fixture, &state);
        let queue = Queue::new(0);
        let delete = || Change::DeleteAll { prefix: b"nothing".to_vec() };
        queue.push(vec![delete()], Keep::UntilWritten).detach();
        assert!(writer.commit(&queue.take().unwrap()).is_ok());
        drop(writer);

        let other = Fixture::new();
        other.open().0.close();
        std::fs::rename(other.file(), fixture.file()).unwrap();
        let mut writer = without_file(&fixture, &state);
        queue.push(vec![delete()], Keep::UntilWritten).detach();
        let refused = writer.commit(&queue.take().unwrap()).err();
        assert_eq!(refused.as_deref(), Some("another store has taken its place"));
    }
}
