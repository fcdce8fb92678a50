//! What is dropped where its disk may be waited for.
//!
//! Closing a descriptor waits: for a file system in user space or over a network, for the blocks of a file whose last name went
//! away, for a whole file system that was unmounted while it was in use. And it is closed by whoever has it last, which may be
//! a thread that serves connections. So a descriptor of a disk is held by a [`Resident`] of that disk's lane.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Inner, Lane, OnLane};

/// Something that is dropped on its lane: at once where the thread at hand is of that lane or of no runtime, and else soon
/// after. Nobody waits for that, and a lane that is shut does it, too.
pub struct Resident<T: Send + 'static> {
    /// None only while it is dropped.
    inner: Option<T>,
    lane: Lane,
}

impl<T: Send + 'static> Resident<T> {
    /// `inner`, to be dropped on `lane`.
    pub fn new(inner: T, lane: Lane) -> Self {
        Self { inner: Some(inner), lane }
    }

    /// Where it is dropped.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }
}

const HELD: &str = "it is taken out only while the resident is dropped";

impl<T: Send + 'static> Deref for Resident<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T: Send + 'static> DerefMut for Resident<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect(HELD)
    }
}

impl<T: AsFd + Send + 'static> AsFd for Resident<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl<T: Send + 'static> Drop for Resident<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.lane.drop_here(inner);
        }
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for Resident<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What waits to be dropped on a lane, in order. One thread at a time does it, so that a disk whose closes hang costs one
/// place.
#[derive(Default)]
pub(super) struct DropQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn Send>>,
    /// Somebody drops them, or is on the way.
    runs: bool,
}

impl DropQueue {
    /// Puts `leaver` into the queue; whether nobody is there who drops it.
    pub(super) fn add(&self, leaver: Box<dyn Send>) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(leaver);
        !std::mem::replace(&mut queue.runs, true)
    }

    /// Drops one after the other, until none is left.
    pub(super) fn drop_all(&self, on: &OnLane) {
        while let Some(leaver) = self.next() {
            drop(leaver);
            on.progress();
        }
    }

    fn next(&self) -> Option<Box<dyn Send>> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.runs = next.is_some();
        next
    }

    pub(super) fn len(&self) -> usize {
        self.queue().waiting.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The lane whose work the thread does, by the address of its inner part; 0 for none.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// The thread does work of a lane until this is dropped.
pub(super) struct LaneMark(usize);

impl LaneMark {
    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        Self(HERE.replace(address(inner)))
    }

    pub(super) fn is(inner: &Arc<Inner>) -> bool {
        HERE.get() == address(inner)
    }
}

impl Drop for LaneMark {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

fn address(inner: &Arc<Inner>) -> usize {
    Arc::as_ptr(inner).addr()
}
