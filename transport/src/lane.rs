//! Lanes: threads that may wait, so many of a kind, and the proof that code runs on one.
//!
//! A thread that serves connections must never wait for a disk: one dead disk would hold up everybody. So whatever may
//! wait runs on a lane, and lanes do not share places: work that hangs takes places of its own lane alone. What must
//! run on a lane takes an [`OnLane`] as an argument, so that a call from elsewhere does not compile.
//!
//! A lane of a disk serves applications in turn, and none of them has all of its places: what one of them has waiting
//! does not hold up another ([`Lane::shared`]).
//!
//! A lane with patience ([`Lane::with_patience`]) gives up on work that takes longer. Whoever waits for it is told so
//! ([`LaneError::Silent`]), and its place goes to others although its thread never comes back: another thread takes its
//! place. As many threads as the lane has places may be given up so; beyond that the kernel's dead calls keep their places.
//! Work that takes long and moves says so ([`OnLane::progress`]).
//!
//! A lane that is shut ([`Lane::shut`]) takes no work, and who waits for it is told at once why ([`LaneError::Shut`]).
//!
//! What must not be dropped elsewhere, a descriptor above all, is a [`Resident`] of its lane.
//!
//! The threads are those of tokio's blocking pool. It must have room for [`Lane::most_threads`] of all lanes.
//!
//! | module | knows |
//! |---|---|
//! | `calls` | what runs, since when, and what was given up |
//! | `resident` | what is dropped on a lane |
//! | `trouble` | what the kernel said to calls of a disk |

mod calls;
mod resident;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinError;

pub use self::calls::CallFigures;
use self::calls::{Call, Calls};
pub use self::resident::Resident;
use self::resident::{DropQueue, LaneMark};
use self::trouble::Trouble;
pub use self::trouble::TroubleFigures;
use crate::pot::{Pot, Tenant};

/// A bounded number of threads for one kind of work, and a queue before them. Clones share both.
#[derive(Clone)]
pub struct Lane {
    inner: Arc<Inner>,
}

struct Inner {
    places: Pot,
    patience: Option<Duration>,
    calls: Calls,
    trouble: Trouble,
    leaving: DropQueue,
    /// Why it takes no work, while it takes none.
    shut: watch::Sender<Option<Arc<str>>>,
}

