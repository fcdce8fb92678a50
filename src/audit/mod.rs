//! The audit trail: who did what, and what came of it.
//!
//! ```text
//! connections, applications, keys, operators ──► sums ──► queue ──► one writer thread ──► audit-NNNNNNNN.jsonl
//!                     nobody waits        what repeats   bounded    a few times a second   audit.head
//! ```
//!
//! | module | knows |
//! |---|---|
//! | `record` | what is written down; what a connection did |
//! | `sums` | what others can cause again and again |
//! | `queue` | records that wait, and how many are lost |
//! | `opening` | lock, end and key of the trail that is there |
//! | `writer` | the thread: lines, files, head |
//! | `line` | the chain, and the seal of a line |
//! | `file`, `head`, `trail` | what lies in the directory |
//! | `verify` | whether a trail is whole |
//! | `reading` | its records, for whoever asks |
//! | `counters` | metrics |
//!
//! # Cost
//!
//! A request adds to numbers of its connection. A record is made at the end of a connection, once a period
//! (`spark.sealed.audit.period`) for a long one, and for what happens to an application, a key, the policy, or by an
//! operator. Of what others can cause at will (connections of one application, refusals, failed calls for keys) so many a
//! minute are written in full, and the rest is summed up. Whoever records waits for nothing: where disk or key are away for
//! too long, records are lost, which the next record, the log and a metric say.
//!
//! # The chain
//!
//! A line has a number, the hash of the line before, and a seal (`line`). A file begins with a line that has the wrapped key
//! of its seals, and goes on with the number and the hash of the file before. The head (`head`) says which file is the
//! oldest and which record the last, and is sealed, too. So whoever does not have the key can neither change, remove nor
//! reorder a line, nor take away a file or the end, unseen. Whoever puts back an old copy of the whole directory with its
//! head is seen by whoever has noted a later number and hash alone (`audit verify --expect`), and whoever can use the key
//! can write a trail of his own.

mod counters;
mod file;
mod head;
mod line;
mod opening;
mod queue;
pub(crate) mod reading;
mod record;
mod sums;
#[cfg(test)]
mod tests;
mod trail;
pub(crate) mod verify;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sealed_shuffle_config::AuditConfig;
use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::stored::envelope::Context;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::counters::AuditCounters;
use self::queue::Queue;
pub(crate) use self::record::Deeds;
use self::record::Record;
pub(crate) use self::record::stamp;
use self::sums::{Bound, Subject, Sums};
use crate::keys::envelope::{KeyCall, KeyProvider, KeyWitness};

/// The application id in the context of the trail's key. No plain file name: an application that bears it has no files.
pub(crate) const NODE_APP: &str = "node/audit-trail";

/// For the last records to be written as the server ends.
const CLOSING: Duration = Duration::from_secs(5);

/// Connections that are written in full within a minute.
const CONNECTIONS: Bound = Bound { each: 64, all: 1024, subjects: 1024 };

/// The same of refusals and failed calls for keys, which strangers can cause.
const FAULTS: Bound = Bound { each: 4, all: 120, subjects: 128 };

/// The application id that the context of the trail's key has; the rest of the context is the server's own.
pub(crate) fn audit_app() -> AppId {
    AppId::new(NODE_APP)
}

/// The trail of a server, or none. Clones write the same one; with the last one it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    handle: Option<Arc<Handle>>,
}

#[derive(Debug)]
struct Handle(Arc<Inner>);

/// What recorders and the writer share.
#[derive(Debug)]
struct Inner {
    queue: Queue,
    connections: Sums,
    faults: Sums,
    counters: AuditCounters,
    period: Duration,
    closing: CancellationToken,
    /// Nothing more is written.
    ended: watch::Sender<bool>,
    dir: PathBuf,
    /// Records that the writer has taken and could not write yet.
    held: AtomicUsize,
    /// When the head last told of all that is in the files.
    sealed: Mutex<Option<SystemTime>>,
}

/// A connection that has ended, or goes on after a period.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) app: &'a AppId,
    /// Whether the peer has proven to speak for it.
    pub(crate) proven: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) channel: Channel,
    /// The first executor that it registered.
    pub(crate) executor: Option<&'a ExecutorId>,
    pub(crate) deeds: &'a Deeds,
    /// Since when this was done.
    pub(crate) since: SystemTime,
    /// Why it has ended; `None` where it goes on.
    pub(crate) ended: Option<&'static str>,
}

/// Who asks for a change at the operator's port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor {
    /// A user of this machine, at the socket.
    User(u32),
    /// A holder of the token.
    Token(SocketAddr),
}

impl Audit {
    /// Takes records for a trail that [`Audit::open`] has written.
    pub(crate) fn begin(config: &AuditConfig, counters: AuditCounters) -> Self {
        let inner = Inner {
            queue: Queue::new(counters.clone()),
            connections: Sums::new(CONNECTIONS),
            faults: Sums::new(FAULTS),
            counters,
            period: config.period,
            closing: CancellationToken::new(),
            ended: watch::Sender::new(false),
            dir: config.dir.clone(),
            held: AtomicUsize::new(0),
            sealed: Mutex::default(),
        };
        Self { handle: Some(Arc::new(Handle(Arc::new(inner)))) }
    }

