//! What a name of the view shows, to whom, and how it is opened.
//!
//! Whatever may wait for a disk runs on the lane of that disk, as long as the disks may take. The kernel is told the owner
//! of each entry and a mode that lets nobody else in, and judges by that; whoever opens a file is judged here once more.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane};
use sealed_shuffle_transport::pot::Tenant;
use tracing::{debug, warn};

use super::names::{Attempt, Entry};
use super::stretch::Blocks;
use crate::disk::{BlockStore, Disk};
use crate::merge::{KnownAttempt, MergeError, Merger, PartitionId, PlainFile};

/// Root, which may read everything.
const ROOT: u32 = 0;

/// Files that keep a chunk open between two reads, with a descriptor and some 400 KiB of memory; others open it anew.
const MOST_KEPT: usize = 64;

/// All merged partitions of a server, as files.
#[derive(Debug)]
pub struct View {
    merger: Arc<Merger>,
    blocks: Arc<BlockStore>,
    /// As long as a disk may take.
    patience: Duration,
    counters: Counters,
    kept: AtomicUsize,
}

/// Figures of the view.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ViewCounters {
    /// Counter: files that were opened.
    pub opened: u64,
    /// Counter: bytes that were read.
    pub read_bytes: u64,
    /// Counter: files that were not opened for another user than their own.
    pub denied: u64,
    /// Counter: openings and reads that failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    read_bytes: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
}

/// Why something of the view is not to be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// Nothing bears the name, or not yet, or no more.
    #[error("there is no such file")]
    Missing,
    /// It is another user's.
    #[error("it is another user's")]
    Denied,
    /// Disk, key or bytes are not as they should be, or did not answer in time.
    #[error("it cannot be read")]
    Failed,
}

/// What the kernel is told of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// The user that may use it.
    pub owner: u32,
    /// Bytes of a file; none for a directory.
    pub len: Option<u64>,
}

impl View {
    /// A view of what `merger` has finalized; no call takes longer than `patience`.
    pub fn new(merger: Arc<Merger>, blocks: Arc<BlockStore>, patience: Duration) -> Self {
        Self { merger, blocks, patience, counters: Counters::default(), kept: AtomicUsize::new(0) }
    }

    /// What `name` in a directory stands for.
    pub async fn look_up(&self, parent: &Entry, name: &str) -> Result<(Entry, Attributes), ViewError> {
        let life = match parent.attempt() {
            Some(attempt) => self.attempt(attempt).await?.life,
            None => 0,
        };
        let entry = parent.child(name, life).ok_or(ViewError::Missing)?;
        let attributes = self.attributes(&entry).await?;
        Ok((entry, attributes))
    }

    /// What the kernel is told of an entry.
    pub async fn attributes(&self, entry: &Entry) -> Result<Attributes, ViewError> {
        let Some(attempt) = entry.attempt() else { return Ok(Attributes { owner: ROOT, len: None }) };
        let known = self.attempt(attempt).await?;
        let len = match entry {
            Entry::File { life, .. } if *life != known.life => return Err(ViewError::Missing),
            Entry::File { merged, kind, .. } => {
                let partition = PartitionId { app: attempt.app.clone(), merged: *merged };
                Some(self.file(attempt, &partition, *kind).await?.size())
            }
            _ => None,
        };
        Ok(Attributes { owner: known.owner.unwrap_or(ROOT), len })
    }

