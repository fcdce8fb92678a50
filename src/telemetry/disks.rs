//! How the disks are.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::disk::{Health, Space};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HealthLabels {
    disk: String,
    health: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DiskLabels {
    disk: String,
}

/// A disk, as of now.
#[derive(Clone, Debug)]
pub struct DiskSnapshot {
    /// Its root.
    pub disk: String,
    /// How it is.
    pub health: Health,
    /// Its room, where that is known.
    pub space: Option<Space>,
    /// Threads whose calls were given up and have not come back.
    pub given_up: u64,
}

/// Each disk by its root.
#[derive(Debug, Default)]
pub(super) struct DiskMetrics {
    health: Family<HealthLabels, Gauge>,
    free: Family<DiskLabels, Gauge>,
    given_up: Family<DiskLabels, Gauge>,
}

impl DiskMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "disk_health",
            "How each disk is: 1 at ok, slow, hung, full, read-only, failed or missing, and 0 at the others",
            self.health.clone(),
        );
        registry.register(
            "disk_free_bytes",
            "Bytes that can still be written to each disk",
            self.free.clone(),
        );
        registry.register(
            "disk_calls_given_up",
            "Calls of each disk that were given up and have not come back",
            self.given_up.clone(),
        );
    }

    pub(super) fn set(&self, disks: &[DiskSnapshot]) {
        for DiskSnapshot { disk, health, space, given_up } in disks {
            for each in Health::ALL {
                let labels = HealthLabels { disk: disk.clone(), health: each.name() };
                self.health.get_or_create(&labels).set(i64::from(each == *health));
            }
            let labels = DiskLabels { disk: disk.clone() };
            if let Some(space) = space {
                self.free.get_or_create(&labels).set(i64::try_from(space.free).unwrap_or(i64::MAX));
            }
            self.given_up.get_or_create(&labels).set(i64::try_from(*given_up).unwrap_or(i64::MAX));
        }
    }
}
