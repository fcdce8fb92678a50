//! Turns to send: a tenant with many connections sends no more than one with a single connection.
//!
//! ```text
//! socket takes bytes again ──Doorbell──► Line (one for each tenant) ──turn──► Turn ──drop──► the next in line
//! ```
//!
//! To make a segment and to write it is work of one processor, so there are as many turns as threads that do it. A runtime
//! polls connections in the order in which they became ready, and knows no tenants: with 32 connections one tenant is polled
//! 32 times as often as another. So the order is made here. A connection asks for a turn before it makes a segment. It waits
//! while connections of a tenant that has sent less want one: those that are in line, and those that were woken and were not
//! polled yet. The socket wakes a connection through its [`Doorbell`], which tells the line at once.
//!
//! The tenant that has sent least goes first (start-time fair queuing; Goyal, Vin and Cheng, SIGCOMM 1996). Whoever sent
//! nothing for a while has no claim from that time. To be woken costs as much as to send [`RING`] bytes, so nobody holds others
//! up by bytes that come one at a time. `pace` holds an application to a quota of bytes a second, if there is one.
//!
//! Invariants: a turn that is free, and that nobody else wants, is had at once; a wait that is dropped takes nothing; a
//! connection that is gone is not waited for. The caller holds no turn while it waits for anything.

mod doorbell;
mod pace;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::oneshot;

pub use self::doorbell::Doorbell;
use self::pace::Pace;
pub use self::pace::Passage;
use crate::pot::{PotFigures, Tenant};

/// Bytes that a connection counts as having sent each time that its socket wakes it. To take a few bytes from a socket and to
/// look at them costs about as much as to seal and write these.
pub const RING: u64 = 16 << 10;

/// Turns to send. Clones share them.
#[derive(Clone)]
pub struct Turns {
    inner: Arc<Inner>,
}

struct Inner {
    turns: usize,
    /// Bytes a second that one application may be sent; none without a quota.
    quota: Option<u64>,
    /// How often a connection waited for its application's quota, in lines that are gone.
    waits: AtomicU64,
    state: Mutex<State>,
    /// Connections of all lines that were woken and not polled yet.
    rung: AtomicUsize,
    /// Connections of all lines that wait for a turn. Changed under the lock.
    waiting: AtomicUsize,
    /// What the tenant had sent that had its turn last. One that comes anew begins there.
    clock: AtomicU64,
}

struct State {
    free: usize,
    lines: HashMap<Tenant, OpenLine>,
    next_number: u64,
}

struct OpenLine {
    state: Arc<LineState>,
    /// As long as somebody has it.
    key: Weak<LineKey>,
}

/// The line of one tenant. Clones share it.
#[derive(Clone)]
pub struct Line {
    key: Arc<LineKey>,
}

struct LineKey {
    turns: Arc<Inner>,
    tenant: Tenant,
    state: Arc<LineState>,
}

#[derive(Default)]
struct LineState {
    pace: Option<Pace>,
    /// Bytes, counted from the clock at which it came.
    sent: AtomicU64,
    /// Its connections that were woken and not polled yet.
    rung: AtomicUsize,
    /// In their order. Locked after the state of the turns.
    waiters: Mutex<VecDeque<Waiter>>,
}

struct Waiter {
    number: u64,
    told: oneshot::Sender<Turn>,
}

/// The turn of one connection; given back on drop.
#[must_use = "what is dropped is given back"]
pub struct Turn {
    turns: Arc<Inner>,
}

impl Turns {
    /// So many connections at a time, at least one.
    pub fn new(turns: usize) -> Self {
        Self::with_quota(turns, None)
    }

    /// The same, where one application is sent no more than `quota` bytes a second, if there is one.
    pub fn with_quota(turns: usize, quota: Option<u64>) -> Self {
        let turns = turns.max(1);
        let state = State { free: turns, lines: HashMap::new(), next_number: 0 };
        Self {
            inner: Arc::new(Inner {
                turns,
                quota,
                waits: AtomicU64::new(0),
                state: Mutex::new(state),
                rung: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                clock: AtomicU64::new(0),
            }),
        }
    }

    /// The line of a tenant. It lasts as long as somebody has it.
    pub fn line(&self, tenant: &Tenant) -> Line {
        let mut state = self.inner.state();
        if let Some(key) = state.lines.get(tenant).and_then(|line| line.key.upgrade()) {
            return Line { key };
        }
        let quota = self.inner.quota.filter(|_| matches!(tenant, Tenant::App(_)));
        let line = Arc::new(LineState { pace: quota.map(Pace::new), ..LineState::default() });
        let key = Arc::new(LineKey {
            turns: Arc::clone(&self.inner),
            tenant: tenant.clone(),
            state: Arc::clone(&line),
        });
        state.lines.insert(tenant.clone(), OpenLine { state: line, key: Arc::downgrade(&key) });
        Line { key }
    }

