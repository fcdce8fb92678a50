//! One application in the table, and each way in which it speaks.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shown::Shown;

use super::Evidence;

/// Ways of speaking that a row tells apart; an application has one or two.
const MOST_USES: usize = 16;

/// Addresses that a row remembers.
const MOST_PEERS: usize = 64;

/// Bytes of the reason of a refusal and of a user's name that are kept.
const LONGEST_TEXT: usize = 400;

/// One application.
#[derive(Debug)]
pub(super) struct Row {
    app: AppId,
    proven: AtomicBool,
    first_seen: SystemTime,
    /// Milliseconds since 1970.
    last_seen: AtomicU64,
    /// The application has ended, and has not come back since.
    ended: AtomicBool,
    /// It has registered an executor, before a restart perhaps.
    registered: AtomicBool,
    details: Mutex<Details>,
}

/// What changes once a connection.
#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) uses: Vec<Arc<Use>>,
    pub(super) peers: Vec<IpAddr>,
    /// There were more addresses than are remembered.
    pub(super) more_peers: bool,
    pub(super) user: Option<String>,
    pub(super) refused: u64,
    pub(super) last_refusal: Option<LastRefusal>,
}

/// The last refusal.
#[derive(Clone, Debug)]
pub(super) struct LastRefusal {
    pub(super) reason: String,
    pub(super) peer: IpAddr,
    pub(super) channel: Option<Channel>,
    pub(super) at: SystemTime,
}

/// One way in which an application speaks.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) channel: Channel,
    pub(super) open: AtomicU32,
    /// Those of the open ones that were granted a request.
    at_work: AtomicU32,
    /// Milliseconds since 1970 at which a request was granted, or such a connection ended; 0 before the first.
    last_used: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) evidence: AtomicU8,
    /// The target below which it was reported, from 1; 0 where it was not.
    reported: AtomicU8,
}

impl Row {
    pub(super) fn new(app: &AppId, proven: bool, now: SystemTime) -> Self {
        Self {
            app: app.clone(),
            proven: AtomicBool::new(proven),
            first_seen: now,
            last_seen: AtomicU64::new(millis(now)),
            ended: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            details: Mutex::default(),
        }
    }

    pub(super) fn app(&self) -> &AppId {
        &self.app
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn prove(&self, proven: bool) {
        if proven {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.details().is_open()
    }

    pub(super) fn registered(&self) {
        self.registered.store(true, Ordering::Relaxed);
    }

    /// Whether it is blank now.
    pub(super) fn registered_no_more(&self) -> bool {
        self.registered.store(false, Ordering::Relaxed);
        self.is_blank()
    }

    /// Whether it says nothing that anybody wants to know: who was here asked for nothing, and was not refused.
    pub(super) fn is_blank(&self) -> bool {
        let details = self.details();
        !self.registered.load(Ordering::Relaxed)
            && details.refused == 0
            && details.uses.iter().all(|one| one.open.load(Ordering::SeqCst) == 0 && !one.is_used())
    }

    /// Takes out the channels that were opened and never used, such as those that `probe` tries.
    pub(super) fn drop_unused(&self) {
        self.details().uses.retain(|one| one.open.load(Ordering::SeqCst) > 0 || one.is_used());
    }

    /// The application has ended; whether the row can go at once. Who closes its last connection asks
    /// [`Row::has_ended`] after that, so that one of the two takes it out.
    pub(super) fn ends(&self) -> bool {
        self.ended.store(true, Ordering::SeqCst);
        !self.is_open()
    }

    /// The application is back.
    pub(super) fn goes_on(&self) {
        self.ended.store(false, Ordering::SeqCst);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn first_seen(&self) -> SystemTime {
        self.first_seen
    }

    pub(super) fn last_seen(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.last_seen.load(Ordering::Relaxed))
    }

    pub(super) fn seen(&self, now: SystemTime) {
        self.last_seen.fetch_max(millis(now), Ordering::Relaxed);
    }

    pub(super) fn peer(&self, peer: IpAddr) {
        self.details().peer(peer);
    }

    /// The entry of `channel`; one that nobody lists where there are too many.
    pub(super) fn through(&self, channel: Channel) -> Arc<Use> {
        let mut details = self.details();
        if let Some(known) = details.uses.iter().find(|known| known.channel == channel) {
            return Arc::clone(known);
        }
        let new = Arc::new(Use::new(channel));
        if details.uses.len() < MOST_USES {
            details.uses.push(Arc::clone(&new));
        }
        new
    }

    pub(super) fn refuse(&self, channel: Option<Channel>, peer: IpAddr, reason: &str, at: SystemTime) {
        let mut details = self.details();
        details.peer(peer);
        details.refused += 1;
        details.last_refusal = Some(LastRefusal { reason: short(reason), peer, channel, at });
    }

    pub(super) fn owned_by(&self, user: String) {
        self.details().user = Some(short(&user));
    }

    pub(super) fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Details {
    /// Whether there is a connection.
    pub(super) fn is_open(&self) -> bool {
        self.uses.iter().any(|one| one.open.load(Ordering::SeqCst) > 0)
    }

    fn peer(&mut self, peer: IpAddr) {
        if self.peers.contains(&peer) {
            return;
        }
        match self.peers.len() < MOST_PEERS {
            true => self.peers.push(peer),
            false => self.more_peers = true,
        }
    }
}

impl Use {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            open: AtomicU32::new(0),
            at_work: AtomicU32::new(0),
            last_used: AtomicU64::new(0),
            total: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            evidence: AtomicU8::new(0),
            reported: AtomicU8::new(0),
        }
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// An open connection was granted its first request.
    pub(super) fn begins(&self, now: SystemTime) {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        self.used(now);
    }

    /// Such a connection has ended.
    pub(super) fn ends(&self, now: SystemTime) {
        self.used(now);
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether an open connection of it was granted something.
    pub(super) fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::SeqCst) > 0
    }

    pub(super) fn used(&self, now: SystemTime) {
        self.last_used.fetch_max(millis(now).max(1), Ordering::SeqCst);
    }

    pub(super) fn is_used(&self) -> bool {
        self.last_used.load(Ordering::SeqCst) > 0
    }

    /// `None` before its first use.
    pub(super) fn last_used(&self) -> Option<SystemTime> {
        let millis = self.last_used.load(Ordering::SeqCst);
        (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
    }

    pub(super) fn served(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn learned(&self, evidence: Evidence) {
        self.evidence.fetch_or(evidence.bit(), Ordering::Relaxed);
    }

    pub(super) fn first_below(&self, target: SecurityLevel) -> bool {
        let mark = target as u8 + 1;
        self.reported.swap(mark, Ordering::Relaxed) != mark
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn short(text: &str) -> String {
    let mut shown = Shown(text).to_string();
    shown.truncate(shown.floor_char_boundary(LONGEST_TEXT));
    shown
}
