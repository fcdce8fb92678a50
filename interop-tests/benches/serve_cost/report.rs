//! The figures as a Markdown table, and the machine that they were taken on.

use std::fmt;
use std::process::Command;

use sealed_shuffle_interop_tests::machine::java_home;
use sealed_shuffle_measure::{Sample, Spread, Table};
use serde_json::json;

use crate::case::{Bound, Case, Work};
use crate::load::{CHUNKS, LARGE, SMALL};
use crate::options::Options;
use crate::services::Start;

/// One run of the client against one service.
pub(crate) struct Run {
    /// What the cost is divided by, see [`Work::cost_unit`].
    pub(crate) amount: f64,
    /// See [`Work::rate_unit`].
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
    /// Of the client's process, its start included.
    pub(crate) client_cpu: Option<f64>,
    pub(crate) resident: u64,
}

impl Run {
    /// What the service takes for one unit.
    pub(crate) fn cost(&self) -> f64 {
        self.cpu / self.amount
    }

    /// The same for the client.
    pub(crate) fn client_cost(&self) -> f64 {
        self.client_cpu.map_or(f64::NAN, |cpu| cpu / self.amount)
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    pub(crate) fn megabytes(&self) -> f64 {
        megabytes(self.resident)
    }
}

/// Two neighbouring runs.
pub(crate) struct Pair {
    pub(crate) ours: Run,
    /// Of what ours is compared with: Spark's service, or other work of ours ([`Work::other`]).
    pub(crate) other: Option<Run>,
}

impl Pair {
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.other.as_ref().map(|other| self.ours.cost() / other.cost())
    }

    /// How many times as much ours does in a second.
    pub(crate) fn speed(&self) -> Option<f64> {
        self.other.as_ref().map(|other| self.ours.rate / other.rate)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ours {:.3}, {:.1} MB", self.ours.cost(), megabytes(self.ours.resident))?;
        match (&self.other, self.ratio()) {
            (Some(other), Some(ratio)) => {
                write!(f, "; the other {:.3}; ratio {ratio:.3}", other.cost())?;
                write!(f, "; {:.2} and {:.2} a second", self.ours.rate, other.rate)
            }
            _ => Ok(()),
        }
    }
}

/// All pairs of one case.
pub(crate) struct Report {
    pub(crate) case: Case,
    pub(crate) start: Start,
    pub(crate) pairs: Vec<Pair>,
    /// The most resident memory that our server ever had.
    pub(crate) high_water: u64,
}

impl Report {
    /// What was to be reached, and whether it was.
    pub(crate) fn bound(&self) -> Option<String> {
        let (bound, resident) = (self.case.bound?, self.ours(Run::megabytes)?);
        let other = self.case.work.other();
        let bound = match bound {
            Bound::Cost(most) => {
                let ratio = self.ratio()?;
                let (median, worst) = (ratio.median, ratio.most);
                format!("at most {most:.2} of {other} CPU time, measured {median:.2} (worst pair {worst:.2})")
            }
            Bound::Rate(least) => {
                let speed = self.speed()?;
                let (median, worst) = (speed.median, speed.least);
                format!("at least {least} times {other} speed, measured {median:.2} (worst pair {worst:.2})")
            }
        };
        let memory = match self.case.work.merges() {
            // What is gathered of pushes is bounded elsewhere.
            true => "anonymous resident memory",
            false => "at most 40 MB of anonymous resident memory, measured",
        };
        Some(format!("bound for {}: {bound}; {memory} {:.1}", self.case.name, resident.most))
    }

    /// A figure of our runs.
    pub(crate) fn ours(&self, figure: fn(&Run) -> f64) -> Option<Spread> {
        spread(self.pairs.iter().map(|pair| figure(&pair.ours)))
    }

    /// The same of what they are compared with.
    pub(crate) fn other(&self, figure: fn(&Run) -> f64) -> Option<Spread> {
        spread(self.pairs.iter().filter_map(|pair| pair.other.as_ref()).map(figure))
    }

    pub(crate) fn ratio(&self) -> Option<Spread> {
        spread(self.pairs.iter().filter_map(Pair::ratio))
    }

    pub(crate) fn speed(&self) -> Option<Spread> {
        spread(self.pairs.iter().filter_map(Pair::speed))
    }

    /// One line for programs.
    pub(crate) fn json(&self) -> String {
        let run = |run: &Run| json!({"amount": run.amount, "rate": run.rate, "cpu_seconds": run.cpu, "client_cpu_seconds": run.client_cpu, "rss_anon": run.resident});
        let pairs = self
            .pairs
            .iter()
            .map(|pair| json!({"ours": run(&pair.ours), "other": pair.other.as_ref().map(run)}));
        let pairs: Vec<_> = pairs.collect();
        json!({"case": self.case.name, "unit": self.case.work.cost_unit(), "vm_hwm": self.high_water, "pairs": pairs}).to_string()
    }

    fn row(&self, table: &mut Table) {
        table.row(&[
            &self.case.name,
            &cell(self.ours(Run::cost), 3),
            &cell(self.other(Run::cost), 3),
            &cell(self.ratio(), 3),
            &cell(self.ours(Run::rate), 2),
            &cell(self.other(Run::rate), 2),
            &cell(self.ours(Run::megabytes), 1),
            &cell(self.other(Run::megabytes), 0),
            &format!("{:.0}", megabytes(self.high_water)),
        ]);
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    Sample::of(values).spread()
}

/// All cases, one a row; each kind of work in a table of their own.
pub(crate) fn tables(reports: &[Report]) -> String {
    let tables = Work::ALL.map(|work| table(work, reports).unwrap_or_default());
    format!("Median (least – most).\n\n{}", tables.concat())
}

fn table(work: Work, reports: &[Report]) -> Option<String> {
    let mut rows = reports.iter().filter(|report| report.case.work == work).peekable();
    rows.peek()?;
    let (cost, rate, other) = (work.cost_unit(), work.rate_unit(), work.other());
    let mut table = Table::new(&[
        "mode",
        &format!("ours, {cost}"),
        &format!("{other}, {cost}"),
        "ratio of a pair",
        &format!("ours, {rate}"),
        &format!("{other}, {rate}"),
        "ours, RssAnon MB",
        &format!("{other}, RssAnon MB"),
        "ours, VmHWM MB",
    ]);
    rows.for_each(|report| report.row(&mut table));
    Some(format!("{table}\n\n"))
}

/// What was asked for.
pub(crate) fn load(options: &Options) -> String {
    format!(
        "{}, and the same pushed and merged; small ones: {}; as large as merged chunks: {}; {:.0} GB a run, a tenth of it of small ones, \
         or all blocks once where they are pushed, over {} connections, or {} connections opened",
        LARGE.describe(),
        SMALL.describe(),
        CHUNKS.describe(),
        options.bytes as f64 / 1e9,
        options.connections,
        options.handshakes,
    )
}

/// Processor, kernel and versions.
pub(crate) fn machine(spark: &str) -> String {
    let java = Command::new(java_home().join("bin/java")).arg("-version").output();
    let java = java.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    format!(
        "{}; Spark {spark} on {}; sealed-shuffle {}",
        sealed_shuffle_measure::machine(),
        java.lines().next().unwrap_or("unknown Java"),
        env!("CARGO_PKG_VERSION")
    )
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Median and spread for a table.
pub(crate) fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{spread:.digits$}"))
}