    /// Opens a file for a user.
    pub async fn open(&self, entry: &Entry, user: u32) -> Result<Arc<OpenFile>, ViewError> {
        let opened = self.opened(entry, user).await;
        let counter = match opened {
            Ok(_) => &self.counters.opened,
            Err(ViewError::Denied) => &self.counters.denied,
            Err(ViewError::Missing) => return opened,
            Err(ViewError::Failed) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        opened
    }

    async fn opened(&self, entry: &Entry, user: u32) -> Result<Arc<OpenFile>, ViewError> {
        let Entry::File { of, life, merged, kind } = entry else { return Err(ViewError::Missing) };
        let known = self.attempt(of).await?;
        if known.life != *life {
            return Err(ViewError::Missing);
        }
        if user != ROOT && known.owner != Some(user) {
            debug!(app = %of.app, user, "a user asks for merged data of another's application");
            return Err(ViewError::Denied);
        }
        let partition = PartitionId { app: of.app.clone(), merged: *merged };
        let content = match self.file(of, &partition, *kind).await? {
            PlainFile::Whole(bytes) => Content::Whole(bytes),
            PlainFile::Blocks { reader, offsets } => Content::Blocks(Mutex::new(Turns {
                blocks: Some(Blocks::new(reader, offsets)),
                ..Turns::default()
            })),
        };
        self.blocks.executors().touch(&of.app, Instant::now());
        let lane = self.lane(&partition);
        Ok(Arc::new(OpenFile { lane, tenant: Tenant::App(of.app.clone()), content }))
    }

    /// Answers everything that waits for a file, in the order in which it was asked for. Ends when nothing waits any more.
    pub async fn work_off(&self, file: &OpenFile) {
        while let Some((mut blocks, wanted)) = file.next() {
            blocks.ask(wanted.offset, wanted.len);
            let read = match blocks.read_now() {
                Ok(false) => {
                    let blocking = move |on: &OnLane| {
                        let read = blocks.read_blocking(on);
                        (blocks, read)
                    };
                    match file.lane.run_within(&file.tenant, Some(self.patience), blocking).await {
                        Ok((back, read)) => {
                            blocks = back;
                            read
                        }
                        // What the thread of the disk still has is lost, and with it the file that is open.
                        Err(error) => {
                            self.unanswered(&error);
                            self.counters.failed.fetch_add(1, Ordering::Relaxed);
                            (wanted.answer)(Err(ViewError::Failed));
                            file.fail();
                            return;
                        }
                    }
                }
                read => read.map(drop),
            };
            match read {
                Ok(()) => {
                    self.counters.read_bytes.fetch_add(blocks.bytes().len() as u64, Ordering::Relaxed);
                    (wanted.answer)(Ok(blocks.bytes()));
                }
                Err(error) => {
                    warn!(%error, "merged data is not read through the view");
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    blocks.close();
                    (wanted.answer)(Err(ViewError::Failed));
                }
            }
            file.give_back(blocks, &self.kept);
        }
    }

    /// Nobody has the file open any more.
    pub fn close(&self, file: &OpenFile) {
        file.close(&self.kept);
    }

    /// The figures.
    pub fn counters(&self) -> ViewCounters {
        let Counters { opened, read_bytes, denied, failed } = &self.counters;
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ViewCounters {
            opened: now(opened),
            read_bytes: now(read_bytes),
            denied: now(denied),
            failed: now(failed),
        }
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<KnownAttempt, ViewError> {
        let (app, number) = (&attempt.app, attempt.number);
        if let Some(known) = self.merger.known_attempt(app, number).map_err(|_| ViewError::Missing)? {
            return Ok(known);
        }
        let (merger, blocks, of) = (Arc::clone(&self.merger), Arc::clone(&self.blocks), app.clone());
        let look = move |on: &OnLane| merger.looked_at_attempt(on, &of, number, blocks.roots());
        let across = self.blocks.roots().across();
        let looked = across.run_within(&Tenant::App(app.clone()), Some(self.patience), look).await;
        looked.map_err(|error| self.unanswered(&error))?.map_err(|_| ViewError::Missing)
    }

    async fn file(
        &self,
        attempt: &Attempt,
        partition: &PartitionId,
        kind: Kind,
    ) -> Result<PlainFile, ViewError> {
        let number = attempt.number;
        let read = async {
            self.merger.at_hand(&partition.app).await;
            match self
                .on_disk(partition, move |on, merger, of| merger.plain_file(on, of, number, kind))
                .await?
            {
                Err(MergeError::AwaitsKey { key, .. }) => {
                    self.merger.fetch_key(&partition.app, &key).await;
                    self.on_disk(partition, move |on, merger, of| merger.plain_file(on, of, number, kind))
                        .await
                }
                found => Ok(found),
            }
        };
        // A key service may be slow, too.
        let read = tokio::time::timeout(self.patience, read).await;
        let found = read.map_err(|_| {
            warn!(%partition, "disk or key service did not answer a reader of the view in time");
            ViewError::Failed
        })??;
        found.map_err(|error| match error {
            MergeError::Unreadable { .. } | MergeError::AwaitsKey { .. } => {
                warn!(%error, "merged data is not read through the view");
                ViewError::Failed
            }
            _ => ViewError::Missing,
        })
    }

    fn on_disk<T: Send + 'static>(
        &self,
        partition: &PartitionId,
        work: impl FnOnce(&OnLane, &Merger, &PartitionId) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, ViewError>> {
        let (merger, of, lane) = (Arc::clone(&self.merger), partition.clone(), self.lane(partition));
        async move {
            let tenant = Tenant::App(of.app.clone());
            let done = lane.run_within(&tenant, Some(self.patience), move |on| work(on, &merger, &of)).await;
            done.map_err(|error| self.unanswered(&error))
        }
    }

    fn lane(&self, partition: &PartitionId) -> Lane {
        let roots = self.blocks.roots();
        self.merger.disk(partition, roots).map_or_else(|| roots.across(), Disk::lane).clone()
    }

    fn unanswered(&self, error: &LaneError) -> ViewError {
        if !matches!(error, LaneError::Shut { .. }) {
            warn!(%error, "a disk did not answer a reader of the view (spark.sealed.disk.timeout)");
        }
        ViewError::Failed
    }
}

/// A file that somebody has open.
pub struct OpenFile {
    lane: Lane,
    tenant: Tenant,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Blocks(Mutex<Turns>),
}

/// Reads of one file take turns, so that each goes on where the last one stopped.
#[derive(Default)]
struct Turns {
    /// None while somebody reads.
    blocks: Option<Blocks>,
    waiting: VecDeque<Wanted>,
    is_read: bool,
    has_failed: bool,
    /// It is among the files that keep a chunk open.
    is_kept: bool,
    is_closed: bool,
}

/// What takes the bytes of a stretch, or why there are none.
pub type Answer = Box<dyn FnOnce(Result<&[u8], ViewError>) + Send>;

/// A stretch that somebody waits for.
pub struct Wanted {
    /// Where it begins.
    pub offset: u64,
    /// Bytes that are wanted; fewer are the end of the file.
    pub len: usize,
    /// Is called once.
    pub answer: Answer,
}

impl OpenFile {
    /// Answers at once, or puts it behind those that wait; then says whether somebody has to [`View::work_off`] the file.
    pub fn ask(&self, wanted: Wanted) -> bool {
        let turns = match &self.content {
            Content::Whole(bytes) => {
                let start =
                    usize::try_from(wanted.offset).map_or(bytes.len(), |start| start.min(bytes.len()));
                let end = start.saturating_add(wanted.len).min(bytes.len());
                (wanted.answer)(Ok(&bytes[start..end]));
                return false;
            }
            Content::Blocks(turns) => turns,
        };
        let mut turns = lock(turns);
        if turns.has_failed {
            drop(turns);
            (wanted.answer)(Err(ViewError::Failed));
            return false;
        }
        turns.waiting.push_back(wanted);
        !std::mem::replace(&mut turns.is_read, true)
    }

    fn next(&self) -> Option<(Blocks, Wanted)> {
        let Content::Blocks(turns) = &self.content else { return None };
        let mut turns = lock(turns);
        let wanted = turns.waiting.pop_front();
        let next = wanted.and_then(|wanted| Some((turns.blocks.take()?, wanted)));
        turns.is_read = next.is_some();
        next
    }

    /// Few files keep an open chunk and their memory between two reads; the others keep both as long as somebody waits.
    fn give_back(&self, mut blocks: Blocks, kept: &AtomicUsize) {
        let Content::Blocks(turns) = &self.content else { return };
        let mut turns = lock(turns);
        match (blocks.is_open() && !turns.is_closed, turns.is_kept) {
            (true, false) => match kept.fetch_add(1, Ordering::Relaxed) < MOST_KEPT {
                true => turns.is_kept = true,
                false => _ = kept.fetch_sub(1, Ordering::Relaxed),
            },
            (false, true) => {
                turns.is_kept = false;
                kept.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if !turns.is_kept && turns.waiting.is_empty() {
            blocks.close();
        }
        turns.blocks = Some(blocks);
    }

    /// Who waits hears of it, and who asks later.
    fn fail(&self) {
        let Content::Blocks(turns) = &self.content else { return };
        let mut turns = lock(turns);
        turns.has_failed = true;
        let waiting = std::mem::take(&mut turns.waiting);
        drop(turns);
        waiting.into_iter().for_each(|wanted| (wanted.answer)(Err(ViewError::Failed)));
    }

    fn close(&self, kept: &AtomicUsize) {
        let Content::Blocks(turns) = &self.content else { return };
        let mut turns = lock(turns);
        turns.is_closed = true;
        turns.blocks.iter_mut().for_each(Blocks::close);
        if std::mem::take(&mut turns.is_kept) {
            kept.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn lock(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
