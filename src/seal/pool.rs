//! Segment buffers and the memory budget that bounds them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sealed_shuffle_protocol::cipher::Segment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes in flight over all connections: segments being filled or written, and large requests being
/// collected. One configured number (`spark.sealed.memory.budget`); who does not get a share waits.
#[derive(Clone)]
pub struct Budget {
    kib: Arc<Semaphore>,
    total_kib: u32,
}

/// A share of the budget, given back on drop.
pub type Share = OwnedSemaphorePermit;

impl Budget {
    /// A budget of `bytes`, at least 1 MiB and at most 1 TiB.
    pub fn new(bytes: u64) -> Self {
        let total_kib = u32::try_from((bytes >> 10).clamp(1 << 10, 1 << 30)).unwrap_or(1 << 30);
        Self { kib: Arc::new(Semaphore::new(total_kib as usize)), total_kib }
    }

    /// Waits for `bytes`. A wish larger than the whole budget is cut to it, so that it ends.
    /// Cancelling the future leaves the budget as it was.
    pub async fn acquire(&self, bytes: u64) -> Share {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.total_kib);
        match Arc::clone(&self.kib).acquire_many_owned(kib).await {
            Ok(share) => share,
            Err(_) => unreachable!("the budget's semaphore is never closed"),
        }
    }

    /// Bytes handed out now.
    pub fn in_use(&self) -> u64 {
        (u64::from(self.total_kib) - self.kib.available_permits() as u64) << 10
    }

    /// All bytes there are.
    pub fn total(&self) -> u64 {
        u64::from(self.total_kib) << 10
    }
}

/// Lends segment buffers of one size. An idle connection holds none.
#[derive(Clone)]
pub struct SegmentPool {
    inner: Arc<Inner>,
}

struct Inner {
    budget: Budget,
    segment_size: usize,
    keep: usize,
    free: Mutex<Vec<Segment>>,
}

impl SegmentPool {
    /// A pool of segments of `segment_size` bytes within `budget`, that keeps up to `keep` of them
    /// when they are not in use.
    pub fn new(budget: Budget, segment_size: usize, keep: usize) -> Self {
        Self { inner: Arc::new(Inner { budget, segment_size, keep, free: Mutex::new(Vec::new()) }) }
    }

    /// Waits for a segment within the budget.
    pub async fn segment(&self) -> PooledSegment {
        let share = self.inner.budget.acquire(self.inner.segment_size as u64).await;
        let kept = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let segment = kept.unwrap_or_else(|| Segment::with_capacity(self.inner.segment_size));
        PooledSegment { segment: Some(segment), pool: Arc::clone(&self.inner), _share: share }
    }

    /// Bytes of each segment.
    pub fn segment_size(&self) -> usize {
        self.inner.segment_size
    }

    /// The budget that the segments come from.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Gives the memory of unused segments back.
    pub fn trim(&self) {
        let unused = std::mem::take(&mut *self.inner.free.lock().unwrap_or_else(PoisonError::into_inner));
        drop(unused);
    }
}

/// A segment on loan; goes back to its pool on drop.
pub struct PooledSegment {
    segment: Option<Segment>,
    pool: Arc<Inner>,
    _share: Share,
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
