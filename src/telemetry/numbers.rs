//! Numbers that other parts of the server count. The metrics page takes them over when it is rendered.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// Registers metrics of one kind: for each its name, its help text, and itself.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, metrics: &[(&str, &str, &M)]) {
    for &(name, help, metric) in metrics {
        registry.register(name, help, metric.clone());
    }
}

/// Takes over numbers that only grow.
pub(super) fn store(counters: &[(&Counter, u64)]) {
    for (counter, value) in counters {
        counter.inner().store(*value, Ordering::Relaxed);
    }
}

/// Takes over numbers as of now.
pub(super) fn set(gauges: &[(&Gauge, u64)]) {
    for (gauge, value) in gauges {
        gauge.set(i64::try_from(*value).unwrap_or(i64::MAX));
    }
}
