//! One pushed block: its header, its bytes as they come, and its end.
//!
//! Bytes go directly into the partition while nobody else writes there; otherwise they wait in memory. A push that is
//! dropped before its end was lost with its connection, and its bytes do not count.
//!
//! One rule is stricter than Spark's. If bytes of a push were ignored (another push of the same block was writing, or
//! the deferred blocks have used up their memory), the rest of the push is never written, even if the other writer
//! fails. Such a push ends as a collision.
//!
//! Origin: `RemoteBlockPushResolver.receiveBlockDataAsStream` and its `PushBlockStreamCallback`, Spark 4.3.0.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{BlockPushReturnCode, PushBlockStream, ReturnCode};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::{Holding, UsedUp};
use tracing::{info, warn};

use super::application::{App, Phase, Shuffle};
use super::deferred::DeferredPush;
use super::error::{MergeError, WriteCause};
use super::merger::{Counters, Merger};
use super::names::push_name;
use super::partition::{CurrentWriter, Files, Partition, State, cause};
use super::storage::CreateError;

/// A pushed block that is arriving.
#[derive(Debug)]
pub struct Push {
    merger: Arc<Merger>,
    block: String,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    /// Its bytes are ignored; the code is its answer.
    Ignored(ReturnCode),
    /// The block may still be merged.
    Merging(ActivePush),
    /// The push was answered, or failed.
    Over,
}

#[derive(Debug)]
struct ActivePush {
    app: Arc<App>,
    partition: Arc<Partition>,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
    reduce: ReduceId,
    map: u32,
    /// Number that tells it from other pushes of the same block.
    push: u64,
    deferred: DeferredPush,
    /// Its part of the application's quota; none without one.
    room: Option<Holding>,
    /// Bytes of it were ignored.
    has_gaps: bool,
}

/// Why no bytes of a pushed block are taken. They cannot be skipped, so the connection ends after the answer.
#[derive(Debug)]
pub enum PushRefusal {
    /// The push is of an attempt that is not the current one.
    Code(BlockPushReturnCode),
    /// Any other failure.
    Failed(MergeError),
}

impl From<MergeError> for PushRefusal {
    fn from(error: MergeError) -> Self {
        Self::Failed(error)
    }
}

/// The longest block. A longer one could not be served, since a chunk travels in one frame.
const MOST_BYTES: u64 = i32::MAX as u64;

impl Merger {
    /// Takes the header of a pushed block of `len` bytes.
    pub fn begin(
        self: &Arc<Self>,
        on: &OnLane,
        push: &PushBlockStream,
        len: u64,
    ) -> Result<Push, PushRefusal> {
        let (app, block) = self.addressed(push)?;
        if self.has_retired() {
            let fate = Fate::Ignored(ReturnCode::BlockAppendCollisionDetected);
            return Ok(Push { merger: Arc::clone(self), block, fate });
        }
        let map = check(push, len)?;
        let fate = match self.find_partition(&app, push)? {
            PushTarget::Over(code) => {
                Counters::add(&self.counters.late, 1);
                Fate::Ignored(code)
            }
            PushTarget::Partition(partition) => self.join(on, app, partition, push, (map, len), &block)?,
        };
        Ok(Push { merger: Arc::clone(self), block, fate })
    }

    /// Takes the header of a pushed block whose bytes are to be dropped: a disk takes no files. The block stays unmerged,
    /// and readers fetch the original. The pusher goes on with other blocks: Spark stops pushing to a server at other codes,
    /// and tries a block again where a connection ends.
    pub fn leave_out(self: &Arc<Self>, push: &PushBlockStream) -> Result<Push, PushRefusal> {
        let (_, block) = self.addressed(push)?;
        Counters::add(&self.counters.collisions, 1);
        let fate = Fate::Ignored(ReturnCode::BlockAppendCollisionDetected);
        Ok(Push { merger: Arc::clone(self), block, fate })
    }

    /// The application that a block is pushed for, and the block's name.
    fn addressed(&self, push: &PushBlockStream) -> Result<(Arc<App>, String), PushRefusal> {
        let app = self.app(&push.app)?;
        let block = push_name(push);
        if app.attempt != push.app_attempt {
            let code = ReturnCode::TooOldAttemptPush;
            return Err(PushRefusal::Code(BlockPushReturnCode { code, failure_block: block }));
        }
        Ok((app, block))
    }

