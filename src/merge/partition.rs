//! The state of one partition that is being merged. Its pushes take turns.
//!
//! ```text
//!               data of m            complete: bytes count, m is merged
//!  no writer ─────────────► m writes ──────────────────────────────────► no writer
//!                              └────── m is lost: its bytes do not count ────┘
//! ```
//!
//! Origin: `RemoteBlockPushResolver.AppShufflePartitionInfo`, Spark 4.3.0.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use roaring::RoaringBitmap;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::{Account, Holding};
use tracing::warn;

use super::error::WriteCause;
use super::storage::PartitionWriter;

/// One partition of an open shuffle.
#[derive(Debug)]
pub(super) struct Partition {
    state: Mutex<State>,
    /// It is over: whoever has its state next closes it.
    is_over: AtomicBool,
    /// Pushes that were lost while somebody had the state: whoever has it next aborts them.
    lost: Mutex<Vec<u64>>,
}

impl Partition {
    /// A partition without files, that has its `place` among the open ones. Its map indexes are on `account`.
    pub(super) fn new(place: Holding, account: Account) -> Self {
        let state = Mutex::new(State {
            place: Some(place),
            account,
            charged: Vec::new(),
            uncharged: 0,
            files: Files::None,
            writer: None,
            merged: RoaringBitmap::new(),
            behind_chunk: RoaringBitmap::new(),
            len: 0,
            chunk_end: 0,
            errors: 0,
        });
        Self { state, is_over: AtomicBool::new(false), lost: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.settle(&mut state);
        state
    }

    /// Does what was left to whoever has the state; how many written bytes were dropped.
    fn settle(&self, state: &mut State) -> u64 {
        let lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
        let writing = state.writer.filter(|writing| lost.contains(&writing.push));
        if writing.is_some() {
            state.abort();
        }
        if self.is_over.load(Ordering::SeqCst) {
            state.close();
        }
        writing.map_or(0, |writing| writing.written)
    }

    fn try_settle(&self) -> u64 {
        match self.state.try_lock() {
            Ok(mut state) => self.settle(&mut state),
            Err(TryLockError::Poisoned(state)) => self.settle(&mut state.into_inner()),
            Err(TryLockError::WouldBlock) => 0,
        }
    }

    /// A push is lost: if it writes, its bytes do not count. Waits for nobody: where somebody has the state, who may wait for
    /// a disk, the next one does it. How many written bytes were dropped now.
    pub(super) fn give_up(&self, push: u64) -> u64 {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(push);
        self.try_settle()
    }

    /// Closes the files, also beneath a writer, and waits for nobody; false where somebody has the state, who may wait for a
    /// disk: who has it closes them when he comes back.
    pub(super) fn try_close(&self) -> bool {
        self.is_over.store(true, Ordering::SeqCst);
        match self.state.try_lock() {
            Ok(mut state) => _ = self.settle(&mut state),
            Err(TryLockError::Poisoned(state)) => _ = self.settle(&mut state.into_inner()),
            Err(TryLockError::WouldBlock) => return false,
        }
        true
    }
}

/// Map indexes that cost no memory of the share: a partition with its files costs more.
const UNCHARGED: u32 = 256;

/// Memory of map indexes is taken in such pieces.
const CHARGE: u64 = 4 << 10;

/// The state under the lock.
#[derive(Debug)]
pub(super) struct State {
    /// Its place among the open partitions; none once it is closed.
    place: Option<Holding>,
    /// The memory of its map indexes, and the account that it is on.
    charged: Vec<Holding>,
    account: Account,
    /// Map indexes that came since the memory was taken.
    uncharged: u32,
    pub(super) files: Files,
    /// The push that writes now.
    pub(super) writer: Option<CurrentWriter>,
    /// Merged map indexes.
    pub(super) merged: RoaringBitmap,
    /// The merged map indexes behind the last chunk.
    behind_chunk: RoaringBitmap,
    /// Number of merged bytes, and the end of the last chunk.
    len: u64,
    chunk_end: u64,
    /// Number of disk errors.
    pub(super) errors: u32,
}

/// The files of a partition.
#[derive(Debug)]
pub(super) enum Files {
    /// Not made yet.
    None,
    /// The files are being written.
    Open(Box<dyn PartitionWriter>),
    /// The files are finalized or deleted, or were never made because there was no place.
    Closed,
    /// Something bears the names of its files, and may have been finalized: nothing is merged here.
    InDoubt,
}

/// A push that writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CurrentWriter {
    pub(super) map: u32,
    /// Number that tells pushes of the same block apart.
    pub(super) push: u64,
    /// Number of bytes written.
    pub(super) written: u64,
}

