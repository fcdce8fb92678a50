//! The output of a connection, from heads and file regions to sealed segments.
//!
//! The plan of copies, per segment:
//!
//! ```text
//! head bytes        ─ copied (tens of bytes) ─┐
//! page cache / disk ─ one read into place ────┴► segment ─ sealed in place ─► one write
//! ```
//!
//! Content that is sealed at rest is opened on its way from a buffer into the segment, where the target is one place
//! (AES-CTR, in clear) and there is room. Otherwise it is opened in the buffer and copied.
//!
//! Small answers share a segment; a large body takes as many as it needs. The socket pulls: a new segment is filled
//! only when the last one has gone out.
//!
//! On a clear connection a large body needs no segment if it lies in a file as it is and the page cache has it:
//!
//! ```text
//! head bytes ─ copied ─► segment ─► one write
//! page cache ─ not copied, not resident here: a stretch at a time ─► sendfile
//! ```
//!
//! The write does not announce that more follows (`MSG_MORE`). Announcing it spares one packet of a hundred, and cost
//! a third more of the sender's time where it was measured, on loopback.
//!
//! `sendfile` cannot be told not to wait for a disk. So the page cache is asked first. A stretch that it does not
//! have takes the upper way, where reads can be told. The same holds for everything after a `sendfile` that moved
//! nothing: the read finds and reports the fault of the file (truncated, unreadable).

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Segment};
use sealed_shuffle_protocol::connection;
use thiserror::Error;

use super::phases::{Phase, Phases, Stopwatch};
use super::pool::{PooledSegment, SMALL, SegmentPool};
use super::pull::{Pull, PullError};
use super::stack::Stack;
use super::watcher::{Rider, Watcher};
use crate::lane::{Lane, LaneError, OnLane};
use crate::region::{OpenFile, ReadError, ReadNow, Region, is_at_hand, read_blocking, read_now};

/// One item of the output.
pub enum Outbound {
    /// Heads and small answers.
    Bytes(Bytes),
    /// A range of a file, or a body that is pulled from one.
    Region(Body),
    /// The next item begins another segment, and so another message of AES-GCM.
    Boundary,
    /// From here on, everything passes this layer, too.
    Layer(Box<dyn Layer>),
}

/// A body that is sent. It counts as in transfer until it is dropped.
#[derive(Debug)]
pub struct Body {
    source: Source,
    _ticket: Option<Ticket>,
    watcher: Option<Arc<dyn Watcher>>,
}

#[derive(Debug)]
enum Source {
    /// The bytes lie in a file as they are.
    Region(Region),
    /// The bytes come one part after the other. `None` while another thread fills it.
    Pull { pull: Option<Box<dyn Pull>>, len: u64 },
}

impl Body {
    /// A body that is not counted.
    pub fn new(region: Region) -> Self {
        Self { source: Source::Region(region), _ticket: None, watcher: None }
    }

    /// A body that is in transfer until the ticket is dropped with it.
    pub fn counted(region: Region, ticket: Ticket) -> Self {
        Self { source: Source::Region(region), _ticket: Some(ticket), watcher: None }
    }

    /// The same for a body that is pulled.
    pub fn pulled(pull: Box<dyn Pull>, ticket: Ticket) -> Self {
        if let Some(region) = pull.region() {
            return Self::counted(region, ticket);
        }
        let len = pull.remaining();
        Self { source: Source::Pull { pull: Some(pull), len }, _ticket: Some(ticket), watcher: None }
    }

    /// Has somebody told how it fares, if there is one. All segments with bytes of it are measured then.
    pub fn watched_by(self, watcher: Option<Arc<dyn Watcher>>) -> Self {
        Self { watcher, ..self }
    }
}

impl connection::Body for Body {
    fn len(&self) -> u64 {
        match &self.source {
            Source::Region(region) => region.len(),
            Source::Pull { len, .. } => *len,
        }
    }
}

/// Counts one transfer while it lives.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicU64>);

