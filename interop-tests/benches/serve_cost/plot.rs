//! The picture: the server's CPU time per GB, Spark's and ours.

use sealed_shuffle_measure::Bars;

use crate::case::{Clients, Work};
use crate::report::{Report, Run};

const SERIES: [(&str, &str); 2] = [("sealed-shuffle", "#0b6e4f"), ("Spark 4.3.0", "#e25a1c")];

/// The picture of all cases in which Spark's client takes blocks of the usual size.
pub(crate) fn svg(reports: &[Report]) -> String {
    let mut bars = Bars::new(
        "Server CPU seconds per GB served, 128 KiB blocks",
        "Spark's client, page cache, loopback; median, line from least to most",
        &SERIES,
    );
    let is_shown =
        |report: &&Report| report.case.work == Work::Blocks && report.case.clients == Clients::Spark;
    for report in reports.iter().filter(is_shown) {
        if let (Some(ours), Some(spark)) = (report.ours(Run::cost), report.other(Run::cost)) {
            let label = format!("{}, {}", report.case.title(), report.start.name());
            bars.row(&label, &[Some(ours), Some(spark)]);
        }
    }
    bars.to_string()
}
