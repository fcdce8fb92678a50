//! The trail in numbers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the audit trail. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AuditCounters {
    /// Records that are on the disk.
    pub written: Counter,
    /// Records that are on no disk.
    pub lost: Counter,
    /// Attempts to write that failed.
    pub failures: Counter,
}

impl AuditCounters {
    /// Registers the counters with the metrics page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("audit_records", "Records of the audit trail written", self.written.clone());
        registry.register(
            "audit_records_lost",
            "Records of the audit trail lost: its disk or its key was away for too long",
            self.lost.clone(),
        );
        registry.register(
            "audit_write_failures",
            "Attempts to write the audit trail that failed; they are repeated",
            self.failures.clone(),
        );
    }
}
