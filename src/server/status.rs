//! All that an operator wants to see at once, as JSON: what `sealed-shuffle status` shows.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Server;
use crate::applications::timestamp;

impl Server {
    /// The state of the server at this moment.
    pub(crate) fn status(&self) -> Value {
        let shared = &self.shared;
        let (is_ready, _) = self.readiness();
        let policy = shared.policy();
        let counts = shared.applications.usage().totals(&policy, |app| shared.applications.executors(app));
        let snapshot = self.snapshot();
        let disks = shared.store.roots().disks().iter().zip(&snapshot.disks).map(|(disk, figures)| {
            let condition = disk.condition();
            json!({
                "root": figures.disk,
                "health": condition.health.name(),
                "why": condition.why,
                "remedy": condition.health.remedy(),
                "free_bytes": figures.space.map(|space| space.free),
                "total_bytes": figures.space.map(|space| space.total),
                "calls_given_up": figures.given_up,
            })
        });
        let shares = snapshot.shares.iter().map(|(name, figures)| {
            json!({
                "name": name,
                "used": figures.used,
                "total": figures.total,
                "largest": figures.largest,
                "waiting": figures.waiters,
                "refused": figures.refused,
            })
        });
        json!({
            "version": 1,
            "release": env!("CARGO_PKG_VERSION"),
            "started": timestamp(shared.started),
            "state": if self.is_draining() { "draining" } else { "serving" },
            "ready": is_ready,
            "policy": self.policy(),
            "applications": {
                "registered": snapshot.applications,
                "executors": snapshot.executors,
                "target": policy.target.name(),
                "counts": counts,
            },
            "connections": shared.metrics.connections.get(),
            "connections_most": shared.metrics.connections_most.get(),
            "connections_full": shared.metrics.connections_full.get() != 0,
            "chunks_in_transfer": shared.metrics.chunks_in_transfer.load(std::sync::atomic::Ordering::Relaxed),
            "served": shared.metrics.served(),
            "refusals": shared.metrics.refusals(),
            "memory": {
                "used_bytes": snapshot.memory_in_use,
                "budget_bytes": snapshot.memory_budget,
                "anonymous_bytes": snapshot.resident_anonymous,
            },
            "disks": disks.collect::<Vec<_>>(),
            "shares": shares.collect::<Vec<_>>(),
            "certificate": self.certificate(),
            "key_service": self.key_service(),
            "audit": shared.audit.figures(),
            "traces": shared.traces.figures(),
            "log_lines_lost": shared.metrics.log_lines_lost(),
            "recovery_store": {
                "exists": shared.applications.state().is_some(),
                "waits_for_key": snapshot.store_awaited,
                "unwritten": snapshot.state.map_or(0, |state| state.unwritten),
            },
        })
    }

    /// What became of the calls for keys; null where there is nothing to seal.
    fn key_service(&self) -> Value {
        let Some(keys) = &self.shared.keys else { return Value::Null };
        let calls = self.shared.metrics.key_calls.figures();
        json!({
            "provider": keys.provider().name(),
            "calls": calls.ended,
            "failed": calls.failed,
            "last": calls.last,
        })
    }

    /// The certificate that peers are shown; null where TLS is not spoken.
    fn certificate(&self) -> Value {
        let Some(own) = self.shared.tls().and_then(|tls| tls.own()) else { return Value::Null };
        let now = SystemTime::now();
        let left = own.left(now);
        json!({
            "subject": own.subject,
            "names": own.names,
            "valid": own.out_of_date(now).is_none(),
            "not_before": timestamp(UNIX_EPOCH + own.not_before),
            "not_after": timestamp(UNIX_EPOCH + own.not_after),
            "seconds_left": left.map_or(0, |left| left.as_secs()),
            "fingerprint": own.fingerprint,
        })
    }
}