    fn find_partition(&self, app: &Arc<App>, push: &PushBlockStream) -> Result<PushTarget, MergeError> {
        let mut shuffles = app.shuffles();
        let shuffle = match shuffles.get_mut(&push.shuffle) {
            Some(shuffle) if shuffle.merge > push.merge => {
                return Ok(PushTarget::Over(ReturnCode::StaleBlockPush));
            }
            Some(shuffle) if shuffle.merge == push.merge => shuffle,
            Some(shuffle) => {
                let old = shuffle.begin(push.merge);
                // Files of a finalized merge stay, since somebody may read them.
                match old.phase {
                    Phase::Open(_) => self.delete_later(app, push.shuffle, old),
                    Phase::Finalized(_) => {
                        self.journal.superseded(&app.id, app.attempt, push.shuffle, old.merge);
                    }
                }
                shuffle
            }
            None => {
                let place = app.accounts.shuffles.try_take(1);
                let place = place.map_err(|used_up| self.no_place(app, push, &used_up))?;
                shuffles.entry(push.shuffle).or_insert_with(|| Shuffle::open(place, push.merge))
            }
        };
        let Phase::Open(partitions) = &mut shuffle.phase else {
            return Ok(PushTarget::Over(ReturnCode::TooLateBlockPush));
        };
        if let Some(partition) = partitions.get(&push.reduce) {
            return Ok(PushTarget::Partition(Arc::clone(partition)));
        }
        let place = app.accounts.partitions.try_take(1);
        let place = place.map_err(|used_up| self.no_place(app, push, &used_up))?;
        let partition = Arc::new(Partition::new(place, app.accounts.bitmaps.clone()));
        partitions.insert(push.reduce, Arc::clone(&partition));
        Ok(PushTarget::Partition(partition))
    }

    /// Makes the partition's files if this is its first push, and checks whether the block is merged already.
    fn join(
        &self,
        on: &OnLane,
        app: Arc<App>,
        partition: Arc<Partition>,
        push: &PushBlockStream,
        (map, len): (u32, u64),
        block: &str,
    ) -> Result<Fate, MergeError> {
        let mut state = partition.lock();
        if matches!(state.files, Files::None)
            && let Err(refused) = self.create(on, &app, &mut state, push)
        {
            drop(state);
            return self.not_made(&app, push, &partition, refused);
        }
        if matches!(state.files, Files::InDoubt) {
            Counters::add(&self.counters.collisions, 1);
            return Ok(Fate::Ignored(ReturnCode::BlockAppendCollisionDetected));
        }
        if state.merged.contains(map) {
            Counters::add(&self.counters.late, 1);
            return Ok(Fate::Ignored(ReturnCode::Success));
        }
        self.check_errors(&state, block)?;
        let room = app.accounts.merged_bytes.as_ref().map(|account| account.try_take(len)).transpose();
        let (Ok(room), true) = (room, state.charge()) else {
            // The block stays unmerged, and readers fetch the original. The pusher goes on with other blocks.
            Counters::add(&self.counters.collisions, 1);
            return Ok(Fate::Ignored(ReturnCode::BlockAppendCollisionDetected));
        };
        drop(state);
        let push_number = self.next_push.fetch_add(1, Ordering::Relaxed);
        Ok(Fate::Merging(ActivePush {
            app,
            partition,
            shuffle: push.shuffle,
            merge: push.merge,
            reduce: push.reduce,
            map,
            push: push_number,
            deferred: DeferredPush::default(),
            room,
            has_gaps: false,
        }))
    }