    /// What metrics show: turns, and the quota of bandwidth.
    pub fn figures(&self) -> PotFigures {
        let state = self.inner.state();
        let paces = || state.lines.values().filter_map(|line| line.state.pace.as_ref());
        PotFigures {
            total: self.inner.turns as u64,
            used: (self.inner.turns - state.free) as u64,
            waiters: self.inner.waiting.load(SeqCst) as u64,
            quota: self.inner.quota,
            at_quota: paces().filter(|pace| pace.holds_up()).count() as u64,
            reached_quota: self.inner.waits.load(SeqCst) + paces().map(Pace::waits).sum::<u64>(),
            ..PotFigures::default()
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn for a line.
    fn take(self: &Arc<Self>, state: &mut State, line: &LineState) -> Turn {
        state.free -= 1;
        let clock = self.clock.load(SeqCst);
        let sent = line.sent.fetch_max(clock, SeqCst).max(clock);
        self.clock.store(sent, SeqCst);
        Turn { turns: Arc::clone(self) }
    }

    /// Whether a turn is left for a connection of this line, beside those of tenants that have sent less.
    fn may_go(&self, state: &State, line: &LineState) -> bool {
        if state.free == 0 || !line.waiters().is_empty() {
            return false;
        }
        // The one that asks is counted among those that wait.
        if self.waiting.load(SeqCst) == 1 && self.rung.load(SeqCst) <= line.woken() {
            return true;
        }
        let sent = line.sent.load(SeqCst).max(self.clock.load(SeqCst));
        let before = state.lines.values().filter(|other| other.state.is_before(line, sent));
        let wanted: usize = before.map(|other| other.state.woken() + other.state.waiters().len()).sum();
        wanted < state.free
    }

    /// Serves those whose turn has come.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut served = Vec::new();
        while state.free > 0 && self.waiting.load(SeqCst) > 0 {
            let waiting = state.lines.values().filter(|line| !line.state.waiters().is_empty());
            let Some(next) = waiting.min_by_key(|line| line.state.sent.load(SeqCst)) else { break };
            let next = Arc::clone(&next.state);
            let sent = next.sent.load(SeqCst);
            let before = state.lines.values().filter(|other| other.state.is_before(&next, sent));
            let rung: usize = before.map(|other| other.state.woken()).sum();
            if rung >= state.free {
                // They ask for a turn when they are polled, or leave it.
                break;
            }
            let Some(waiter) = next.waiters().pop_front() else { break };
            self.waiting.fetch_sub(1, SeqCst);
            served.push((waiter, self.take(&mut state, &next)));
        }
        drop(state);
        // Outside of the lock: one that waits no more gives back at once.
        for (waiter, turn) in served {
            drop(waiter.told.send(turn));
        }
    }
}

impl LineState {
    fn waiters(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn woken(&self) -> usize {
        self.rung.load(SeqCst)
    }

    /// Whether its turn comes before that of `other`, which has sent so much.
    fn is_before(&self, other: &Self, sent: u64) -> bool {
        !std::ptr::eq(self, other) && self.sent.load(SeqCst) < sent
    }
}

impl Line {
    /// Waits for a turn. Cancel safe.
    pub async fn turn(&self) -> Turn {
        let LineKey { turns, state: line, .. } = &*self.key;
        let wait = {
            let mut state = turns.state();
            // It counts before it looks: one that is polled in between serves it.
            turns.waiting.fetch_add(1, SeqCst);
            if turns.may_go(&state, line) {
                turns.waiting.fetch_sub(1, SeqCst);
                return turns.take(&mut state, line);
            }
            let (told, telling) = oneshot::channel();
            state.next_number += 1;
            let number = state.next_number;
            line.waiters().push_back(Waiter { number, told });
            Wait { line: &self.key, number: Some(number), telling }
        };
        wait.served().await
    }

    /// A connection of it was woken.
    fn rung(&self) {
        let LineKey { turns, state: line, .. } = &*self.key;
        line.sent.fetch_max(turns.clock.load(SeqCst), SeqCst);
        line.rung.fetch_add(1, SeqCst);
        turns.rung.fetch_add(1, SeqCst);
    }

    /// The connection was polled, or is gone.
    fn polled(&self) {
        let LineKey { turns, state: line, .. } = &*self.key;
        line.sent.fetch_add(RING, SeqCst);
        line.rung.fetch_sub(1, SeqCst);
        turns.rung.fetch_sub(1, SeqCst);
        if turns.waiting.load(SeqCst) > 0 {
            turns.serve(turns.state());
        }
    }

    /// Waits until the tenant's quota lets one more connection send, if there is a quota. Cancel safe.
    pub async fn pass(&self) -> Option<Passage> {
        let pace = self.pace()?;
        pace.pass().await;
        Some(Passage::of(self.clone()))
    }

    fn pace(&self) -> Option<&Pace> {
        self.key.state.pace.as_ref()
    }

    /// The tenant has sent so many bytes.
    pub fn sent(&self, bytes: u64) {
        self.key.state.sent.fetch_add(bytes, SeqCst);
        if let Some(pace) = self.pace() {
            pace.sent(bytes);
        }
    }
}

/// A connection that waits for its turn; dropping it leaves the line.
struct Wait<'a> {
    line: &'a LineKey,
    /// None once it was served.
    number: Option<u64>,
    telling: oneshot::Receiver<Turn>,
}

impl Wait<'_> {
    async fn served(mut self) -> Turn {
        let turn = (&mut self.telling).await.expect("a line serves who waits, or is left");
        self.number = None;
        turn
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let LineKey { turns, state: line, .. } = self.line;
        let state = turns.state();
        let mut waiters = line.waiters();
        let Some(at) = waiters.iter().position(|waiter| waiter.number == number) else { return };
        drop(waiters.remove(at));
        drop(waiters);
        turns.waiting.fetch_sub(1, SeqCst);
        // Others waited for it.
        turns.serve(state);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.free += 1;
        self.turns.serve(state);
    }
}

impl Drop for LineKey {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        if let Some(pace) = &self.state.pace {
            self.turns.waits.fetch_add(pace.waits(), SeqCst);
        }
        // Another line of the same tenant may have been opened meanwhile.
        if state.lines.get(&self.tenant).is_some_and(|line| line.key.strong_count() == 0) {
            state.lines.remove(&self.tenant);
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} turns are free", self.inner.state().free, self.inner.turns)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line of {}", self.key.tenant)
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {:?}", Turns { inner: Arc::clone(&self.turns) })
    }
}

#[cfg(test)]
mod tests;
