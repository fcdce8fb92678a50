//! One request, from its begin until the last byte of its answer is with the kernel.
//!
//! The session holds it, and with it whatever goes out for the request: bodies on their way, blocks that arrive. The last one
//! that drops it ends it, so an answer that was cut off ends its trace, too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shown::short;
use sealed_shuffle_transport::seal::{Phase, Watcher};

use super::notes::{MOST_STRETCHES, Notes, Stretch};
use super::queue::Queue;

/// A request that is traced.
#[derive(Debug)]
pub(crate) struct Trace {
    queue: Arc<Queue>,
    began: Instant,
    notes: Mutex<Notes>,
}

impl Trace {
    /// A request begins; none where too many are traced already.
    pub(super) fn begin(
        queue: &Arc<Queue>,
        kind: &'static str,
        peer: SocketAddr,
        channel: Channel,
    ) -> Option<Arc<Self>> {
        if !queue.opens_one() {
            return None;
        }
        let notes = Notes {
            kind,
            peer,
            channel,
            at: SystemTime::now(),
            took: Duration::ZERO,
            app: None,
            executor: None,
            chunks: None,
            chunks_asked: 0,
            blocks: 0,
            bytes: 0,
            sent: 0,
            answered: false,
            failure: None,
            times: Default::default(),
            stretches: Vec::new(),
            left_out: 0,
            goes_out: false,
        };
        Some(Arc::new(Self { queue: Arc::clone(queue), began: Instant::now(), notes: Mutex::new(notes) }))
    }

    /// It is about this application.
    pub(crate) fn about(&self, app: &AppId) {
        self.notes().app = Some(short(app.as_str()));
    }

    /// It is about blocks of this executor.
    pub(crate) fn of_executor(&self, executor: &ExecutorId) {
        self.notes().executor = Some(short(executor.as_str()));
    }

    /// It is of another kind than it seemed.
    pub(crate) fn is_of_kind(&self, kind: &'static str) {
        self.notes().kind = kind;
    }

    /// It opened a stream of so many chunks.
    pub(crate) fn opens(&self, chunks: i32) {
        self.notes().chunks = u64::try_from(chunks).ok();
    }

    /// A chunk of the stream is on its way out.
    pub(crate) fn hands_out(&self, blocks: u64, bytes: u64) {
        let mut notes = self.notes();
        notes.chunks_asked += 1;
        notes.blocks += blocks;
        notes.bytes += bytes;
        notes.goes_out = true;
    }

    /// A chunk of the stream failed.
    pub(crate) fn fails_chunk(&self, why: &str) {
        self.notes().chunks_asked += 1;
        self.fails(why);
    }

    /// A block comes in.
    pub(crate) fn takes_in(&self, bytes: u64) {
        let mut notes = self.notes();
        notes.blocks += 1;
        notes.bytes += bytes;
    }

    /// The peer has an answer.
    pub(crate) fn answers(&self) {
        self.notes().answered = true;
    }

    /// It failed; the first failure counts.
    pub(crate) fn fails(&self, why: &str) {
        self.notes().failure.get_or_insert_with(|| short(why));
    }

    /// It was asked for at the first moment, a thread worked for it between the others, and it went on now.
    pub(crate) fn was_on_lane(&self, asked: Instant, [began, ended]: [Instant; 2]) {
        for (phase, from, to) in
            [(Phase::Queue, asked, began), (Phase::Disk, began, ended), (Phase::Queue, ended, Instant::now())]
        {
            self.was_in(phase, from, to.saturating_duration_since(from));
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Trace {
    fn was_in(&self, phase: Phase, began: Instant, time: Duration) {
        // A segment may have been wanted before the request came.
        let early = self.began.saturating_duration_since(began);
        let (after, time) = (began.saturating_duration_since(self.began), time.saturating_sub(early));
        if time.is_zero() {
            return;
        }
        let mut notes = self.notes();
        notes.times[phase as usize] += time;
        let stretch = Stretch { phase, after, time };
        if notes.stretches.len() < MOST_STRETCHES {
            notes.stretches.push(stretch);
            return;
        }
        notes.left_out += 1;
        if let Some(shortest) = notes.stretches.iter_mut().min_by_key(|kept| kept.time)
            && shortest.time < time
        {
            *shortest = stretch;
        }
    }

    fn sent(&self, bytes: u64) {
        self.notes().sent += bytes;
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut notes = self.notes().clone();
        notes.took = self.began.elapsed();
        notes.stretches.sort_by_key(|stretch| stretch.after);
        self.queue.takes(notes);
    }
}
