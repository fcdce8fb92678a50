//! Segment buffers and the memory budget that bounds them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sealed_shuffle_protocol::cipher::Segment;
use tokio_util::sync::CancellationToken;

use super::phases::Phases;
use crate::pot::{Account, Holding, Mover, Pot, Tenant};
use crate::turns::{Doorbell, Turns};

/// Bytes in flight over all connections: segments that are filled or written, and large requests that are collected.
/// One configured number bounds them (`spark.sealed.memory.budget`). A caller that gets no share waits.
///
/// Segments and requests have half of the budget each, and in each half every application has a share. A peer that
/// announces a large request and never sends it holds memory that other large requests wait for, but no answer waits
/// for it. A connection that holds a segment may wait for a share of the other half, never the other way round.
#[derive(Clone, Debug)]
pub struct Budget {
    segments: Pot,
    requests: Pot,
}

/// The part of the segments' half that only small answers may take: handshakes, failures, registrations.
const RESERVE: u64 = 16;

/// Where somebody waits for memory.
const REMEDY: &str = "raise spark.sealed.memory.budget, or look for peers that read slowly";

/// What answers may have of a segment to count as small.
pub(super) const SMALL: usize = 16 << 10;

impl Budget {
    /// A budget of `bytes`, at least 1 MiB and at most 1 TiB.
    pub fn new(bytes: u64) -> Self {
        let half = (bytes / 2).clamp(512 << 10, 512 << 30);
        Self {
            segments: Pot::with_reserve("segments", half, half / RESERVE).with_remedy(REMEDY),
            requests: Pot::new("large_requests", half).with_remedy(REMEDY),
        }
    }

    /// The same budget, before its first use, of which one application has no more than `quota` bytes: half of them of
    /// either half.
    pub fn with_quota(self, quota: Option<u64>) -> Self {
        let half = quota.map(|quota| quota / 2);
        Self { segments: self.segments.with_quota(half), requests: self.requests.with_quota(half) }
    }

    /// Number of bytes that are handed out.
    pub fn in_use(&self) -> u64 {
        self.segments.used() + self.requests.used()
    }

    /// Size of the whole budget in bytes.
    pub fn total(&self) -> u64 {
        self.segments.total() + self.requests.total()
    }

    /// The two halves. Call [`Pot::look`] on them about every second.
    pub fn pots(&self) -> [&Pot; 2] {
        [&self.segments, &self.requests]
    }
}

/// Lends segment buffers of one size. An idle connection holds none. Clones share the buffers, and the tenant on whose
/// account they are: [`SegmentPool::for_connection`] makes one for another.
#[derive(Clone)]
pub struct SegmentPool {
    inner: Arc<Inner>,
    borrower: Arc<Borrower>,
    phases: Option<Arc<Phases>>,
}

struct Inner {
    budget: Budget,
    /// Turns to send; none where connections send as they come.
    turns: Option<Turns>,
    segment_size: usize,
    keep: usize,
    free: Mutex<Vec<Segment>>,
}

/// Who takes memory, and whether what it holds moves.
struct Borrower {
    segments: Mutex<Account>,
    requests: Mutex<Account>,
    doorbell: Option<Arc<Doorbell>>,
    sending: Mover,
    receiving: Mover,
    evicted: CancellationToken,
}

impl Borrower {
    fn of(budget: &Budget, turns: Option<&Turns>, tenant: &Tenant) -> Arc<Self> {
        let (segments, requests) = (budget.segments.account(tenant), budget.requests.account(tenant));
        let evicted = CancellationToken::new();
        let (sending, receiving) = (segments.mover(&evicted), requests.mover(&evicted));
        Arc::new(Self {
            segments: Mutex::new(segments),
            requests: Mutex::new(requests),
            doorbell: turns.map(|turns| Arc::new(Doorbell::new(turns.line(tenant)))),
            sending,
            receiving,
            evicted,
        })
    }
}