impl Ticket {
    /// Adds one to `counter` until dropped.
    pub fn take(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why nothing more can be sent on this connection.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// A region is shorter than expected, or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A pulled body is shorter than expected, damaged or unreadable.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// A layer refused to seal.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The thread that reads or seals for us died, or waits for a disk that does not answer.
    #[error("a block stopped in its midst: {0}")]
    Lane(#[from] LaneError),
}

/// Everything that waits to be written on one connection, in order.
pub struct Outbox {
    pool: SegmentPool,
    slow_lane: Lane,
    queue: VecDeque<Outbound>,
    /// Number of bytes in memory that wait in `queue`.
    queued_bytes: usize,
    /// Number of layers that wait in `queue`.
    queued_layers: usize,
    /// Number of bytes of the first region that have been taken.
    region_taken: u64,
    /// The sealed segment that is being written.
    segment: Option<PooledSegment>,
    written: usize,
    /// Whether the socket takes stretches of files.
    sends_files: bool,
    /// Bytes of the first region, from `region_taken` on, that go out without a segment; 0 while there is a segment.
    stretch: u64,
    /// Since when bytes of blocks are ready for the socket, where that is measured.
    ready: Option<Box<Stopwatch>>,
    /// Since when the connection waited for its turn, for the segment to come.
    wanted: Option<Instant>,
    /// Counts the segments of blocks, where some of them are measured.
    turn: u32,
    /// Number of bodies in `queue` that somebody watches.
    watched: usize,
    /// Those of them that have bytes in the segment, or the stretch, that is being filled or written.
    riders: Vec<Rider>,
}

/// A stretch of a file that goes out as it is.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// The file.
    pub file: &'a OpenFile,
    /// The offset in the file where it begins.
    pub offset: u64,
    /// Length in bytes; not 0.
    pub len: u64,
}

impl Outbox {
    /// An empty outbox. It takes its segments from `pool`, and slow ciphers seal in `slow_lane`.
    pub fn new(pool: SegmentPool, slow_lane: Lane) -> Self {
        let turn = pool.phases().map_or(0, Phases::first_turn);
        Self {
            turn,
            pool,
            slow_lane,
            queue: VecDeque::new(),
            queued_bytes: 0,
            queued_layers: 0,
            region_taken: 0,
            segment: None,
            written: 0,
            sends_files: false,
            stretch: 0,
            ready: None,
            wanted: None,
            watched: 0,
            riders: Vec::new(),
        }
    }

    /// From now on, a large body that needs no sealing may come as a [`Outbox::stretch`].
    pub fn send_files(&mut self) {
        self.sends_files = true;
    }

    /// The socket did not take a stretch: the same bytes, and all that follow, come in segments instead.
    pub fn send_no_files(&mut self) {
        self.sends_files = false;
        self.stretch = 0;
        self.ready = None;
    }

    /// Queues one thing behind all others.
    pub fn push(&mut self, outbound: Outbound) {
        match &outbound {
            Outbound::Bytes(bytes) if bytes.is_empty() => return,
            Outbound::Bytes(bytes) => self.queued_bytes += bytes.len(),
            Outbound::Layer(_) => self.queued_layers += 1,
            Outbound::Region(body) => self.watched += usize::from(body.watcher.is_some()),
            Outbound::Boundary => {}
        }
        self.queue.push_back(outbound);
    }

    /// Number of queued items that are not wholly in a segment.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Number of bytes of heads and small answers that are queued and not in a segment.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether a layer waits to be installed. Nothing may be read until it is.
    pub fn is_changing_layers(&self) -> bool {
        self.queued_layers > 0
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.segment.is_none()
    }

    /// Whether [`Outbox::prepare`] would make a segment or a stretch with a part of a block.
    pub fn awaits_turn(&self) -> bool {
        self.segment.is_none() && self.stretch == 0 && self.has_blocks()
    }

    /// The connection waited for its turn since then, which counts as waiting of the segment to come.
    pub fn wanted_turn(&mut self, since: Instant) {
        self.wanted = Some(since);
    }

    /// Sealed bytes that wait for the socket.
    pub fn unwritten(&self) -> &[u8] {
        self.segment.as_ref().map_or(&[], |segment| &segment.sealed()[self.written..])
    }

    /// A stretch of a file that waits for the socket. There is never a stretch together with [`Outbox::unwritten`].
    pub fn stretch(&self) -> Option<Stretch<'_>> {
        if self.stretch == 0 {
            return None;
        }
        let region = front_region(&self.queue)?;
        let offset = region.offset().checked_add(self.region_taken)?;
        Some(Stretch { file: region.file()?, offset, len: self.stretch })
    }

    /// The socket took `n` bytes of the stretch.
    pub fn sent(&mut self, n: usize) {
        let Some(region) = front_region(&self.queue) else { return };
        let left = region.len() - self.region_taken;
        self.stretch = self.stretch.saturating_sub(n as u64);
        self.taken(n, left);
        if self.stretch == 0 {
            self.has_gone_out();
        }
    }

    /// The socket took `n` bytes.
    pub fn wrote(&mut self, n: usize) {
        self.written += n;
        if self.unwritten().is_empty() {
            self.segment = None;
            self.written = 0;
            self.has_gone_out();
        }
    }