/// What became of a partition that was finalized.
pub(super) struct Finalization {
    /// Map indexes that readers find in it.
    pub(super) merged: RoaringBitmap,
    /// Its length in bytes.
    pub(super) len: u64,
}

impl State {
    /// Writes pieces for the writer.
    pub(super) fn append(&mut self, on: &OnLane, pieces: &[&[u8]]) -> io::Result<()> {
        self.open()?.append(on, pieces)?;
        if let Some(writing) = &mut self.writer {
            writing.written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        }
        Ok(())
    }

    /// Counts the writer's block from now on. An error comes from the disk; then the block does not count.
    pub(super) fn commit(&mut self, map: u32) -> io::Result<()> {
        if let Files::Open(files) = &mut self.files {
            files.commit()?;
        }
        self.len += self.writer.take().map_or(0, |writing| writing.written);
        self.merged.insert(map);
        self.behind_chunk.insert(map);
        self.uncharged += 1;
        Ok(())
    }

    /// Takes memory for the map indexes that came since it did so last, and for as many again. False where the share of
    /// the application is used up: then no further block is merged.
    pub(super) fn charge(&mut self) -> bool {
        if self.uncharged < UNCHARGED {
            return true;
        }
        let size = self.merged.serialized_size() + self.behind_chunk.serialized_size();
        let charged: u64 = self.charged.iter().map(Holding::amount).sum();
        // A vector that grows has up to twice what is in it.
        let wanted = (2 * size as u64).saturating_sub(charged);
        if wanted > 0 {
            let Ok(share) = self.account.try_take(wanted.next_multiple_of(CHARGE)) else { return false };
            self.charged.push(share);
        }
        self.uncharged = 0;
        true
    }

    /// Ends a chunk if there is enough for one. After an error there will be more for the next.
    pub(super) fn close_chunk_from(&mut self, on: &OnLane, min_chunk: u64) -> io::Result<()> {
        let is_full = matches!(&self.files, Files::Open(files) if files.is_chunk_full());
        if self.len - self.chunk_end >= min_chunk || is_full {
            return self.close_chunk(on);
        }
        Ok(())
    }

    /// Drops the bytes that the writer has written.
    pub(super) fn abort(&mut self) {
        self.writer = None;
        if let Files::Open(files) = &mut self.files {
            files.abort();
        }
    }

    /// Ends the partition. `None` where its files could not be finished.
    pub(super) fn finalize(&mut self, on: &OnLane) -> io::Result<Finalization> {
        self.abort();
        self.place = None;
        if self.len != self.chunk_end
            && let Err(error) = self.close_chunk(on)
        {
            warn!(%error, "the last chunk of a merged partition cannot be written: what is in it is left out");
        }
        let mut merged = std::mem::take(&mut self.merged);
        if self.len != self.chunk_end {
            // Spark lists these, too, and its readers then miss them: blocks in no chunk must be read elsewhere.
            merged -= &self.behind_chunk;
        }
        match std::mem::replace(&mut self.files, Files::Closed) {
            Files::Open(files) => Ok(Finalization { merged, len: files.finalize(on)? }),
            Files::None | Files::Closed | Files::InDoubt => Err(closed()),
        }
    }

    fn close(&mut self) {
        self.files = Files::Closed;
        self.place = None;
        self.charged.clear();
    }

    fn close_chunk(&mut self, on: &OnLane) -> io::Result<()> {
        let mut bitmap = Vec::with_capacity(self.behind_chunk.serialized_size());
        self.behind_chunk.serialize_into(&mut bitmap)?;
        self.open()?.close_chunk(on, &bitmap)?;
        self.chunk_end = self.len;
        self.behind_chunk.clear();
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut Box<dyn PartitionWriter>> {
        match &mut self.files {
            Files::Open(files) => Ok(files),
            Files::None | Files::Closed | Files::InDoubt => Err(closed()),
        }
    }
}

/// A file was closed beneath a writer.
#[derive(Debug, thiserror::Error)]
#[error("the files of the partition were closed")]
pub(super) struct FilesClosed;

fn closed() -> io::Error {
    io::Error::other(FilesClosed)
}

/// What a disk's error means for the block that was to be written.
pub(super) fn cause(error: &io::Error) -> WriteCause {
    let is_closed = error.get_ref().is_some_and(|inner| inner.is::<FilesClosed>());
    match is_closed {
        true => WriteCause::FilesClosed,
        false => WriteCause::Disk(error.to_string()),
    }
}
