//! The figures of what applications leave behind, and of how much of the disks they use.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::numbers;
use crate::remains::figures::{ClearedOf, DiskUse, Figures};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ClearedLabels {
    of: &'static str,
    /// `removed`, or `dry_run`.
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLabels {
    of: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AppLabels {
    app: String,
}

#[derive(Debug, Default)]
pub(super) struct RemainsMetrics {
    files: Family<ClearedLabels, Counter>,
    bytes: Family<ClearedLabels, Counter>,
    directories: Family<OfLabels, Counter>,
    kept: Family<OfLabels, Counter>,
    waiting: Gauge,
    orphans: Gauge,
    orphan_bytes: Gauge,
    app_bytes: Family<AppLabels, Gauge>,
    app_files: Family<AppLabels, Gauge>,
}

/// The applications that are not named, as a label.
const OTHERS: &str = "";

impl RemainsMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cleanup_files",
            "Files that were left behind: removed, or counted in a dry run; of ended applications, orphans, ended executors",
            self.files.clone(),
        );
        registry.register("cleanup_bytes", "The same: bytes that they took on the disks", self.bytes.clone());
        registry.register("cleanup_directories", "The same: directories removed", self.directories.clone());
        registry.register(
            "cleanup_kept",
            "The same: things that stayed, since Spark does not make them",
            self.kept.clone(),
        );
        registry.register("cleanup_waiting", "Directories that are to be cleared", self.waiting.clone());
        registry.register(
            "orphan_directories",
            "Block directories that no registration names, at the last look",
            self.orphans.clone(),
        );
        registry.register("orphan_bytes", "Bytes that they take on the disks", self.orphan_bytes.clone());
        registry.register(
            "application_disk_bytes",
            "Bytes of block files at the last look, of the ten applications that use most; those of all others without a name",
            self.app_bytes.clone(),
        );
        registry.register("application_disk_files", "The same: block files", self.app_files.clone());
    }

    pub(super) fn set(&self, figures: &Figures) {
        for (of, cleared) in ClearedOf::ALL.into_iter().zip(figures.cleared) {
            for (outcome, used) in [("removed", cleared.removed), ("dry_run", cleared.dry_run)] {
                let labels = ClearedLabels { of: of.name(), outcome };
                store(&self.files.get_or_create(&labels), used.files);
                store(&self.bytes.get_or_create(&labels), used.bytes);
            }
            let labels = OfLabels { of: of.name() };
            store(&self.directories.get_or_create(&labels), cleared.directories);
            store(&self.kept.get_or_create(&labels), cleared.kept);
        }
        numbers::set(&[
            (&self.waiting, figures.waiting),
            (&self.orphans, figures.orphans.directories),
            (&self.orphan_bytes, figures.orphans.used.bytes),
        ]);
        // Applications that have ended are named no more.
        self.app_bytes.clear();
        self.app_files.clear();
        let largest = figures.usage.largest.iter().map(|(app, used)| (app.as_str(), *used));
        for (app, DiskUse { files, bytes }) in largest.chain([(OTHERS, figures.usage.others)]) {
            let labels = AppLabels { app: app.to_owned() };
            numbers::set(&[
                (&self.app_bytes.get_or_create(&labels), bytes),
                (&self.app_files.get_or_create(&labels), files),
            ]);
        }
    }
}

fn store(counter: &Counter, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}
