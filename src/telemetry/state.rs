//! The recovery store on the metrics page.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::numbers;
use crate::state::StateCounters;

#[derive(Debug, Default)]
pub(super) struct StateMetrics {
    written: Counter,
    lost: Counter,
    commits: Counter,
    records: Gauge,
    waiting: Gauge,
    unwritten: Gauge,
}

impl StateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        numbers::register(
            registry,
            &[
                ("state_changes", "Changes of the recovery store that were committed", &self.written),
                ("state_changes_lost", "Changes of the recovery store that were given up", &self.lost),
                ("state_commits", "Commits of the recovery store, each of one change or many", &self.commits),
            ],
        );
        numbers::register(
            registry,
            &[
                ("state_records", "Records in the recovery store", &self.records),
                ("state_waiting", "Changes that wait to be committed", &self.waiting),
                (
                    "state_unwritten",
                    "Changes that were answered and are not on the disk, which fails or does not answer",
                    &self.unwritten,
                ),
            ],
        );
    }

    pub(super) fn set(&self, now: StateCounters) {
        numbers::store(&[(&self.written, now.written), (&self.lost, now.lost), (&self.commits, now.commits)]);
        numbers::set(&[
            (&self.records, now.records),
            (&self.waiting, now.waiting as u64),
            (&self.unwritten, now.unwritten as u64),
        ]);
    }
}
