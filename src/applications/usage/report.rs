//! What the table says: as JSON for the admin port, as counts for the metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use sealed_shuffle_config::Policy;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::row::{Row, Use};
use super::standing::Standing;
use super::{UsageTable, evidence, lock};
use crate::telemetry::ApplicationCounts;

impl UsageTable {
    /// Every row, last seen first; where `since` is given, only those that run or were seen from then on. `executors`
    /// tells how many an application has registered.
    pub(crate) fn snapshot(
        &self,
        policy: &Policy,
        since: Option<SystemTime>,
        executors: impl Fn(&AppId) -> usize,
    ) -> UsageReport {
        let mut rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        rows.sort_by(|a, b| (b.last_seen(), a.app()).cmp(&(a.last_seen(), b.app())));
        let mut report = UsageReport::default();
        for row in rows {
            let executors = executors(row.app());
            let standing = Standing::of(&row, executors, since);
            let is_listed =
                standing.is_running || row.is_open() || since.is_none_or(|since| row.last_seen() >= since);
            if is_listed {
                let is_below = is_below(&row, &standing, policy);
                report.count(&standing, is_below);
                report.rows.push(row_of(&row, &standing, policy, executors));
            }
        }
        report
    }

    /// How many rows there are, and how many of them are below the target, as [`UsageReport::counts`] says it: for who does
    /// not want to see the rows.
    pub(crate) fn totals(&self, policy: &Policy, executors: impl Fn(&AppId) -> usize) -> Value {
        let rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        let mut report = UsageReport::default();
        for row in rows {
            let standing = Standing::of(&row, executors(row.app()), None);
            report.count(&standing, is_below(&row, &standing, policy));
        }
        report.counts()
    }

    /// The applications that run, by channel. `executors` tells how many an application has registered.
    pub(crate) fn counts(&self, policy: &Policy, executors: impl Fn(&AppId) -> usize) -> ApplicationCounts {
        let rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        let mut counts = ApplicationCounts::default();
        for row in rows {
            let standing = Standing::of(&row, executors(row.app()), None);
            if !standing.is_running {
                continue;
            }
            let mut levels = [false; SecurityLevel::ALL.len()];
            for one in &standing.counting {
                levels[one.channel.level as usize] = true;
            }
            counts.unheard += u64::from(standing.counting.is_empty());
            for (count, used) in counts.by_level.iter_mut().zip(levels) {
                *count += u64::from(used);
            }
            counts.below_target += u64::from(is_below(&row, &standing, policy));
        }
        counts
    }
}

/// The table at one moment.
#[derive(Debug, Default)]
pub(crate) struct UsageReport {
    /// A row for each application.
    pub(crate) rows: Vec<Value>,
    running: Count,
    all: Count,
}

/// Applications that a channel is known of, those among them that are below the target, and those that none is known of.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    applications: usize,
    below_target: usize,
    unheard: usize,
}

impl UsageReport {
    /// How many are below the target: of those that run, and of all that are listed.
    pub(crate) fn counts(&self) -> Value {
        json!({ "running": self.running.to_json(), "all": self.all.to_json() })
    }

    fn count(&mut self, standing: &Standing, is_below: bool) {
        let running = standing.is_running.then_some(&mut self.running);
        for count in running.into_iter().chain([&mut self.all]) {
            match standing.counting.is_empty() {
                // One that was only refused, or only looked at us, is no application that could be refused.
                true => count.unheard += usize::from(standing.is_running),
                false => count.applications += 1,
            }
            count.below_target += usize::from(is_below);
        }
    }
}

impl Count {
    fn to_json(self) -> Value {
        json!({
            "applications": self.applications, "below_target": self.below_target, "unheard": self.unheard,
        })
    }
}

fn is_below(row: &Row, standing: &Standing, policy: &Policy) -> bool {
    let app = row.is_proven().then(|| row.app());
    standing.counting.iter().any(|one| policy.verdict(app, &one.channel).below_target)
}

fn row_of(row: &Row, standing: &Standing, policy: &Policy, executors: usize) -> Value {
    let app = row.is_proven().then(|| row.app());
    let details = row.details();
    let used = details.uses.iter().filter(|one| one.is_used());
    let channels: Vec<_> = used.map(|one| use_of(one, standing, policy, app)).collect();
    let advice = standing.counting.iter().find_map(|one| policy.advice(app, &one.channel));
    let sum = |of: fn(&Use) -> u64| details.uses.iter().map(|one| of(one)).sum::<u64>();
    json!({
        "app": row.app().as_str(),
        "proven": row.is_proven(),
        "user": details.user,
        "executors": executors,
        "running": standing.is_running,
        "channels": channels,
        "peers": details.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "more_peers": details.more_peers,
        "connections_open": sum(|one| u64::from(one.open.load(Ordering::Relaxed))),
        "connections_total": sum(|one| one.total.load(Ordering::Relaxed)),
        "bytes_served": sum(|one| one.bytes.load(Ordering::Relaxed)),
        "first_seen": timestamp(row.first_seen()),
        "last_seen": timestamp(if details.is_open() { SystemTime::now() } else { row.last_seen() }),
        "refused": details.refused,
        "last_refusal": details.last_refusal.as_ref().map(|refused| json!({
            "reason": refused.reason,
            "peer": refused.peer.to_string(),
            "channel": refused.channel.map(|channel| channel.level.name()),
            "at": timestamp(refused.at),
        })),
        "below_target": advice.is_some(),
        "advice": advice,
    })
}

fn use_of(one: &Arc<Use>, standing: &Standing, policy: &Policy, app: Option<&AppId>) -> Value {
    let channel = one.channel;
    let verdict = policy.verdict(app, &channel);
    json!({
        "channel": channel.level.name(),
        "handshake": channel.handshake.name(),
        "cipher": channel.cipher,
        "tls": channel.tls.map(|version| version.name()),
        "spark": evidence::range(channel, one.evidence.load(Ordering::Relaxed)),
        "connections_open": one.open.load(Ordering::Relaxed),
        "connections_total": one.total.load(Ordering::Relaxed),
        "bytes_served": one.bytes.load(Ordering::Relaxed),
        "last_used": one.last_used().and_then(timestamp),
        "counts": standing.counts(one),
        "served": verdict.served,
        "below_target": verdict.below_target,
        "advice": policy.advice(app, &channel),
    })
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn timestamp(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
