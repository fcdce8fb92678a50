//! The times of the parts of a block's way, as a histogram.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use sealed_shuffle_transport::seal::{Phase, Phases};

/// Reads the times when the page is rendered. Whoever sends blocks adds to them without a lock.
#[derive(Debug)]
struct PhaseTimes(Arc<Phases>);

pub(super) fn register(registry: &mut Registry, phases: Arc<Phases>) {
    registry.register_collector(Box::new(PhaseTimes(phases)));
}

impl Collector for PhaseTimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Time of a segment of blocks on its way out, by phase: queue, disk, cipher, socket";
        let mut family =
            encoder.encode_descriptor("block_phase", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for phase in Phase::ALL {
            let figures = self.0.figures(phase);
            let labels = [("phase", phase.name())];
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(figures.seconds, figures.count, &figures.buckets, None)?;
        }
        Ok(())
    }
}
