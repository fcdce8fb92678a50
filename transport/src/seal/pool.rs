//! Segment buffers and the memory budget that bounds them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sealed_shuffle_protocol::cipher::Segment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes in flight over all connections: segments that are filled or written, and large requests that are collected.
/// One configured number bounds them (`spark.sealed.memory.budget`). A caller that gets no share waits.
///
/// Segments and requests have half of the budget each. A peer that announces a large request and never sends it holds
/// memory that other large requests wait for, but no answer waits for it. A connection that holds a segment may wait
/// for a share of the other half, never the other way round.
#[derive(Clone)]
pub struct Budget {
    segments: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    half_kib: u32,
}

/// A share of the budget, given back on drop.
pub type Share = OwnedSemaphorePermit;

impl Budget {
    /// A budget of `bytes`, at least 1 MiB and at most 1 TiB.
    pub fn new(bytes: u64) -> Self {
        let half_kib = u32::try_from((bytes >> 11).clamp(1 << 9, 1 << 29)).unwrap_or(1 << 29);
        let half = || Arc::new(Semaphore::new(half_kib as usize));
        Self { segments: half(), requests: half(), half_kib }
    }

    /// Waits for `bytes` of segments. A wish larger than the half is cut to the half, so that the wait ends.
    /// Cancelling the future leaves the budget as it was.
    pub async fn acquire(&self, bytes: u64) -> Share {
        self.take(&self.segments, bytes).await
    }

    /// The same for a request of `bytes` that is about to be collected.
    pub async fn acquire_for_request(&self, bytes: u64) -> Share {
        self.take(&self.requests, bytes).await
    }

    async fn take(&self, half: &Arc<Semaphore>, bytes: u64) -> Share {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.half_kib);
        match Arc::clone(half).acquire_many_owned(kib).await {
            Ok(share) => share,
            Err(_) => unreachable!("the budget's semaphores are never closed"),
        }
    }

    /// Number of bytes that are handed out.
    pub fn in_use(&self) -> u64 {
        let free = self.segments.available_permits() as u64 + self.requests.available_permits() as u64;
        self.total() - (free << 10)
    }

    /// Size of the whole budget in bytes.
    pub fn total(&self) -> u64 {
        u64::from(self.half_kib) << 11
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
    /// A pool of segments of `segment_size` bytes within `budget`. It keeps up to `keep` unused segments.
    pub fn new(budget: Budget, segment_size: usize, keep: usize) -> Self {
        Self { inner: Arc::new(Inner { budget, segment_size, keep, free: Mutex::new(Vec::new()) }) }
    }

    /// Waits for a segment of which `buffers` will be used ([`super::Stack::buffers`]), within the budget.
    pub async fn segment(&self, buffers: usize) -> PooledSegment {
        let bytes = self.inner.segment_size.saturating_mul(buffers);
        let share = self.inner.budget.acquire(bytes as u64).await;
        let kept = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut segment = kept.unwrap_or_else(|| Segment::with_capacity(self.inner.segment_size));
        if buffers < 2 {
            // The share is for one buffer.
            segment.drop_second_buffer();
        }
        PooledSegment { segment: Some(segment), pool: Arc::clone(&self.inner), _share: share }
    }

    /// Size of each segment in bytes.
    pub fn segment_size(&self) -> usize {
        self.inner.segment_size
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
