//! `benches/JOBS.md` and its pictures.

use std::fs;
use std::path::Path;

use sealed_shuffle_measure::{Bars, Neighbours, machine};

use crate::options::Options;
use crate::report::{Figure, PHASES, Report, SERVICE, WALL};
use crate::variant::Variant;

/// The variants in their order, with the colours of `docs/results.svg`.
const SERIES: [(&str, &str); 3] =
    [("no service", "#8a8f98"), ("Spark's service", "#e25a1c"), ("our server", "#0b6e4f")];

/// What there is so far; the files are written anew after each case.
pub(crate) struct Results {
    about: String,
    neighbours: Neighbours,
    reports: Vec<Report>,
}

impl Results {
    pub(crate) fn begin(options: &Options) -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let numbers: Vec<String> = options.size.queries.iter().map(u32::to_string).collect();
        let about = format!(
            "{}; sealed-shuffle {}, Java 17. Load average before it began: {load}.\n\n\
             `local-cluster` of four executors with a core each, three quarters of all reads are remote; TPC-H of scale {} by DuckDB, \
             queries {}; {} rows of a kilobyte repartitioned; {} partitions a shuffle, nothing compressed, no broadcast joins, no \
             adaptive plans. {} rounds after one that warms the services up; the variants take turns, who begins changes. Each has a network, \
             a process space and a session of its own. CPU time is that of the whole process with the kernel's work for it; bytes on the loopback are all of the variant's, \
             Spark's own messages among them, each counted once. Median (least – most); ratios are formed within a round. All runs \
             of a case computed the same.",
            machine(),
            env!("CARGO_PKG_VERSION"),
            options.size.scale,
            numbers.join(", "),
            options.size.rows,
            options.size.partitions,
            options.rounds,
        );
        Self { about, neighbours: Neighbours::watch().expect("the kernel tells"), reports: Vec::new() }
    }

    pub(crate) fn add(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// What the last case came to.
    pub(crate) fn last(&self) -> String {
        self.reports.last().map(section).unwrap_or_default()
    }

    pub(crate) fn write(&self) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches");
        let service = self.picture("Seconds of the service's processors", SERVICE);
        let wall = self.picture("Seconds of a phase", WALL);
        for (name, content) in
            [("JOBS.md", self.markdown()), ("jobs-service.svg", service), ("jobs-wall.svg", wall)]
        {
            let path = dir.join(name);
            fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        }
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "# Whole jobs beside Spark's own service\n\nWritten by `make bench-jobs ARGS=--results`. {}\n\n\
             Other programs kept {:.2} processors busy meanwhile, on average.\n\n![Seconds of the service's processors](jobs-service.svg)\n\n![Seconds of a phase](jobs-wall.svg)\n",
            self.about,
            self.neighbours.processors().expect("the kernel tells"),
        );
        for report in &self.reports {
            text += &format!("\n{}", section(report));
        }
        text + "\n## Not among them\n\nCeleborn and Uniffle: their servers are not on Maven Central, and were not run.\n"
    }

    /// Of one figure, in each case and phase.
    fn picture(&self, title: &str, figure: Figure) -> String {
        let mut bars = Bars::new(title, "median, line from least to most", &SERIES);
        for report in &self.reports {
            for phase in PHASES {
                let spread = |variant| {
                    // Without a service there is none that computes.
                    let is_there = figure == WALL || variant != Variant::None;
                    report.spread(variant, phase, figure).known().filter(|_| is_there)
                };
                bars.row(&format!("{}, {phase}", report.case.name), &Variant::ALL.map(spread));
            }
        }
        bars.to_string()
    }
}

fn section(report: &Report) -> String {
    format!(
        "## {}\n\n{}\n\nFrames with a canary of the rows in them, in the round that warms up: {}.\n",
        report.case.title(),
        report.table(),
        report.tapped()
    )
}
