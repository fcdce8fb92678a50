//! Which application speaks to this server over which channel, and what a higher minimum would do to it.
//!
//! ```text
//! session ──connected──► Speaker (atomics of one row) ──granted──► in use ──drop──► disconnected
//!         ──refused────►                      table ──snapshot──► admin port, metrics
//! ```
//!
//! A connection uses its channel when a request of it is granted. One that asks for nothing, as `probe`'s do, leaves
//! nothing behind.
//!
//! Bounded in every direction that a peer can press on: rows, channels of a row, addresses of a row. The row that was
//! seen longest ago goes first, those with open connections last; a name that nobody has proven never pushes out one
//! that somebody has. What happens per block is two atomic additions; locks are taken per connection and per question.
//! The row of an application that has ended goes with its last connection.

mod evidence;
mod report;
mod row;
mod standing;
mod user;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sealed_shuffle_config::{Values, keys};
use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};
use sealed_shuffle_protocol::ids::AppId;

use self::row::{Row, Use};
use crate::state::Sighting;

pub(crate) use self::evidence::Evidence;
pub(crate) use self::report::{UsageReport, timestamp};
pub(super) use self::user::owner;

/// What bounds the table of applications that speak to a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApplicationLimits {
    /// Rows (`spark.sealed.applications.max`). 10,000.
    pub(crate) rows: usize,
    /// A row that nobody was seen of for so long goes (`spark.sealed.app.idle-ttl`). Never.
    pub(crate) idle_ttl: Option<Duration>,
}

impl Default for ApplicationLimits {
    fn default() -> Self {
        Self { rows: Values::defaults().count(&keys::APPLICATIONS_MAX), idle_ttl: None }
    }
}

/// Rows by application.
type Rows = Mutex<HashMap<AppId, Arc<Row>>>;

/// The table of applications that speak to a server.
#[derive(Debug)]
pub(crate) struct UsageTable {
    limits: ApplicationLimits,
    rows: Arc<Rows>,
}

impl UsageTable {
    /// An empty table.
    pub(crate) fn new(limits: ApplicationLimits) -> Self {
        Self { limits, rows: Arc::default() }
    }

    /// A served connection speaks for `app`, which it has `proven` or only named. Dropping the handle is its end.
    pub(crate) fn connected(&self, app: &AppId, proven: bool, channel: Channel, peer: IpAddr) -> Speaker {
        let now = SystemTime::now();
        // A row that found no place still counts for its connection.
        let row = self.row(app, proven, now, Row::goes_on);
        let row = row.unwrap_or_else(|| Arc::new(Row::new(app, proven, now)));
        row.seen(now);
        row.peer(peer);
        let through = row.through(channel);
        through.opened();
        Speaker {
            row,
            is_proven: proven,
            through,
            rows: Arc::clone(&self.rows),
            is_granted: AtomicBool::new(false),
        }
    }

    /// A connection that named `app` was refused, over `channel` as far as that was known.
    pub(crate) fn refused(&self, app: &AppId, channel: Option<Channel>, peer: IpAddr, reason: &str) {
        let now = SystemTime::now();
        let Some(row) = self.row(app, false, now, |_| {}) else { return };
        row.seen(now);
        row.refuse(channel, peer, reason, now);
    }

    /// An executor of `app` is registered, before a restart perhaps, whether or not it has been heard since.
    pub(super) fn registered(&self, app: &AppId, proven: bool) {
        let row = self.row(app, proven, SystemTime::now(), Row::goes_on);
        row.inspect(|row| row.registered());
    }

    /// No executor of `app` is registered any more; the application has not ended.
    pub(super) fn registered_no_more(&self, app: &AppId) {
        let mut rows = lock(&self.rows);
        if let Some(row) = rows.get(app)
            && row.registered_no_more()
        {
            rows.remove(app);
        }
    }