    /// The socket has the last byte of what was ready.
    fn has_gone_out(&mut self) {
        if let Some(mut watch) = self.ready.take() {
            watch.lap(Phase::Socket);
            if let Some(phases) = self.pool.phases().filter(|_| watch.counts) {
                phases.took(Phase::Socket, watch.took(Phase::Socket));
            }
            self.tell(&mut watch);
        }
        if !self.riders.is_empty() {
            self.riders.drain(..).for_each(|rider| rider.watcher.sent(rider.bytes));
        }
    }

    /// Tells who watches what has been measured.
    fn tell(&self, watch: &mut Stopwatch) {
        let laps = watch.take_laps();
        self.riders.iter().for_each(|rider| rider.tell(&laps));
    }

    /// Makes [`Outbox::unwritten`] non-empty, or [`Outbox::stretch`] some, if anything waits: fills one segment from
    /// the queue and seals it, if need be. Installs layers whose turn has come.
    ///
    /// Not cancel safe: a dropped call may have lost bytes, so the connection must be closed.
    pub async fn prepare(&mut self, stack: &mut Stack) -> Result<(), OutboxError> {
        if self.segment.is_some() || self.stretch > 0 {
            return Ok(());
        }
        while let Some(Outbound::Layer(_) | Outbound::Boundary) = self.queue.front() {
            if let Some(Outbound::Layer(layer)) = self.queue.pop_front() {
                self.queued_layers -= 1;
                stack.push(layer);
            }
        }
        if let Some(own) = stack.pending_output()? {
            return self.prepare_own(&own).await;
        }
        if self.queue.is_empty() || !stack.is_ready() {
            return Ok(());
        }
        let sends_files = self.sends_files && stack.is_clear();
        if sends_files && let Some(region) = front_region(&self.queue).filter(|region| is_large(region)) {
            let len = (region.len() - self.region_taken).min(STRETCH);
            if is_at_hand(region, self.region_taken, len) {
                self.stretch = len;
                self.ready = self.stopwatch();
                if let Some(watch) = &mut self.ready {
                    watch.lap(Phase::Queue);
                }
                return Ok(());
            }
        }
        let has_blocks = self.has_blocks();
        let mut watch = if has_blocks { self.stopwatch() } else { None };
        let small = !has_blocks && self.queued_bytes <= SMALL;
        let mut segment = self.pool.segment(stack.buffers(), small).await;
        if let Some(watch) = &mut watch {
            watch.lap(Phase::Queue);
        }
        let mut took_blocks = false;
        segment.reset(stack.layout());
        let plain_room = stack.plain_capacity(self.pool.segment_size());
        let mut room = plain_room;
        while room > 0 {
            match self.queue.front_mut() {
                None | Some(Outbound::Layer(_) | Outbound::Boundary) => break,
                Some(Outbound::Bytes(bytes)) => {
                    let n = segment.put(&bytes[..bytes.len().min(room)]);
                    room -= n;
                    self.queued_bytes -= n;
                    bytes.advance(n);
                    if bytes.is_empty() {
                        self.queue.pop_front();
                    } else if n == 0 {
                        break;
                    }
                }
                Some(Outbound::Region(Body { source: Source::Region(region), .. }))
                    if sends_files && is_large(region) && room < plain_room =>
                {
                    break;
                }
                Some(Outbound::Region(_)) => {
                    let n = match self.take_now(&mut segment, room)? {
                        Some(n) => n,
                        None => {
                            let (back, n) = self.take_from_disk(segment, room, watch.as_deref_mut()).await?;
                            segment = back;
                            n
                        }
                    };
                    took_blocks = true;
                    room -= n;
                    if n == 0 {
                        break;
                    }
                }
            }
        }
        // What lies before a boundary may be heads alone.
        let mut watch = watch.filter(|_| took_blocks);
        if let Some(watch) = &mut watch {
            watch.lap(Phase::Disk);
        }
        self.segment = Some(seal(&self.slow_lane, &self.pool, stack, segment).await?);
        if let Some(watch) = &mut watch {
            let is_sealed = !stack.is_clear();
            if is_sealed {
                watch.lap(Phase::Cipher);
            }
            if let Some(phases) = self.pool.phases().filter(|_| watch.counts) {
                phases.took(Phase::Queue, watch.took(Phase::Queue));
                phases.took(Phase::Disk, watch.took(Phase::Disk));
                if is_sealed {
                    phases.took(Phase::Cipher, watch.took(Phase::Cipher));
                }
            }
            self.tell(watch);
        }
        self.ready = watch;
        Ok(())
    }