fn account(of: &Mutex<Account>) -> Account {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl SegmentPool {
    /// A pool of segments of `segment_size` bytes within `budget`. It keeps up to `keep` unused segments. What is taken is
    /// on this process's own account.
    pub fn new(budget: Budget, segment_size: usize, keep: usize) -> Self {
        Self::of(budget, None, segment_size, keep)
    }

    /// The same, whose connections take turns to send.
    pub fn with_turns(budget: Budget, turns: Turns, segment_size: usize, keep: usize) -> Self {
        Self::of(budget, Some(turns), segment_size, keep)
    }

    fn of(budget: Budget, turns: Option<Turns>, segment_size: usize, keep: usize) -> Self {
        let borrower = Borrower::of(&budget, turns.as_ref(), &Tenant::Own);
        let inner = Inner { budget, turns, segment_size, keep, free: Mutex::new(Vec::new()) };
        Self { inner: Arc::new(inner), borrower, phases: None }
    }

    /// The same, whose segments are measured.
    pub fn with_phases(self, phases: Arc<Phases>) -> Self {
        Self { phases: Some(phases), ..self }
    }

    /// Where the times of segments are counted, if they are.
    pub(super) fn phases(&self) -> Option<&Phases> {
        self.phases.as_deref()
    }

    /// The same pool for a connection of which nobody knows yet whose it is.
    pub fn for_connection(&self) -> Self {
        let borrower = Borrower::of(&self.inner.budget, self.inner.turns.as_ref(), &Tenant::Strangers);
        Self { inner: Arc::clone(&self.inner), borrower, phases: self.phases.clone() }
    }

    /// What the connection takes from now on is on the account of `tenant`.
    pub fn belongs_to(&self, tenant: &Tenant) {
        let change = |of: &Mutex<Account>, pot: &Pot| {
            *of.lock().unwrap_or_else(PoisonError::into_inner) = pot.account(tenant);
        };
        change(&self.borrower.segments, &self.inner.budget.segments);
        change(&self.borrower.requests, &self.inner.budget.requests);
        if let (Some(doorbell), Some(turns)) = (&self.borrower.doorbell, &self.inner.turns) {
            doorbell.moves_to(turns.line(tenant));
        }
    }

    /// On whose account the connection takes what it takes.
    pub fn tenant(&self) -> Tenant {
        account(&self.borrower.segments).tenant().clone()
    }

    /// Waits for a segment of which `buffers` will be used ([`super::Stack::buffers`]), within the budget. `small`: it will
    /// hold a few small answers and no block.
    pub async fn segment(&self, buffers: usize, small: bool) -> PooledSegment {
        let bytes = self.inner.segment_size.saturating_mul(buffers) as u64;
        let account = account(&self.borrower.segments);
        let share = match small {
            true => account.take_urgent(bytes).await,
            false => account.take(bytes).await,
        };
        let share = share.moved_by(&self.borrower.sending);
        let kept = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut segment = kept.unwrap_or_else(|| Segment::with_capacity(self.inner.segment_size));
        if buffers < 2 {
            // The share is for one buffer.
            segment.drop_second_buffer();
        }
        PooledSegment { segment: Some(segment), pool: Arc::clone(&self.inner), _share: share }
    }

    /// The bell at which the connection's socket rings, if connections take turns to send.
    pub fn doorbell(&self) -> Option<&Arc<Doorbell>> {
        self.borrower.doorbell.as_ref()
    }

    /// Waits for a share of the budget for a request of `bytes` that is about to be collected. A wish for more than the
    /// account can ever have is cut, so that the wait ends. Cancel safe.
    pub async fn for_request(&self, bytes: u64) -> Holding {
        account(&self.borrower.requests).take(bytes).await.moved_by(&self.borrower.receiving)
    }

    /// So many bytes have gone out on this connection.
    pub fn sent(&self, bytes: usize) {
        self.borrower.sending.moved(bytes);
    }

    /// So many bytes have come in on this connection.
    pub fn received(&self, bytes: usize) {
        self.borrower.receiving.moved(bytes);
    }

    /// Resolves when others need the memory that this connection holds and hardly uses. Cancel safe.
    pub async fn evicted(&self) {
        self.borrower.evicted.cancelled().await;
    }

    /// Size of each segment in bytes.
    pub fn segment_size(&self) -> usize {
        self.inner.segment_size
    }

    /// The turns of all connections, if they take turns to send.
    pub fn turns(&self) -> Option<&Turns> {
        self.inner.turns.as_ref()
    }

    /// The budget that the segments come from.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Frees the memory of unused segments.
    pub fn trim(&self) {
        let unused = std::mem::take(&mut *self.inner.free.lock().unwrap_or_else(PoisonError::into_inner));
        drop(unused);
    }
}

/// A segment on loan; goes back to its pool on drop.
pub struct PooledSegment {
    segment: Option<Segment>,
    pool: Arc<Inner>,
    _share: Holding,
}

const ON_LOAN: &str = "a segment leaves its guard on drop only";

impl Deref for PooledSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        self.segment.as_ref().expect(ON_LOAN)
    }
}

impl DerefMut for PooledSegment {
    fn deref_mut(&mut self) -> &mut Segment {
        self.segment.as_mut().expect(ON_LOAN)
    }
}

impl Drop for PooledSegment {
    fn drop(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.keep {
            free.push(segment);
        }
    }
}
