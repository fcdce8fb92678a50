//! The table of applications: who speaks to this server, how, and what a higher minimum would do to them.
//!
//! ```text
//! session ──connected──► Seen (atomics of one row) ──drop──► disconnected
//!         ──refused────►                      table ──snapshot──► admin port, metrics
//! ```
//!
//! Bounded in every direction that a peer can press on: rows, channels of a row, addresses of a row. The row that was
//! seen longest ago goes first, those with open connections last; a name that nobody has proven never pushes out one
//! that somebody has. What happens per block is two atomic additions; locks are taken per connection and per question.

mod evidence;
mod report;
mod row;
mod user;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sealed_shuffle_config::{Values, keys};
use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::ids::AppId;

use self::row::{Application, Use};

pub use self::evidence::Evidence;
pub(super) use self::user::owner;

/// What bounds the table.
#[derive(Clone, Copy, Debug)]
pub struct ApplicationLimits {
    /// Rows (`spark.sealed.applications.max`). 10,000.
    pub rows: usize,
    /// A row that nobody was seen of for so long goes (`spark.sealed.app.idle-ttl`). Never.
    pub idle_ttl: Option<Duration>,
}

impl Default for ApplicationLimits {
    fn default() -> Self {
        Self { rows: Values::defaults().count(&keys::APPLICATIONS_MAX), idle_ttl: None }
    }
}

/// The table of applications.
#[derive(Debug)]
pub struct Applications {
    limits: ApplicationLimits,
    rows: Mutex<HashMap<AppId, Arc<Application>>>,
}

impl Applications {
    /// An empty table.
    pub fn new(limits: ApplicationLimits) -> Self {
        Self { limits, rows: Mutex::default() }
    }

    /// A served connection speaks for `app`, which it has `proven` or only named. Dropping the handle is its end.
    pub fn connected(&self, app: &AppId, proven: bool, channel: Channel, peer: IpAddr) -> Seen {
        let now = SystemTime::now();
        // A row that found no place still counts for its connection.
        let application =
            self.row(app, proven, now).unwrap_or_else(|| Arc::new(Application::new(app, proven, now)));
        application.seen(now);
        application.peer(peer);
        let through = application.through(channel);
        through.opened();
        Seen { application, through }
    }

    /// A connection that named `app` was refused, over `channel` as far as that was known.
    pub fn refused(&self, app: &AppId, channel: Option<Channel>, peer: IpAddr, reason: &str) {
        let now = SystemTime::now();
        let Some(application) = self.row(app, false, now) else { return };
        application.seen(now);
        application.refuse(channel, peer, reason, now);
    }

    /// Takes the row of `app` out, if nobody is connected.
    pub fn forget(&self, app: &AppId) {
        let mut rows = self.rows();
        if rows.get(app).is_some_and(|row| !row.is_open()) {
            rows.remove(app);
        }
    }

    /// Takes out the rows that nobody was seen of for long.
    pub fn sweep(&self, now: SystemTime) {
        let Some(oldest) = self.limits.idle_ttl.and_then(|ttl| now.checked_sub(ttl)) else { return };
        self.rows().retain(|_, row| row.is_open() || row.last_seen() >= oldest);
    }

    fn row(&self, app: &AppId, proven: bool, now: SystemTime) -> Option<Arc<Application>> {
        let mut rows = self.rows();
        if let Some(row) = rows.get(app) {
            row.prove(proven);
            return Some(Arc::clone(row));
        }
        if rows.len() >= self.limits.rows {
            make_room(&mut rows, proven, self.limits.rows);
            if rows.len() >= self.limits.rows {
                return None;
            }
        }
        let row = Arc::new(Application::new(app, proven, now));
        rows.insert(app.clone(), Arc::clone(&row));
        Some(row)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<AppId, Arc<Application>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out a sixteenth of the rows at once, so that a flood of names pays for few searches: unproven ones first,
/// proven ones only for a proven one.
fn make_room(rows: &mut HashMap<AppId, Arc<Application>>, for_proven: bool, most: usize) {
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
pub struct Seen {
    application: Arc<Application>,
    through: Arc<Use>,
}

impl Seen {
    /// The application.
    pub fn app(&self) -> &AppId {
        self.application.app()
    }

    /// Bytes of blocks were handed out.
    pub fn served(&self, bytes: u64) {
        self.through.served(bytes);
    }

    /// The peer said something that not every release says.
    pub fn evidence(&self, evidence: Evidence) {
        self.through.learned(evidence);
    }

    /// Whose directories its executors registered.
    pub fn owned_by(&self, user: String) {
        self.application.owned_by(user);
    }

    /// Whether nobody was told yet that this application is below `target` over this channel.
    pub fn first_below(&self, target: sealed_shuffle_protocol::channel::SecurityLevel) -> bool {
        self.through.first_below(target)
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.application.seen(SystemTime::now());
        self.through.closed();
    }
}

#[cfg(test)]
mod tests;