    /// Begins to measure a segment, if it is its turn or somebody watches: since the connection waits for its turn.
    fn stopwatch(&mut self) -> Option<Box<Stopwatch>> {
        let phases = self.pool.phases()?;
        self.turn = self.turn.wrapping_add(1);
        let (counts, is_watched) = (phases.measures(self.turn), self.watched > 0);
        let wanted = self.wanted.take();
        // Most segments have none, and should not carry the room for one about.
        (counts || is_watched)
            .then(|| Box::new(Stopwatch::since(wanted.unwrap_or_else(Instant::now), counts, is_watched)))
    }

    /// Whether bytes of blocks wait, beside heads and answers.
    fn has_blocks(&self) -> bool {
        self.queue.iter().any(|outbound| matches!(outbound, Outbound::Region(_)))
    }

    /// A layer's own output goes out as it is, in a segment of its own.
    async fn prepare_own(&mut self, own: &[u8]) -> Result<(), OutboxError> {
        let mut segment = self.pool.segment(1, true).await;
        segment.reset(sealed_shuffle_protocol::cipher::Layout::BARE);
        let taken = segment.put(own);
        debug_assert_eq!(taken, own.len(), "handshakes, alerts and tickets are smaller than a segment");
        segment.mark_sealed();
        self.segment = Some(segment);
        Ok(())
    }

    /// Takes at most `room` bytes from the first body without waiting for a disk. `None`: somebody has to wait.
    fn take_now(&mut self, segment: &mut PooledSegment, room: usize) -> Result<Option<usize>, OutboxError> {
        let Some(Outbound::Region(body)) = self.queue.front_mut() else { return Ok(Some(0)) };
        let left = connection::Body::len(body) - self.region_taken;
        let n = match &mut body.source {
            Source::Region(region) => {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(room);
                match read_now(region, self.region_taken, &mut pieces(segment, want))? {
                    ReadNow::WouldBlock => return Ok(None),
                    ReadNow::Read(n) => {
                        segment.advance(n);
                        n
                    }
                }
            }
            Source::Pull { pull, .. } => {
                let pull = pull.as_mut().ok_or_else(|| cut_short(left))?;
                match put_now(pull.as_mut(), segment, room, left)? {
                    // The item fits into the next segment, and this one is full enough.
                    Some(0) if segment.len() >= segment.remaining() => 0,
                    None | Some(0) if !pull.fill_now()? => return Ok(None),
                    None | Some(0) => put(pull.as_mut(), segment, room, left)?,
                    Some(n) => n,
                }
            }
        };
        self.taken(n, left);
        Ok(Some(n))
    }

    /// The same on the lane of the disk. What was waited for its thread is no time of the disk.
    async fn take_from_disk(
        &mut self,
        mut segment: PooledSegment,
        room: usize,
        watch: Option<&mut Stopwatch>,
    ) -> Result<(PooledSegment, usize), OutboxError> {
        let asked = Instant::now();
        let Some(Outbound::Region(body)) = self.queue.front_mut() else { return Ok((segment, 0)) };
        let left = connection::Body::len(body) - self.region_taken;
        let n = match &mut body.source {
            Source::Region(region) => {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(room);
                let (region, position) = (region.clone(), self.region_taken);
                let Some(lane) = region.file().map(|file| file.lane().clone()) else {
                    return Ok((segment, 0));
                };
                let read = move |on: &OnLane| {
                    let began = Instant::now();
                    let n = read_blocking(on, &region, position, &mut pieces(&mut segment, want));
                    (segment, n, [began, Instant::now()])
                };
                let (back, n, read) = lane.run_for(&self.pool.tenant(), read).await?;
                took_thread(watch, asked, read);
                let n = n?;
                segment = back;
                segment.advance(n);
                n
            }
            Source::Pull { pull: slot, .. } => {
                let mut pull = slot.take().ok_or_else(|| cut_short(left))?;
                let lane = pull.lane();
                let fill = move |on: &OnLane| {
                    let began = Instant::now();
                    let filled = pull.fill_blocking(on);
                    (pull, filled, [began, Instant::now()])
                };
                let (pull, filled, read) = lane.run_for(&self.pool.tenant(), fill).await?;
                took_thread(watch, asked, read);
                filled?;
                put(slot.insert(pull).as_mut(), &mut segment, room, left)?
            }
        };
        self.taken(n, left);
        Ok((segment, n))
    }

