//! The picture: the server's CPU time per GB as horizontal bars, Spark's and ours, least to most as a line over each.

use std::fmt::Write;

use sealed_shuffle_measure::Spread;

use crate::case::{Clients, Work};
use crate::report::{Report, Run};

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 220.0;
const LONGEST: f64 = 540.0;
const TOP: f64 = 84.0;
const BAR: f64 = 15.0;
/// From one pair of bars to the next.
const STEP: f64 = 46.0;
const OURS: &str = "#0b6e4f";
const SPARK: &str = "#e25a1c";

/// The picture of all cases in which Spark's client takes blocks of the usual size.
pub(crate) fn svg(reports: &[Report]) -> String {
    let rows: Vec<Row> = reports.iter().filter_map(Row::of).collect();
    let most = rows.iter().map(|row| row.ours.most.max(row.spark.most)).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + STEP * rows.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"30\" font-size=\"17\" font-weight=\"bold\">Server CPU seconds per GB served, 128 KiB blocks</text>\n\
         <text x=\"20\" y=\"52\" fill=\"#555555\">Spark's client, page cache, loopback; median, line from least to most</text>\n",
    );
    for (x, colour, name) in [(600.0, OURS, "sealed-shuffle"), (730.0, SPARK, "Spark 4.3.0")] {
        svg += &format!(
            "<rect x=\"{x}\" y=\"41\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"52\">{name}</text>\n",
            x + 18.0
        );
    }
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + STEP * at as f64;
        let middle = y + BAR + 4.0;
        writeln!(svg, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>", LEFT - 12.0, row.label)
            .expect("text takes any length");
        bar(&mut svg, y, row.ours, most, OURS);
        bar(&mut svg, y + BAR + 2.0, row.spark, most, SPARK);
    }
    svg + "</svg>\n"
}

/// One pair of bars.
struct Row {
    label: String,
    ours: Spread,
    spark: Spread,
}

impl Row {
    fn of(report: &Report) -> Option<Self> {
        let is_shown = report.case.work == Work::Blocks && report.case.clients == Clients::Spark;
        let (ours, spark) = (report.ours(Run::cost)?, report.other(Run::cost)?);
        let label = format!("{}, {}", report.case.title(), report.start.name());
        is_shown.then_some(Self { label, ours, spark })
    }
}

fn bar(svg: &mut String, y: f64, spread: Spread, most: f64, colour: &str) {
    let long = |value: f64| value / most * LONGEST;
    let Spread { least, median, most: worst } = spread;
    let (middle, end) = (y + BAR / 2.0, LEFT + long(worst).max(long(median)) + 8.0);
    writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222222\"/>\
         <text x=\"{end:.1}\" y=\"{:.1}\" font-size=\"12\">{median:.2}</text>",
        long(median),
        LEFT + long(least),
        LEFT + long(worst),
        middle + 4.5,
    )
    .expect("text takes any length");
}