    fn create(
        &self,
        on: &OnLane,
        app: &App,
        state: &mut State,
        push: &PushBlockStream,
    ) -> Result<(), NotMade> {
        let partition = app.partition_id(push.shuffle, push.merge, push.reduce);
        let names = || [partition.data_name(), partition.index_name(), partition.meta_name()];
        let made = match () {
            () if app.is_over.load(Ordering::SeqCst) => {
                Err(CreateError::Failed(io::Error::other("the attempt is over")))
            }
            () if !partition.is_nameable() => {
                Err(CreateError::Failed(io::Error::other("the application's id names no file")))
            }
            () if names().iter().any(|name| self.chores.holds(app, name)) => return Err(NotMade::Later),
            () => app.files.create(on, &partition),
        };
        match made {
            Ok(files) => {
                state.files = Files::Open(files);
                Ok(())
            }
            Err(CreateError::Finalized) => {
                state.files = Files::Closed;
                Err(NotMade::Finalized)
            }
            Err(CreateError::InDoubt { why }) => {
                state.files = Files::InDoubt;
                warn!(%partition, "nothing is merged into a partition: {why}");
                Err(NotMade::InDoubt)
            }
            Err(CreateError::Failed(error)) => {
                state.files = Files::Closed;
                let error = MergeError::Create { partition, why: error.to_string() };
                warn!(%error, "a pushed block was refused");
                Err(NotMade::Failed(error))
            }
        }
    }

    /// What becomes of a block whose partition has no files.
    fn not_made(
        &self,
        app: &App,
        push: &PushBlockStream,
        partition: &Arc<Partition>,
        why: NotMade,
    ) -> Result<Fate, MergeError> {
        let collides = || {
            Counters::add(&self.counters.collisions, 1);
            Ok(Fate::Ignored(ReturnCode::BlockAppendCollisionDetected))
        };
        match why {
            NotMade::InDoubt => collides(),
            NotMade::Later => {
                self.take_out(app, push, partition);
                collides()
            }
            NotMade::Failed(error) => {
                self.take_out(app, push, partition);
                Err(error)
            }
            NotMade::Finalized => {
                self.found_finalized(app, push);
                Counters::add(&self.counters.late, 1);
                Ok(Fate::Ignored(ReturnCode::TooLateBlockPush))
            }
        }
    }

    /// A partition on the disk says that the merge was finalized, which nobody remembered: now it is again. Files of
    /// partitions that were begun since stay as they are; nobody was told of them.
    fn found_finalized(&self, app: &App, push: &PushBlockStream) {
        let PushBlockStream { shuffle, merge, .. } = *push;
        let mut shuffles = app.shuffles();
        let Some(known) = shuffles.get_mut(&shuffle).filter(|known| known.merge == merge) else { return };
        if matches!(known.phase, Phase::Open(_)) {
            let open = known.end();
            self.journal.finalized(&app.id, app.attempt, shuffle, merge).detach();
            drop((shuffles, open));
            info!(app = %app.id, %shuffle, %merge, "a merge was finalized before a restart, as its files say");
        }
    }

    /// Takes a partition without files out of the table, so that the next push tries again.
    fn take_out(&self, app: &App, push: &PushBlockStream, partition: &Arc<Partition>) {
        let mut shuffles = app.shuffles();
        let Some(shuffle) = shuffles.get_mut(&push.shuffle).filter(|shuffle| shuffle.merge == push.merge)
        else {
            return;
        };
        if let Phase::Open(partitions) = &mut shuffle.phase
            && partitions.get(&push.reduce).is_some_and(|there| Arc::ptr_eq(there, partition))
        {
            partitions.remove(&push.reduce);
        }
    }

    fn no_place(&self, app: &App, push: &PushBlockStream, why: &UsedUp) -> MergeError {
        let partition = app.partition_id(push.shuffle, push.merge, push.reduce);
        MergeError::Create { partition, why: why.to_string() }
    }

    fn check_errors(&self, state: &State, block: &str) -> Result<(), MergeError> {
        if state.errors > self.settings.io_errors {
            return Err(MergeError::Threshold { block: block.to_owned() });
        }
        Ok(())
    }

    /// Counts a disk error, and says what it means for the block.
    fn count_error(&self, state: &mut State, block: &str, error: &io::Error) -> WriteCause {
        state.errors = state.errors.saturating_add(1);
        warn!(block, %error, errors = state.errors, "a disk error while merging");
        match self.check_errors(state, block) {
            Err(_) => WriteCause::TooManyErrors,
            Ok(()) => cause(error),
        }
    }
}

/// Why a partition has no files.
enum NotMade {
    /// It was finalized.
    Finalized,
    /// Something bears their names.
    InDoubt,
    /// Files of the application from before it ended are still to be deleted there.
    Later,
    Failed(MergeError),
}

enum PushTarget {
    Partition(Arc<Partition>),
    /// The merge has ended, or has a successor.
    Over(ReturnCode),
}