    /// Has the trail written, as soon as lock, disk and key can be had. `context` is that of [`audit_app`]. Must be called
    /// within a runtime.
    pub(crate) fn open(&self, config: &AuditConfig, provider: &Arc<dyn KeyProvider>, context: Context) {
        let Some(inner) = self.inner() else { return };
        let place = opening::Place { config: config.clone(), provider: Arc::clone(provider), context };
        drop(tokio::spawn(opening::open(Arc::clone(inner), place)));
    }

    /// Whether there is a trail.
    pub(crate) fn is_on(&self) -> bool {
        self.handle.is_some()
    }

    /// Whether a connection of which nothing was written `since` then is to leave a record.
    pub(crate) fn is_due(&self, since: Instant) -> bool {
        self.inner().is_some_and(|inner| since.elapsed() >= inner.period)
    }

    /// Where the trail is and how it is, as JSON; null where there is none.
    pub(crate) fn figures(&self) -> Value {
        let Some(inner) = self.inner() else { return Value::Null };
        let AuditCounters { written, lost, failures } = &inner.counters;
        let sealed = *inner.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "directory": inner.dir.display().to_string(),
            "sealed": sealed.map(stamp),
            "seconds_since_sealed": sealed.map(|at| at.elapsed().unwrap_or_default().as_secs()),
            "waiting": inner.queue.waiting() + inner.held.load(Ordering::Relaxed),
            "written": written.get(),
            "lost": lost.get(),
            "write_failures": failures.get(),
        })
    }

    /// Writes what is to be summed up; with `all`, whatever is left of it.
    pub(crate) fn sum_up(&self, all: bool) {
        let Some(inner) = self.inner() else { return };
        let now = Instant::now();
        for sums in [&inner.connections, &inner.faults] {
            sums.take(now, all).into_iter().for_each(|record| inner.queue.push(record));
        }
    }

    /// Writes what waits, and ends the trail of a server. A disk that does not answer does not hold up the process.
    pub(crate) async fn close(&self) {
        let Some(inner) = self.inner() else { return };
        self.sum_up(true);
        inner.queue.push(Record::now("server_stopped"));
        if !self.end().await {
            warn!("not all records of the audit trail are on the disk");
        }
    }

    /// The same for one who writes a record beside the server; whether all of it is on the disk.
    pub(crate) async fn end(&self) -> bool {
        let Some(inner) = self.inner() else { return true };
        inner.queue.close();
        inner.closing.cancel();
        let mut ended = inner.ended.subscribe();
        let in_time = tokio::time::timeout(CLOSING, ended.wait_for(|ended| *ended)).await.is_ok();
        in_time && inner.queue.untold() == 0
    }

    /// The server has begun.
    pub(crate) fn started(&self, policy: &Value, roots: usize) {
        self.say(|| {
            Record::now("server_started")
                .value("release", env!("CARGO_PKG_VERSION"))
                .value("pid", std::process::id())
                .value("user", rustix::process::geteuid().as_raw())
                .value("roots", roots)
                .value("policy", policy.clone())
        });
    }

    /// Applications are known again after a restart.
    pub(crate) fn restored(&self, executors: usize, dropped: usize, secrets: usize) {
        self.say(|| {
            Record::now("records_restored")
                .value("executors", executors)
                .value("dropped", dropped)
                .value("secrets", secrets)
        });
    }

    /// An application has its first executor here.
    pub(crate) fn application_began(&self, app: &AppId, executor: &ExecutorId, proven: bool) {
        self.say(|| {
            Record::now("application_began")
                .text("app", app.as_str())
                .text("executor", executor.as_str())
                .value("proven", proven)
        });
    }

    /// An application was handed over.
    pub(crate) fn handed_over(&self, app: &AppId, with_secret: bool) {
        self.say(|| {
            Record::now("application_handed_over").text("app", app.as_str()).value("with_secret", with_secret)
        });
    }

    /// An application has ended.
    pub(crate) fn application_ended(&self, app: &AppId, executors: usize, reason: &'static str) {
        self.say(|| {
            Record::now("application_ended")
                .text("app", app.as_str())
                .value("executors", executors)
                .value("reason", reason)
        });
    }

    /// A configuration was read again.
    pub(crate) fn reloaded(&self, before: &Value, after: &Value) {
        self.say(|| match before == after {
            true => Record::now("configuration_read_again").value("policy", "as before"),
            false => {
                Record::now("policy_changed").value("before", before.clone()).value("after", after.clone())
            }
        });
    }

    /// A configuration was read again, and is no good.
    pub(crate) fn not_reloaded(&self, why: &str) {
        self.say(|| Record::now("configuration_read_again").value("outcome", "refused").text("why", why));
    }

    /// Block directories that no application has are going to be removed, since the configuration says so.
    pub(crate) fn removes_orphans(&self, directories: u64) {
        self.say(|| clean_up("begins").value("directories", directories));
    }

    /// One of them was removed: all of it, or so many files of it.
    pub(crate) fn removed_orphan(&self, path: &str, is_all: bool, files: u64, bytes: u64) {
        let outcome = if is_all { "done" } else { "partly" };
        self.say(|| clean_up(outcome).text("about", path).value("files", files).value("bytes", bytes));
    }

    /// One of them could not be removed; it is tried again.
    pub(crate) fn orphan_not_removed(&self, path: &str, why: &str) {
        self.say(|| clean_up("failed").text("about", path).text("why", why));
    }

    /// An operator asked for a change, or made one with a command, and this is what came of it.
    pub(crate) fn operator(
        &self,
        who: Actor,
        action: &'static str,
        about: Option<&str>,
        outcome: &str,
        numbers: &[(&'static str, u64)],
    ) {
        self.say(|| {
            let record = Record::now("operator").value("action", action).value("outcome", outcome);
            let record = numbers.iter().fold(record, |record, (name, number)| record.value(name, *number));
            let record = match who {
                Actor::User(user) => record.value("user", user),
                Actor::Token(peer) => record.value("token", true).value("peer", peer.to_string()),
            };
            match action {
                "forget" => record.maybe("app", about),
                _ => record.maybe("about", about),
            }
        });
    }

    /// A peer was refused something. `app` is who it named, or claimed to be.
    pub(crate) fn refused(&self, reason: &'static str, app: Option<&AppId>, peer: SocketAddr, words: &str) {
        let Some(inner) = self.inner() else { return };
        let address = peer.ip().to_canonical();
        if inner.is_said("refused", reason, ("address", address), words) {
            let record = Record::now("refused").value("reason", reason).value("peer", peer.to_string());
            let record = record.maybe("app", app.map(AppId::as_str));
            inner.queue.push(record.text("words", words));
        }
    }

    /// Somebody was refused a change at the operator's port.
    pub(crate) fn operator_refused(&self, who: Actor, action: &str, why: &str) {
        let Some(inner) = self.inner() else { return };
        let (name, whose) = match who {
            Actor::User(user) => ("user", user.to_string()),
            Actor::Token(peer) => ("address", peer.ip().to_canonical().to_string()),
        };
        if inner.is_said("operator_refused", "", (name, whose), why) {
            let record = Record::now("operator_refused").text("action", action).text("why", why);
            inner.queue.push(match who {
                Actor::User(user) => record.value("user", user),
                Actor::Token(peer) => record.value("peer", peer.to_string()),
            });
        }
    }

    /// A connection has ended, or goes on.
    pub(crate) fn connection(&self, of: &Connection<'_>) {
        let Some(inner) = self.inner() else { return };
        let subject =
            Subject { what: "connection", reason: "", whose: Some(("app", of.app.as_str().to_owned())) };
        if !inner.connections.is_in_full(Instant::now(), subject, of.deeds, "") {
            return;
        }
        let Channel { level, handshake, cipher, .. } = of.channel;
        let record = Record::now("connection")
            .text("app", of.app.as_str())
            .value("proven", of.proven)
            .value("peer", of.peer.to_string())
            .value("channel", level.name())
            .value("handshake", handshake.name())
            .value("cipher", cipher)
            .value("since", stamp(of.since))
            .value("outcome", of.ended.unwrap_or("goes_on"))
            .maybe("executor", of.executor.map(ExecutorId::as_str));
        inner.queue.push(of.deeds.put(record));
    }

    fn say(&self, record: impl FnOnce() -> Record) {
        if let Some(inner) = self.inner() {
            inner.queue.push(record());
        }
    }

    fn inner(&self) -> Option<&Arc<Inner>> {
        self.handle.as_ref().map(|handle| &handle.0)
    }
}

impl Inner {
    /// The head tells of all that is in the files.
    fn is_sealed(&self) {
        *self.sealed.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }

    fn is_said(
        &self,
        what: &'static str,
        reason: &'static str,
        (name, whose): (&'static str, impl ToString),
        words: &str,
    ) -> bool {
        let subject = Subject { what, reason, whose: Some((name, whose.to_string())) };
        self.faults.is_in_full(Instant::now(), subject, &Deeds::default(), words)
    }
}

impl KeyWitness for Audit {
    fn called(&self, call: &KeyCall<'_>) {
        let Some(inner) = self.inner() else { return };
        let KeyCall { app, done, key, error, request, provider } = call;
        let outcome = error.map_or("done", |error| error.kind().name());
        let why = error.map(ToString::to_string);
        if let Some(why) = &why
            && !inner.is_said("key", outcome, ("app", app.as_str()), why)
        {
            return;
        }
        let record = Record::now("key")
            .text("app", app.as_str())
            .value("done", *done)
            .value("provider", *provider)
            .value("outcome", outcome)
            .maybe("key_id", *key)
            .maybe("request_id", request.as_deref())
            .maybe("why", why.as_deref());
        inner.queue.push(record);
    }
}

/// What the server removes by itself. An operator's command that does the same has the same action.
fn clean_up(outcome: &'static str) -> Record {
    Record::now("clean_up").value("action", "orphans_delete").value("outcome", outcome)
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.closing.cancel();
    }
}
