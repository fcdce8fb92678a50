//! The figures of what applications share.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sealed_shuffle_transport::pot::PotFigures;
use std::sync::atomic::Ordering;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ShareLabels {
    share: &'static str,
}

/// Each thing by its name.
#[derive(Debug, Default)]
pub(super) struct ShareMetrics {
    total: Family<ShareLabels, Gauge>,
    used: Family<ShareLabels, Gauge>,
    largest: Family<ShareLabels, Gauge>,
    waiters: Family<ShareLabels, Gauge>,
    refused: Family<ShareLabels, Counter>,
    /// Of those things of which an application has a quota.
    quota: Family<ShareLabels, Gauge>,
    at_quota: Family<ShareLabels, Gauge>,
    reached_quota: Family<ShareLabels, Counter>,
}

impl ShareMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("share_size", "What applications share, by what it is: all that there is", &self.total),
            ("share_used", "The same: what is in use", &self.used),
            ("share_largest", "The same: what the application that uses most of it uses", &self.largest),
            ("share_waiters", "The same: who waits for it", &self.waiters),
            ("quota_limit", "Of what applications share: what one of them may have", &self.quota),
            ("quota_applications", "The same: applications that have all that they may have", &self.at_quota),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "share_refused",
            "The same: who was refused, since it was used up",
            self.refused.clone(),
        );
        registry.register(
            "quota_reached",
            "The same: what was asked for beyond that, and had to wait or was refused",
            self.reached_quota.clone(),
        );
    }

    pub(super) fn set(&self, shares: &[(&'static str, PotFigures)]) {
        for (share, figures) in shares {
            let labels = ShareLabels { share };
            for (family, value) in [
                (&self.total, figures.total),
                (&self.used, figures.used),
                (&self.largest, figures.largest),
                (&self.waiters, figures.waiters),
            ] {
                family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            self.refused.get_or_create(&labels).inner().store(figures.refused, Ordering::Relaxed);
            let Some(quota) = figures.quota else { continue };
            for (family, value) in [(&self.quota, quota), (&self.at_quota, figures.at_quota)] {
                family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            self.reached_quota.get_or_create(&labels).inner().store(figures.reached_quota, Ordering::Relaxed);
        }
    }
}