/// Checks the numbers of a push and returns the map index.
///
/// Spark accepts negative numbers. It would even treat a negative map index as that of no writer, so that two such
/// pushes would be written at once.
fn check(push: &PushBlockStream, len: u64) -> Result<u32, MergeError> {
    let absurd = |what: String| MergeError::Absurd { what };
    for (name, number) in [
        ("shuffleId", push.shuffle.0),
        ("shuffleMergeId", push.merge.0),
        ("reduceId", push.reduce.0),
        ("mapIndex", push.map_index),
    ] {
        if number < 0 {
            return Err(absurd(format!("{name} {number}")));
        }
    }
    if len > MOST_BYTES {
        return Err(absurd(format!("{len} bytes")));
    }
    u32::try_from(push.map_index).map_err(|_| absurd(format!("mapIndex {}", push.map_index)))
}

impl Push {
    /// Takes the next bytes. After an error the push is over, and so is its connection.
    pub fn data(&mut self, on: &OnLane, pieces: &[&[u8]]) -> Result<(), MergeError> {
        self.give_up_if_retired();
        let merger = &self.merger;
        let bytes = bytes_of(pieces);
        // A push without bytes does not become the writer.
        if bytes == 0 {
            return Ok(());
        }
        let Fate::Merging(merging) = &mut self.fate else {
            Counters::add(&merger.counters.ignored_bytes, bytes);
            return Ok(());
        };
        let Err(error) = merging.data(on, merger, &self.block, pieces) else { return Ok(()) };
        self.give_up();
        Err(error)
    }

    /// All bytes have come: the block is merged, or the answer says why not. The connection goes on in either case.
    pub fn complete(mut self, on: &OnLane) -> Result<BlockPushReturnCode, MergeError> {
        self.give_up_if_retired();
        let code = match &mut self.fate {
            Fate::Ignored(code) => *code,
            Fate::Merging(merging) => match merging.complete(on, &self.merger, &self.block) {
                Ok(code) => code,
                Err(error) => {
                    self.give_up();
                    return Err(error);
                }
            },
            // If a caller goes on after an error, there is nothing to complete.
            Fate::Over => ReturnCode::BlockAppendCollisionDetected,
        };
        self.fate = Fate::Over;
        let failure_block = match code {
            ReturnCode::Success => String::new(),
            _ => std::mem::take(&mut self.block),
        };
        Ok(BlockPushReturnCode { code, failure_block })
    }

