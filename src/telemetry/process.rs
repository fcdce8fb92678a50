//! The process itself, under the names that every exporter of Prometheus uses, and what it was built from.

use std::process;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use sealed_shuffle_measure::process::{cpu_seconds, descriptors, resident_memory};

/// A registry of its own: these names have no prefix of ours.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    registry: Registry,
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    descriptors: Gauge,
    most_descriptors: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("process");
        let (cpu, resident) = (Counter::default(), Gauge::default());
        let (descriptors, most_descriptors) = (Gauge::default(), Gauge::default());
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        registry.register("cpu_seconds", "User and system time of all threads", cpu.clone());
        registry.register("start_time_seconds", "Start of the process, in time since 1970", started);
        registry.register("resident_memory_bytes", "Resident memory", resident.clone());
        registry.register("open_fds", "Open descriptors", descriptors.clone());
        registry.register("max_fds", "Descriptors that may be open", most_descriptors.clone());
        Self { registry, cpu, resident, descriptors, most_descriptors }
    }

    /// What the kernel says now. What it does not say stays as it was.
    pub(super) fn look(&self) -> &Registry {
        let me = process::id();
        if let Ok(seconds) = cpu_seconds(me) {
            let more = (seconds - self.cpu.get()).max(0.0);
            self.cpu.inc_by(more);
        }
        let set = |gauge: &Gauge, value: Option<u64>| {
            if let Some(value) = value {
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        };
        set(&self.resident, resident_memory(me).ok());
        set(&self.descriptors, descriptors(me).ok().map(|open| open as u64));
        set(&self.most_descriptors, getrlimit(Resource::Nofile).current);
        &self.registry
    }
}

/// Features of Cargo, by their names in metrics and JSON, and whether the program was built with them.
pub(crate) fn features() -> [(&'static str, bool); 4] {
    [
        ("aws_kms", cfg!(feature = "aws-kms")),
        ("hadoop_kms", cfg!(feature = "hadoop-kms")),
        ("kubernetes", cfg!(feature = "kubernetes")),
        ("program", cfg!(feature = "program")),
    ]
}

/// What the program was built from.
pub(super) fn build() -> Info<Vec<(&'static str, &'static str)>> {
    let mut labels = vec![("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
    labels.extend(features().map(|(name, is_on)| (name, if is_on { "yes" } else { "no" })));
    Info::new(labels)
}
