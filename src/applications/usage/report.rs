//! What the table says: as JSON for the admin port, as counts for the metrics.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use sealed_shuffle_config::Policy;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::row::{Row, Use};
use super::{UsageTable, evidence, lock};
use crate::telemetry::ApplicationCounts;

impl UsageTable {
    /// Every row as JSON, last seen first. `executors` tells how many an application has registered.
    pub(crate) fn snapshot(&self, policy: &Policy, executors: impl Fn(&AppId) -> usize) -> Vec<Value> {
        let mut rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        rows.sort_by(|a, b| (b.last_seen(), a.app()).cmp(&(a.last_seen(), b.app())));
        rows.iter().map(|row| row_of(row, policy, executors(row.app()))).collect()
    }

    pub(crate) fn counts(&self, policy: &Policy) -> ApplicationCounts {
        let rows: Vec<_> = lock(&self.rows).values().cloned().collect();
        let mut counts = ApplicationCounts::default();
        for row in rows {
            let app = row.is_proven().then(|| row.app());
            let mut levels = [false; SecurityLevel::ALL.len()];
            let mut below = false;
            for one in &row.details().uses {
                levels[one.channel.level as usize] = true;
                below |= policy.verdict(app, &one.channel).below_target;
            }
            for (count, used) in counts.by_level.iter_mut().zip(levels) {
                *count += u64::from(used);
            }
            counts.below_target += u64::from(below);
        }
        counts
    }
}

fn row_of(row: &Row, policy: &Policy, executors: usize) -> Value {
    let app = row.is_proven().then(|| row.app());
    let details = row.details();
    let channels: Vec<_> = details.uses.iter().map(|one| use_of(one, policy, app)).collect();
    let advice = details.uses.iter().find_map(|one| policy.advice(app, &one.channel));
    let sum = |of: fn(&Use) -> u64| details.uses.iter().map(|one| of(one)).sum::<u64>();
    json!({
        "app": row.app().as_str(),
        "proven": row.is_proven(),
        "user": details.user,
        "executors": executors,
        "channels": channels,
        "peers": details.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "more_peers": details.more_peers,
        "connections_open": sum(|one| u64::from(one.open.load(Ordering::Relaxed))),
        "connections_total": sum(|one| one.total.load(Ordering::Relaxed)),
        "bytes_served": sum(|one| one.bytes.load(Ordering::Relaxed)),
        "first_seen": timestamp(row.first_seen()),
        "last_seen": timestamp(row.last_seen()),
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

fn use_of(one: &Use, policy: &Policy, app: Option<&AppId>) -> Value {
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
        "served": verdict.served,
        "below_target": verdict.below_target,
        "advice": policy.advice(app, &channel),
    })
}

/// RFC 3339 in UTC, to the second.
fn timestamp(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