/// Why work on a lane has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// The work was cut short.
    #[error("the work was lost: {0}")]
    Lost(#[from] JoinError),
    /// It takes longer than it may. It may still go on.
    #[error("there was no answer within {} s", waited.as_secs_f32())]
    Silent {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The lane takes no work.
    #[error("{why}")]
    Shut {
        /// The reason.
        why: Arc<str>,
    },
}

/// The thread at hand may wait for a disk. A lane lends one to its work; it cannot be kept, copied or sent to another
/// thread.
pub struct OnLane {
    /// None on a thread of no runtime.
    call: Option<(Arc<Inner>, Arc<Call>)>,
    _of_this_thread: PhantomData<*const ()>,
}

/// Where somebody waits for a thread of a disk.
const REMEDY: &str = "look whether the disk is slow, or raise spark.sealed.disk.threads";

impl Lane {
    /// A lane for `places` pieces of work at once, at least one.
    pub fn new(places: usize) -> Self {
        Self::of(Pot::of_turns("lane", places as u64), None)
    }

    /// The same, of which no application has more than eight ninths (but one place at least).
    pub fn shared(places: usize) -> Self {
        Self::of(Pot::new("disk_threads", places as u64).with_remedy(REMEDY), None)
    }

    /// The same lane, before its first use, whose work is given up where it takes longer than `patience`, with the wait
    /// for its turn.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self::of(self.inner.places.clone(), Some(patience))
    }

    fn of(places: Pot, patience: Option<Duration>) -> Self {
        let calls = Calls::new(places.total());
        let (shut, trouble, leaving) = (watch::Sender::new(None), Trouble::default(), DropQueue::default());
        Self { inner: Arc::new(Inner { places, patience, calls, trouble, leaving, shut }) }
    }

    /// The places, for metrics.
    pub fn places(&self) -> &Pot {
        &self.inner.places
    }

    /// Threads that it has at most, with those that were given up.
    pub fn most_threads(places: usize) -> usize {
        2 * places
    }

    /// How long its work may take.
    pub fn patience(&self) -> Option<Duration> {
        self.inner.patience
    }

    /// Whether it is a clone of `other`.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Runs `work` of this process itself on a thread of this lane, when its turn has come. If the future is dropped, work
    /// that waits for its turn is dropped with it, and work that runs goes on.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        self.run_for(&Tenant::Own, work).await
    }

    /// The same for a tenant: tenants take turns.
    pub async fn run_for<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        self.run_within(tenant, self.inner.patience, work).await
    }

    /// The same with another patience than the lane's; `None` waits for ever.
    pub async fn run_within<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        patience: Option<Duration>,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        // The number of the call; 0 while it waits for its turn.
        let started = AtomicU64::new(0);
        let done = async {
            let place = self.inner.places.account(tenant).take(1).await;
            let inner = Arc::clone(&self.inner);
            let ended = CallEnd { call: inner.calls.begin(place), inner };
            started.store(ended.call.number(), Ordering::Relaxed);
            Ok(tokio::task::spawn_blocking(move || ended.run(work)).await?)
        };
        let mut shut = self.inner.shut.subscribe();
        tokio::select! {
            biased;
            why = until_shut(&mut shut) => {
                self.inner.calls.give_up(started.load(Ordering::Relaxed));
                Err(LaneError::Shut { why })
            }
            done = done => done,
            waited = silence(patience) => {
                self.inner.calls.give_up(started.load(Ordering::Relaxed));
                Err(LaneError::Silent { waited })
            }
        }
    }

    /// Runs `work` from a thread that may wait, and waits for it no longer than `patience`: at once on the thread at hand
    /// if that is of this lane, or of no runtime, else on a thread of this lane. So work of one disk waits for another one
    /// for a bounded time.
    pub fn ask<T: Send + 'static>(
        &self,
        on: &OnLane,
        patience: Duration,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        match Handle::try_current() {
            Ok(runtime) if !on.is_of(self) => {
                runtime.block_on(self.run_within(&Tenant::Own, Some(patience), work))
            }
            _ => Ok(work(on)),
        }
    }

    /// Has `work` done when its turn comes; nobody waits for it. Outside a runtime, and where the lane is shut, it is
    /// dropped.
    pub fn send(&self, work: impl FnOnce(&OnLane) + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let lane = self.clone();
        drop(runtime.spawn(async move { lane.run(work).await }));
    }

    /// Drops something where the disk of this lane may be waited for.
    fn drop_here(&self, leaver: impl Send + 'static) {
        let runtime = match Handle::try_current() {
            Ok(runtime) if !LaneMark::is(&self.inner) => runtime,
            _ => return drop(leaver),
        };
        if !self.inner.leaving.add(Box::new(leaver)) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        // Not by `run`: a lane that is shut closes its files all the same.
        drop(runtime.spawn(async move {
            let place = inner.places.account(&Tenant::Own).take(1).await;
            let ended = CallEnd { call: inner.calls.begin(place), inner: Arc::clone(&inner) };
            let emptied = move || ended.run(|on| inner.leaving.drop_all(on));
            // Nobody waits for it, and a drop that panicked has said so.
            drop(tokio::task::spawn_blocking(emptied).await);
        }));
    }

    /// What waits to be dropped on it.
    pub fn leaving(&self) -> usize {
        self.inner.leaving.len()
    }

    /// Takes no work from now on; `why` is for all who wait. What runs goes on, and nobody waits for it any more.
    pub fn shut(&self, why: impl Into<Arc<str>>) {
        self.inner.shut.send_replace(Some(why.into()));
    }

    /// Takes work again.
    pub fn open(&self) {
        self.inner.shut.send_if_modified(|shut| shut.take().is_some());
    }

    /// Why it takes no work, if it takes none.
    pub fn is_shut(&self) -> Option<Arc<str>> {
        self.inner.shut.borrow().clone()
    }

    /// Gives up what runs longer than the lane's patience, also where nobody waits for it. Call it about every second.
    pub fn give_up_overdue(&self, now: Instant) {
        if let Some(patience) = self.inner.patience {
            self.inner.calls.give_up_overdue(now, patience);
        }
    }

    /// What runs on it.
    pub fn calls(&self, now: Instant) -> CallFigures {
        self.inner.calls.figures(now, self.inner.patience)
    }

    /// The kernel said no to a call of its disk.
    pub fn failed(&self, errno: Errno) {
        self.inner.trouble.failed(errno, Instant::now());
    }

    /// The kernel gave or took bytes.
    pub fn moved_bytes(&self) {
        self.inner.trouble.moved_bytes();
    }

    /// What the kernel said to calls of its disk.
    pub fn trouble(&self) -> TroubleFigures {
        self.inner.trouble.figures()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("places", &self.inner.places).finish_non_exhaustive()
    }
}

