//! Counts calls to the key service by provider, call and outcome, and measures their duration.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds. A local file takes microseconds, a key service in the same region some ten milliseconds.
/// An unreachable one takes the whole of `spark.sealed.keys.timeout`.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0];

/// The call for a new key.
pub const GENERATE: &str = "generate";

/// The call for the key of a wrapped one.
pub const UNWRAP: &str = "unwrap";

/// The outcome of a call that gave a key. The others are the [names](super::KeyErrorKind::NAMES) of what went wrong.
pub const DONE: &str = "ok";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CallLabels {
    provider: &'static str,
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LatencyLabels {
    provider: &'static str,
    call: &'static str,
}

/// Counters of calls. Clones share them.
#[derive(Clone, Debug)]
pub struct KeyCalls {
    calls: Family<CallLabels, Counter>,
    seconds: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    figures: Arc<Mutex<KeyCallFigures>>,
}

/// The calls since the start, for a person.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeyCallFigures {
    /// All that have ended.
    pub ended: u64,
    /// Those that gave no key.
    pub failed: u64,
    /// The outcome of the last one.
    pub last: Option<&'static str>,
}

impl Default for KeyCalls {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            figures: Arc::default(),
        }
    }
}

impl KeyCalls {
    /// Registers the counters with the metrics page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Calls to the key service, by provider, call (generate, unwrap) and outcome";
        registry.register("key_calls", help, self.calls.clone());
        registry.register_with_unit(
            "key_call",
            "Duration of calls to the key service, retries included",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }

    /// Each call to `provider` with each outcome is there from now on.
    pub fn begin_at_zero(&self, provider: &'static str, outcomes: &[&'static str]) {
        for call in [GENERATE, UNWRAP] {
            for outcome in outcomes {
                drop(self.calls.get_or_create(&CallLabels { provider, call, outcome }));
            }
            drop(self.seconds.get_or_create(&LatencyLabels { provider, call }));
        }
    }

    /// Counts a call that has ended.
    pub fn ended(&self, provider: &'static str, call: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { provider, call, outcome }).inc();
        self.seconds.get_or_create(&LatencyLabels { provider, call }).observe(took.as_secs_f64());
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.ended += 1;
        figures.failed += u64::from(outcome != DONE);
        figures.last = Some(outcome);
    }

    /// The calls so far.
    pub fn figures(&self) -> KeyCallFigures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of calls of that kind with that outcome so far.
    pub fn count(&self, provider: &'static str, call: &'static str, outcome: &'static str) -> u64 {
        self.calls.get_or_create(&CallLabels { provider, call, outcome }).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_calls_by_outcome_and_their_duration() {
        let (calls, mut registry) = (KeyCalls::default(), Registry::with_prefix("p"));
        calls.register(&mut registry);
        calls.ended("aws-kms", "generate", "ok", Duration::from_millis(30));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for line in [
            r#"p_key_calls_total{provider="aws-kms",call="generate",outcome="ok"} 1"#,
            r#"p_key_call_seconds_bucket{le="0.05",provider="aws-kms",call="generate"} 1"#,
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }
}