    /// Where a successor merges, the rest of the block is ignored.
    fn give_up_if_retired(&mut self) {
        if matches!(self.fate, Fate::Merging(_)) && self.merger.has_retired() {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Fate::Merging(mut merging) = std::mem::replace(&mut self.fate, Fate::Over) {
            merging.fail(&self.merger);
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl ActivePush {
    fn data(
        &mut self,
        on: &OnLane,
        merger: &Merger,
        block: &str,
        pieces: &[&[u8]],
    ) -> Result<(), MergeError> {
        let partition = Arc::clone(&self.partition);
        let mut state = partition.lock();
        if self.ended().is_some() || self.is_duplicate(&state) {
            self.ignore(merger, bytes_of(pieces));
            return Ok(());
        }
        let failed = |cause| MergeError::Write { block: block.to_owned(), cause };
        merger.check_errors(&state, block).map_err(|_| failed(WriteCause::TooManyErrors))?;
        if self.has_gaps {
            self.ignore(merger, bytes_of(pieces));
            return Ok(());
        }
        if state.writer.is_some_and(|writing| writing.push != self.push) {
            if !pieces.iter().all(|piece| {
                self.deferred.push(piece, &self.app.accounts.deferred, &merger.pots.deferred_blocks)
            }) {
                self.ignore(merger, bytes_of(pieces));
            }
            return Ok(());
        }
        let written = self.write(on, merger, &mut state, pieces);
        written.map_err(|error| failed(merger.count_error(&mut state, block, &error)))
    }

    fn complete(&mut self, on: &OnLane, merger: &Merger, block: &str) -> Result<ReturnCode, MergeError> {
        let partition = Arc::clone(&self.partition);
        let mut state = partition.lock();
        if let Some(code) = self.ended() {
            match code {
                ReturnCode::TooLateBlockPush => Counters::add(&merger.counters.late, 1),
                _ => Counters::add(&merger.counters.stale, 1),
            }
            self.drop_deferred(merger);
            return Ok(code);
        }
        let is_duplicate = self.is_duplicate(&state);
        let is_writer = state.writer.is_some_and(|writing| writing.push == self.push);
        if is_duplicate {
            self.drop_deferred(merger);
            return Ok(ReturnCode::Success);
        }
        if self.has_gaps || (state.writer.is_some() && !is_writer) {
            Counters::add(&merger.counters.collisions, 1);
            self.drop_deferred(merger);
            return Ok(ReturnCode::BlockAppendCollisionDetected);
        }
        let failed = |cause| MergeError::Complete { block: block.to_owned(), cause };
        if !is_writer && !self.deferred.is_empty() {
            merger.check_errors(&state, block).map_err(|_| failed(WriteCause::TooManyErrors))?;
        }
        let written = self.write(on, merger, &mut state, &[]).and_then(|()| state.commit(self.map));
        written.map_err(|error| failed(merger.count_error(&mut state, block, &error)))?;
        if let Some(room) = self.room.take() {
            self.app.merged_bytes.add(self.shuffle, self.merge, room);
        }
        let Err(error) = state.close_chunk_from(on, merger.settings.min_chunk) else {
            return Ok(ReturnCode::Success);
        };
        // A chunk more or less does no harm until there are too many errors. The block stays merged even then.
        merger.count_error(&mut state, block, &error);
        merger.check_errors(&state, block).map_err(|_| failed(WriteCause::TooManyErrors))?;
        Ok(ReturnCode::Success)
    }

    /// The connection is lost. Waits for nobody.
    fn fail(&mut self, merger: &Merger) {
        self.drop_deferred(merger);
        let ignored = self.partition.give_up(self.push);
        Counters::add(&merger.counters.ignored_bytes, ignored);
    }

    /// Writes what was deferred, then `pieces`.
    fn write(&mut self, on: &OnLane, merger: &Merger, state: &mut State, pieces: &[&[u8]]) -> io::Result<()> {
        if state.writer.is_none() {
            state.writer = Some(CurrentWriter { map: self.map, push: self.push, written: 0 });
        }
        if self.deferred.is_empty() {
            return append(on, merger, state, pieces);
        }
        let all: Vec<_> = self.deferred.pieces().chain(pieces.iter().copied()).collect();
        append(on, merger, state, &all)?;
        self.deferred.clear(&merger.pots.deferred_blocks);
        Ok(())
    }

    /// The code of a push whose merge has ended meanwhile. "Too late" goes before "stale": a push is too late if a
    /// newer merge does not have this partition.
    fn ended(&self) -> Option<ReturnCode> {
        let shuffles = self.app.shuffles();
        let Some(shuffle) = shuffles.get(&self.shuffle) else { return Some(ReturnCode::TooLateBlockPush) };
        match &shuffle.phase {
            Phase::Open(partitions) if partitions.contains_key(&self.reduce) => {
                (shuffle.merge > self.merge).then_some(ReturnCode::StaleBlockPush)
            }
            Phase::Open(_) | Phase::Finalized(_) => Some(ReturnCode::TooLateBlockPush),
        }
    }

    /// Whether the block is merged, or being merged by another push of it.
    fn is_duplicate(&self, state: &State) -> bool {
        let is_being_written =
            state.writer.is_some_and(|writing| writing.map == self.map && writing.push != self.push);
        is_being_written || state.merged.contains(self.map)
    }

    fn ignore(&mut self, merger: &Merger, bytes: u64) {
        self.has_gaps |= bytes > 0;
        Counters::add(&merger.counters.ignored_bytes, bytes);
        self.drop_deferred(merger);
    }

    fn drop_deferred(&mut self, merger: &Merger) {
        let dropped = self.deferred.clear(&merger.pots.deferred_blocks);
        self.has_gaps |= dropped > 0;
        Counters::add(&merger.counters.ignored_bytes, dropped);
    }
}

fn append(on: &OnLane, merger: &Merger, state: &mut State, pieces: &[&[u8]]) -> io::Result<()> {
    let bytes = bytes_of(pieces);
    if bytes > 0 {
        state.append(on, pieces)?;
        Counters::add(&merger.counters.written_bytes, bytes);
    }
    Ok(())
}

fn bytes_of(pieces: &[&[u8]]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}
