//! The figures as a Markdown table, and the machine that they were taken on.

use std::fmt;
use std::fs;
use std::process::Command;

use sealed_shuffle_interop_tests::spark::java_home;
use serde_json::json;

use crate::case::{Case, Work};
use crate::load::Shuffle;
use crate::options::Options;

/// One run of the client against one service.
pub(crate) struct Run {
    /// GB (10^9 bytes) of blocks, or thousands of connections.
    pub(crate) amount: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) resident: u64,
}

impl Run {
    /// CPU seconds of the service for each GB, or milliseconds for each connection.
    fn cost(&self) -> f64 {
        self.cpu / self.amount
    }

    /// GB, or thousands of connections, in a second.
    fn throughput(&self) -> f64 {
        self.amount / self.seconds
    }
}

/// Two neighbouring runs.
pub(crate) struct Pair {
    pub(crate) ours: Run,
    pub(crate) spark: Option<Run>,
}

impl Pair {
    fn ratio(&self) -> Option<f64> {
        self.spark.as_ref().map(|spark| self.ours.cost() / spark.cost())
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ours {:.3}, {:.1} MB", self.ours.cost(), megabytes(self.ours.resident))?;
        match (&self.spark, self.ratio()) {
            (Some(spark), Some(ratio)) => {
                write!(f, "; Spark's {:.3}; ratio {ratio:.3}", spark.cost())
            }
            _ => Ok(()),
        }
    }
}

/// All pairs of one case.
pub(crate) struct Report {
    pub(crate) case: Case,
    pub(crate) pairs: Vec<Pair>,
    /// The most resident memory that our server ever had.
    pub(crate) high_water: u64,
}

impl Report {
    /// What was to be reached, and whether it was.
    pub(crate) fn bound(&self) -> Option<String> {
        let bound = self.case.bound?;
        let ratio = Spread::of(self.pairs.iter().filter_map(Pair::ratio))?;
        let resident = Spread::of(self.pairs.iter().map(|pair| megabytes(pair.ours.resident)))?;
        Some(format!(
            "bound for {}: at most {bound:.2} of Spark's CPU time, measured {:.2} (worst pair {:.2}); at most 40 MB of \
             anonymous resident memory, measured {:.1}",
            self.case.name, ratio.median, ratio.most, resident.most
        ))
    }

    /// One line for programs.
    pub(crate) fn json(&self) -> String {
        let run = |run: &Run| json!({"amount": run.amount, "seconds": run.seconds, "cpu_seconds": run.cpu, "rss_anon": run.resident});
        let pairs = self
            .pairs
            .iter()
            .map(|pair| json!({"ours": run(&pair.ours), "spark": pair.spark.as_ref().map(run)}));
        let pairs: Vec<_> = pairs.collect();
        json!({"case": self.case.name, "unit": self.case.work.cost_unit(), "vm_hwm": self.high_water, "pairs": pairs}).to_string()
    }

    fn row(&self) -> String {
        let ours = |figure: fn(&Run) -> f64| Spread::of(self.pairs.iter().map(|pair| figure(&pair.ours)));
        let spark = |figure: fn(&Run) -> f64| {
            Spread::of(self.pairs.iter().filter_map(|pair| pair.spark.as_ref()).map(figure))
        };
        let (resident, high_water) = (|run: &Run| megabytes(run.resident), megabytes(self.high_water));
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {high_water:.0} |\n",
            self.case.name,
            cell(ours(Run::cost), 3),
            cell(spark(Run::cost), 3),
            cell(Spread::of(self.pairs.iter().filter_map(Pair::ratio)), 3),
            cell(ours(Run::throughput), 2),
            cell(spark(Run::throughput), 2),
            cell(ours(resident), 1),
            cell(spark(resident), 0),
        )
    }
}

/// All cases, one a row; blocks and handshakes each in a table of their own.
pub(crate) fn tables(reports: &[Report]) -> String {
    let tables = [Work::Blocks, Work::Handshakes].map(|work| table(work, reports).unwrap_or_default());
    format!("Median (least – most).\n\n{}", tables.concat())
}

fn table(work: Work, reports: &[Report]) -> Option<String> {
    let rows: Vec<String> =
        reports.iter().filter(|report| report.case.work == work).map(Report::row).collect();
    let (cost, rate) = (work.cost_unit(), work.rate_unit());
    (!rows.is_empty()).then(|| {
        format!(
            "| mode | ours, {cost} | Spark's, {cost} | ratio of a pair | ours, {rate} | Spark's, {rate} | ours, RssAnon MB \
             | Spark's, RssAnon MB | ours, VmHWM MB |\n|---|---|---|---|---|---|---|---|---|\n{}\n",
            rows.concat()
        )
    })
}

/// What was asked for.
pub(crate) fn load(shuffle: &Shuffle, options: &Options) -> String {
    format!(
        "{}; {:.0} GB a run over {} connections, or {} connections opened; {} pairs of runs",
        shuffle.describe(),
        options.bytes as f64 / 1e9,
        options.connections,
        options.handshakes,
        options.pairs
    )
}

/// Processor, kernel and versions.
pub(crate) fn machine(spark: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let java = Command::new(java_home().join("bin/java")).arg("-version").output();
    let java = java.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    format!(
        "{}, {cores} cores, Linux {}; Spark {spark} on {}; sealed-shuffle {}",
        cpu.map_or("unknown processor", |(_, model)| model),
        kernel.trim(),
        java.lines().next().unwrap_or("unknown Java"),
        env!("CARGO_PKG_VERSION")
    )
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { least, median, most }| format!("{median:.digits$} ({least:.digits$} – {most:.digits$})"),
    )
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = (values.get(values.len().checked_sub(1)? / 2)? + values[values.len() / 2]) / 2.0;
        Some(Self { least: values[0], median, most: values[values.len() - 1] })
    }
}