/// Ends the call when it is dropped, also by a panic.
struct CallEnd {
    call: Arc<Call>,
    inner: Arc<Inner>,
}

impl CallEnd {
    /// Does work on the thread at hand, which is the lane's.
    fn run<T>(self, work: impl FnOnce(&OnLane) -> T) -> T {
        let here = LaneMark::of(&self.inner);
        let call = Some((Arc::clone(&self.inner), Arc::clone(&self.call)));
        let done = work(&OnLane { call, _of_this_thread: PhantomData });
        drop(here);
        // Before anybody hears of it, so that its place is free by then.
        drop(self);
        done
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        self.inner.calls.end(&self.call);
    }
}

async fn until_shut(shut: &mut watch::Receiver<Option<Arc<str>>>) -> Arc<str> {
    let found = shut.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    match found {
        Some(why) => why,
        // The lane is gone, and with it what it could be shut by.
        None => std::future::pending().await,
    }
}

async fn silence(patience: Option<Duration>) -> Duration {
    match patience {
        Some(patience) => {
            tokio::time::sleep(patience).await;
            patience
        }
        None => std::future::pending().await,
    }
}

/// Runs `work` on a thread of its own, and waits for it no longer than `patience`; `None` where it takes longer. For the
/// start of a server, before there are lanes.
pub fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce(&OnLane) -> T + Send + 'static,
) -> PendingWork<T> {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work(&OnLane { call: None, _of_this_thread: PhantomData })));
    PendingWork { result, until: Instant::now() + patience }
}

/// Work that [`within`] has begun.
#[derive(Debug)]
pub struct PendingWork<T> {
    result: std::sync::mpsc::Receiver<T>,
    until: Instant,
}

impl<T> PendingWork<T> {
    /// Waits for its result.
    pub fn result(self) -> Option<T> {
        self.result.recv_timeout(self.until.saturating_duration_since(Instant::now())).ok()
    }
}

impl OnLane {
    /// For programs without a runtime on this thread, whose threads may wait: commands, tests, benchmarks.
    ///
    /// # Panics
    ///
    /// On a thread of a runtime: [`Lane::run`] is the way there.
    pub fn here() -> Self {
        assert!(Handle::try_current().is_err(), "a thread of a runtime must not wait for a disk");
        Self { call: None, _of_this_thread: PhantomData }
    }

    /// Whether the thread is of that lane.
    pub fn is_of(&self, lane: &Lane) -> bool {
        self.call.as_ref().is_some_and(|(inner, _)| Arc::ptr_eq(inner, &lane.inner))
    }

    /// Work that takes long has done a part of it: it is not given up for the time that this took.
    pub fn progress(&self) {
        if let Some((_, call)) = &self.call {
            call.progress();
        }
    }
}

impl fmt::Debug for OnLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLane")
    }
}
