//! Push-based merging on the metrics page. The names follow Spark's push-merge metrics (Spark 3.4 and later).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::numbers;
use crate::merge::MergeCounters;
use crate::view::ViewCounters;

#[derive(Debug, Default)]
pub(super) struct MergeMetrics {
    collisions: Counter,
    late: Counter,
    stale: Counter,
    written: Counter,
    ignored: Counter,
    read_chunks: Counter,
    read_bytes: Counter,
    deferred_bytes: Gauge,
    deferred_blocks: Gauge,
    open_partitions: Gauge,
    deletions: Gauge,
    view_opened: Counter,
    view_read: Counter,
    view_denied: Counter,
    view_failed: Counter,
}

impl MergeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        numbers::register(
            registry,
            &[
                ("merge_block_append_collisions", "Pushed blocks that met another writer", &self.collisions),
                ("merge_late_block_pushes", "Pushed blocks that came too late or twice", &self.late),
                ("merge_stale_block_pushes", "Pushed blocks that a newer merge overtook", &self.stale),
                ("merge_written_bytes", "Bytes of pushed blocks that were written", &self.written),
                ("merge_ignored_bytes", "Bytes of pushed blocks that were not merged", &self.ignored),
                ("merge_read_chunks", "Chunks of merged partitions handed out", &self.read_chunks),
                ("merge_read_bytes", "Bytes of merged partitions handed out", &self.read_bytes),
                (
                    "merge_view_opened",
                    "Files of the view that executors on this host opened",
                    &self.view_opened,
                ),
                ("merge_view_read_bytes", "Bytes of merged data read through the view", &self.view_read),
                (
                    "merge_view_denied",
                    "Files of the view that were asked for by another user",
                    &self.view_denied,
                ),
                ("merge_view_failed", "Openings and reads of the view that failed", &self.view_failed),
            ],
        );
        numbers::register(
            registry,
            &[
                (
                    "merge_deferred_bytes",
                    "Memory of pushed blocks that wait for a writer",
                    &self.deferred_bytes,
                ),
                ("merge_deferred_blocks", "Pushed blocks that wait for a writer", &self.deferred_blocks),
                ("merge_open_partitions", "Partitions being merged", &self.open_partitions),
                (
                    "merge_deletions_waiting",
                    "Deletions of merged files that are not done, each of one disk",
                    &self.deletions,
                ),
            ],
        );
    }

    pub(super) fn set(&self, now: MergeCounters) {
        numbers::store(&[
            (&self.collisions, now.collisions),
            (&self.late, now.late),
            (&self.stale, now.stale),
            (&self.written, now.written_bytes),
            (&self.ignored, now.ignored_bytes),
            (&self.read_chunks, now.read_chunks),
            (&self.read_bytes, now.read_bytes),
        ]);
        numbers::set(&[
            (&self.deferred_bytes, now.deferred_bytes),
            (&self.deferred_blocks, now.deferred_blocks),
            (&self.open_partitions, now.open_partitions),
            (&self.deletions, now.deletions),
        ]);
    }

    pub(super) fn set_view(&self, now: ViewCounters) {
        numbers::store(&[
            (&self.view_opened, now.opened),
            (&self.view_read, now.read_bytes),
            (&self.view_denied, now.denied),
            (&self.view_failed, now.failed),
        ]);
    }
}
