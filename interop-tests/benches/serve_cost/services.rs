//! The two services of a case, each a process of its own.

use sealed_shuffle_interop_tests::modes::Service;
use sealed_shuffle_interop_tests::services::ServiceProcess;
use sealed_shuffle_interop_tests::spark::Spark;
use tempfile::TempDir;

use crate::case::Case;
use crate::load::Shuffle;

/// How services are before a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// Started anew for every run, nothing warmed up: what a JVM costs that has just been started.
    Cold,
    /// As the runs before have left them, after one that does not count.
    Warm,
}

impl Start {
    /// For readers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "just started",
            Self::Warm => "warm",
        }
    }
}

/// Our server; `more` wins over the case's own keys.
pub(crate) fn ours(shuffle: &Shuffle, case: &Case, more: &[(String, String)]) -> ServiceProcess {
    let mut conf = case.service_conf(Service::Ours);
    conf.extend(more.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let state = case.work.merges().then(|| {
        let state = TempDir::with_prefix("serve-cost-state-");
        state.expect("the temporary directory is writable")
    });
    ServiceProcess::ours(shuffle.root(), case.secret(), conf, state)
}

/// Spark's own service.
pub(crate) fn spark(spark: &Spark, shuffle: &Shuffle, case: &Case) -> ServiceProcess {
    ServiceProcess::spark(spark, shuffle.root(), case.secret(), &case.service_conf(Service::Spark))
}