    /// The segment holds `n` of the `left` bytes of the first body.
    fn taken(&mut self, n: usize, left: u64) {
        self.region_taken += n as u64;
        let is_watched = self.watched > 0 && self.rides(n as u64);
        if n as u64 == left {
            self.queue.pop_front();
            self.region_taken = 0;
            self.watched -= usize::from(is_watched);
        }
    }

    /// `bytes` of the first body are in the segment; whether somebody watches it.
    fn rides(&mut self, bytes: u64) -> bool {
        let Some(Outbound::Region(Body { watcher: Some(watcher), .. })) = self.queue.front() else {
            return false;
        };
        match self.riders.last_mut().filter(|last| Arc::ptr_eq(&last.watcher, watcher)) {
            Some(last) => last.bytes += bytes,
            None => self.riders.push(Rider { watcher: Arc::clone(watcher), bytes }),
        }
        true
    }
}

impl Drop for Outbox {
    /// A connection that ends in the midst of a segment says how long its socket took none of it.
    fn drop(&mut self) {
        if let Some(mut watch) = self.ready.take().filter(|_| !self.riders.is_empty()) {
            watch.lap(Phase::Socket);
            self.tell(&mut watch);
        }
    }
}

/// A thread of the disk worked from its begin to its end, and the rest since it was `asked` for was waiting.
fn took_thread(watch: Option<&mut Stopwatch>, asked: Instant, [began, ended]: [Instant; 2]) {
    if let Some(watch) = watch {
        watch.lap_until(Phase::Disk, asked);
        watch.lap_until(Phase::Queue, began);
        watch.lap_until(Phase::Disk, ended);
        watch.lap(Phase::Queue);
    }
}

/// Most bytes that one `sendfile` moves, so that one connection does not hold a thread for long.
const STRETCH: u64 = 512 << 10;

/// Smaller bodies are copied into a segment, and many go out by one write. Over loopback the two ways cost the sender
/// the same at 32 KiB; at 64 KiB `sendfile` costs two thirds of the copy.
const SENT_FROM: u64 = 64 << 10;

fn is_large(region: &Region) -> bool {
    region.len() >= SENT_FROM
}

/// The next body, if it lies in a file.
fn front_region(queue: &VecDeque<Outbound>) -> Option<&Region> {
    match queue.front()? {
        Outbound::Region(Body { source: Source::Region(region), .. }) => Some(region),
        _ => None,
    }
}

/// Puts the next bytes of a body directly into their target, if the target is one place and not many.
fn put_now(
    pull: &mut dyn Pull,
    segment: &mut Segment,
    room: usize,
    left: u64,
) -> Result<Option<usize>, OutboxError> {
    let mut spare = segment.spare(room);
    let (Some(out), None) = (spare.next(), spare.next()) else { return Ok(None) };
    let Some(n) = pull.put_now(out)? else { return Ok(None) };
    if n as u64 > left {
        return Err(cut_short(left));
    }
    segment.advance(n);
    Ok(Some(n))
}

/// Copies the ready bytes of a pulled body.
fn put(pull: &mut dyn Pull, segment: &mut Segment, room: usize, left: u64) -> Result<usize, OutboxError> {
    let plain = pull.plain();
    if plain.is_empty() || plain.len() as u64 > left {
        return Err(cut_short(left));
    }
    let n = segment.put(&plain[..plain.len().min(room)]);
    pull.consume(n);
    Ok(n)
}

/// A body ended before its length.
fn cut_short(left: u64) -> OutboxError {
    OutboxError::Pull(PullError(format!("a block ended {left} bytes before its end")))
}

/// Seals at once, or in the lane of slow ciphers.
async fn seal(
    slow_lane: &Lane,
    pool: &SegmentPool,
    stack: &mut Stack,
    mut segment: PooledSegment,
) -> Result<PooledSegment, OutboxError> {
    if !stack.is_slow() {
        stack.seal(&mut segment)?;
        return Ok(segment);
    }
    let mut layers = std::mem::take(stack);
    let work = move |_: &OnLane| {
        let sealed = layers.seal(&mut segment);
        (layers, segment, sealed)
    };
    let (layers, segment, sealed) = slow_lane.run_for(&pool.tenant(), work).await?;
    *stack = layers;
    sealed?;
    Ok(segment)
}

/// The free places of a segment as targets of one scattered read.
fn pieces(segment: &mut PooledSegment, want: usize) -> Vec<IoSliceMut<'_>> {
    segment.spare(want).map(IoSliceMut::new).collect()
}

#[cfg(test)]
mod tests;
