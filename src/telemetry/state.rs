//! The recovery store on the metrics page.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::state::StateCounters;

#[derive(Debug, Default)]
pub(super) struct StateMetrics {
    written: Counter,
    lost: Counter,
    commits: Counter,
    records: Gauge,
    waiting: Gauge,
}

impl StateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("state_changes", "Changes of the recovery store that were committed", &self.written),
            ("state_changes_lost", "Changes of the recovery store that could not be written", &self.lost),
            ("state_commits", "Commits of the recovery store, each of one change or many", &self.commits),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            ("state_records", "Records in the recovery store", &self.records),
            ("state_waiting", "Changes that wait to be committed", &self.waiting),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn set(&self, now: StateCounters) {
        for (counter, value) in
            [(&self.written, now.written), (&self.lost, now.lost), (&self.commits, now.commits)]
        {
            counter.inner().store(value, Ordering::Relaxed);
        }
        self.records.set(i64::try_from(now.records).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(now.waiting).unwrap_or(i64::MAX));
    }
}