    /// What was used, for the recovery store.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        let of_row = |row: &Arc<Row>| {
            let uses = row.details().uses.clone();
            let (app, proven) = (row.app().clone(), row.is_proven());
            uses.into_iter().filter_map(move |one| {
                let now = SystemTime::now();
                let at = if one.is_at_work() { Some(now) } else { one.last_used() };
                Some(Sighting { app: app.clone(), proven, channel: one.channel, at: at? })
            })
        };
        rows.iter().flat_map(of_row).collect()
    }

    /// What was used before a restart, latest last. What was seen since stays as it is.
    pub(super) fn recall(&self, mut sightings: Vec<Sighting>) {
        sightings.sort_by_key(|one| one.at);
        for Sighting { app, proven, channel, at } in sightings {
            if let Some(row) = self.row(&app, proven, at, |_| {}) {
                row.through(channel).used(at);
            }
        }
    }

    /// Whose directories its executors registered.
    pub(super) fn owned_by(&self, app: &AppId, user: String) {
        let row = lock(&self.rows).get(app).cloned();
        row.inspect(|row| row.owned_by(user));
    }

    /// `app` has ended: its row goes, at once or with its last connection. Answers whether it was one that
    /// had not ended yet.
    pub(super) fn end(&self, app: &AppId) -> bool {
        let mut rows = lock(&self.rows);
        let Some(row) = rows.get(app) else { return false };
        let was_listed = !row.has_ended();
        if row.ends() {
            rows.remove(app);
        }
        was_listed
    }

    /// Whether there is a row of `app`.
    #[cfg(test)]
    pub(super) fn knows(&self, app: &AppId) -> bool {
        lock(&self.rows).contains_key(app)
    }

    /// Takes out the rows that nobody was seen of for long.
    pub(super) fn sweep(&self, now: SystemTime) {
        let Some(oldest) = self.limits.idle_ttl.and_then(|ttl| now.checked_sub(ttl)) else { return };
        lock(&self.rows).retain(|_, row| row.is_open() || row.last_seen() >= oldest);
    }

    /// The row of `app`, made where there is none and room for one; `found` is called while nobody can take it out.
    fn row(&self, app: &AppId, proven: bool, now: SystemTime, found: impl FnOnce(&Row)) -> Option<Arc<Row>> {
        let mut rows = lock(&self.rows);
        if let Some(row) = rows.get(app) {
            row.prove(proven);
            found(row);
            return Some(Arc::clone(row));
        }
        if rows.len() >= self.limits.rows {
            make_room(&mut rows, proven, self.limits.rows);
            if rows.len() >= self.limits.rows {
                return None;
            }
        }
        let row = Arc::new(Row::new(app, proven, now));
        rows.insert(app.clone(), Arc::clone(&row));
        Some(row)
    }
}

fn lock(rows: &Rows) -> MutexGuard<'_, HashMap<AppId, Arc<Row>>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out a sixteenth of the rows at once, so that a flood of names pays for few searches: unproven ones first,
/// proven ones only for a proven one.
fn make_room(rows: &mut HashMap<AppId, Arc<Row>>, for_proven: bool, most: usize) {
    let mut candidates: Vec<_> = rows
        .values()
        .filter(|row| for_proven || !row.is_proven())
        .map(|row| (row.is_proven(), row.is_open(), row.last_seen(), row.app().clone()))
        .collect();
    let wanted = (most / 16).max(1).min(candidates.len());
    if wanted == 0 {
        return;
    }
    candidates.select_nth_unstable(wanted - 1);
    for (.., app) in &candidates[..wanted] {
        rows.remove(app);
    }
}

/// A connection in its application's row; its drop is the connection's end.
#[derive(Debug)]
pub(crate) struct Speaker {
    row: Arc<Row>,
    /// Whether this connection has proven its application.
    is_proven: bool,
    through: Arc<Use>,
    rows: Arc<Rows>,
    /// It was granted a request.
    is_granted: AtomicBool,
}

impl Speaker {
    /// The application.
    pub(crate) fn app(&self) -> &AppId {
        self.row.app()
    }

    /// Whether this connection has proven its application.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// A request of it was granted; answers whether it was the first. Costs one load from the second on.
    pub(crate) fn granted(&self) -> bool {
        let is_first =
            !self.is_granted.load(Ordering::Relaxed) && !self.is_granted.swap(true, Ordering::Relaxed);
        if is_first {
            self.through.begins(SystemTime::now());
        }
        is_first
    }

    /// Bytes of blocks were handed out.
    pub(crate) fn served(&self, bytes: u64) {
        self.through.served(bytes);
    }

    /// The peer said something that not every release says.
    pub(crate) fn evidence(&self, evidence: Evidence) {
        self.through.learned(evidence);
    }

    /// Whether nobody was told yet that this application is below `target` over this channel.
    pub(crate) fn first_below(&self, target: SecurityLevel) -> bool {
        self.through.first_below(target)
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let (now, is_granted) = (SystemTime::now(), self.is_granted.load(Ordering::Relaxed));
        self.row.seen(now);
        if is_granted {
            self.through.ends(now);
        }
        self.through.closed();
        if is_granted && !self.row.has_ended() {
            return;
        }
        let mut rows = lock(&self.rows);
        self.row.drop_unused();
        // It may have come back, or another row may have taken its place.
        let is_listed = rows.get(self.row.app()).is_some_and(|row| Arc::ptr_eq(row, &self.row));
        let is_over = self.row.has_ended() && !self.row.is_open();
        if is_listed && (is_over || self.row.is_blank()) {
            rows.remove(self.row.app());
        }
    }
}

#[cfg(test)]
mod tests;
