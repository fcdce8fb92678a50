//! Traces in numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a span reaches no collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Loss {
    /// Too many wait, since the collector is slow or away.
    Waiting,
    /// Too many requests are traced at the same time.
    Open,
    /// The collector refused it.
    Refused,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Waiting, Self::Open, Self::Refused];

    /// The word in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "too_many_wait",
            Self::Open => "too_many_open",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LossLabels {
    reason: &'static str,
}

/// Counters of traces. Clones share them.
#[derive(Clone, Debug)]
pub struct TraceCounters {
    sent: Counter,
    lost: Family<LossLabels, Counter>,
    failures: Counter,
}

impl Default for TraceCounters {
    /// All at zero, those with labels, too.
    fn default() -> Self {
        let lost: Family<LossLabels, Counter> = Family::default();
        for loss in Loss::ALL {
            drop(lost.get_or_create(&LossLabels { reason: loss.name() }));
        }
        Self { sent: Counter::default(), lost, failures: Counter::default() }
    }
}

impl TraceCounters {
    pub(super) fn sends(&self, spans: u64) {
        self.sent.inc_by(spans);
    }

    pub(super) fn loses(&self, loss: Loss, spans: u64) {
        self.lost.get_or_create(&LossLabels { reason: loss.name() }).inc_by(spans);
    }

    pub(super) fn fails(&self) {
        self.failures.inc();
    }

    /// Spans that a collector took.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Spans that none took.
    pub(super) fn lost(&self) -> u64 {
        Loss::ALL.iter().map(|loss| self.lost.get_or_create(&LossLabels { reason: loss.name() }).get()).sum()
    }

    /// Registers the counters with the metrics page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("trace_spans", "Spans of traces that the collector took", self.sent.clone());
        registry.register(
            "trace_spans_lost",
            "Spans of traces that no collector took, by reason",
            self.lost.clone(),
        );
        registry.register(
            "trace_failures",
            "Messages to the collector that failed; what they held is sent again, unless the collector refused it",
            self.failures.clone(),
        );
    }
}
