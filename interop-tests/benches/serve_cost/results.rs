//! `docs/results.md`: everything that is compared with Spark, as tables and a picture.
//!
//! The file is written anew after each case, so that a run that is cut short leaves what it has.

use std::fs;
use std::path::{Path, PathBuf};

use sealed_shuffle_interop_tests::spark::Spark;
use sealed_shuffle_measure::{Neighbours, Spread, Table};

use crate::case::{Bound, Case, Clients, SPARK, Work};
use crate::load::Shuffle;
use crate::memory::{self, Memory};
use crate::options::Options;
use crate::plot;
use crate::report::{self, Report, Run, cell, megabytes};
use crate::runs::measure;
use crate::services::Start;

/// What most aims are about comes first: blocks of the usual size.
const USUAL: [&str; 4] = ["ctr-v1", "gcm-v2", "tls", "plaintext"];
const OTHERS: [&str; 2] = ["own-client-ctr", "small-ctr"];
const OUR_CLIENT: &str = "our-client-ctr";
const MERGING: [&str; 2] = ["push-ctr", "merged-ctr"];

/// Measures all of it and writes the files.
pub(crate) fn make(spark: &Spark, shuffle: &Shuffle, options: &Options) {
    let mut results = Results {
        about: about(options),
        neighbours: Neighbours::watch().expect("the kernel tells"),
        reports: Vec::new(),
        memory: Vec::new(),
    };
    let others = options.other_pairs.unwrap_or(options.pairs);
    let add = |results: &mut Results, name, start, pairs| {
        results.reports.push(measure(spark, shuffle, Case::named(name), start, pairs, options));
        results.write();
    };
    for name in USUAL {
        add(&mut results, name, Start::Cold, options.pairs);
    }
    results.memory = memory::measure(spark, shuffle);
    for name in OTHERS {
        add(&mut results, name, Start::Cold, others);
    }
    for name in OTHERS.into_iter().chain(USUAL).chain([OUR_CLIENT]).chain(MERGING) {
        add(&mut results, name, Start::Warm, others);
    }
}

/// What there is so far.
struct Results {
    about: String,
    neighbours: Neighbours,
    reports: Vec<Report>,
    memory: Vec<Memory>,
}

impl Results {
    fn write(&self) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let write = |name: &str, content: String| {
            let path: PathBuf = dir.join(name);
            fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        };
        write("results.md", self.markdown());
        write("results.svg", plot::svg(&self.reports));
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "# Beside Spark's own service\n\n{}\n\nOther programs kept {:.2} processors busy meanwhile, on average.\n\n\
             ![Server CPU seconds per GB, ours and Spark's](results.svg)\n\n",
            self.about,
            self.neighbours.processors().expect("the kernel tells")
        );
        let mut section = |title: &str, chosen: &dyn Fn(&Report) -> bool| {
            let mut rows = self.reports.iter().filter(|report| chosen(report)).peekable();
            let Some(first) = rows.peek() else { return };
            let mut table = Table::new(&headings(first.case.work).each_ref().map(String::as_str));
            rows.for_each(|report| row(report, &mut table));
            text += &format!("## {title}\n\n{table}\n\n");
        };
        let blocks = |clients| {
            move |report: &Report| report.case.work == Work::Blocks && report.case.clients == clients
        };
        section("128 KiB blocks, Spark's client on both", &blocks(Clients::Spark));
        section("128 KiB blocks, our client on both", &blocks(Clients::Ours));
        section("128 KiB blocks, our client at our server, Spark's at Spark's", &blocks(Clients::EachItsOwn));
        section("2 KiB blocks, Spark's client on both", &|report| report.case.work == Work::SmallBlocks);
        section(
            "128 KiB blocks pushed and merged, our client on both, ours sealed at rest and Spark's in clear",
            &|report| report.case.work == Work::Push,
        );
        section("Merged chunks of 2 MiB and plain blocks of 2 MiB, our client and our server", &|report| {
            report.case.work == Work::Merged
        });
        text + &self.memory_table() + &self.aims()
    }

    fn memory_table(&self) -> String {
        if self.memory.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["what", "ours, MB", "Spark's, MB"]);
        for Memory { what, ours, spark, .. } in &self.memory {
            table.row(&[what, &format!("{:.1}", megabytes(*ours)), &format!("{:.0}", megabytes(*spark))]);
        }
        format!(
            "## Memory\n\nAnonymous resident memory of services just started, AES-CTR (v1), our client on both. A slow reader is a client \
             that is stopped for {} ms of every {}.\n\n{table}\n\n",
            memory::RESTS.as_millis(),
            (memory::RESTS + memory::READS).as_millis(),
        )
    }

    /// What was to be reached beside what was: medians.
    fn aims(&self) -> String {
        let mut table = Table::new(&["what", "aim", "measured", ""]);
        let mut line = |what: &str, aim: String, measured: String, is_kept: bool| {
            let verdict = if is_kept { "holds" } else { "does not hold" };
            table.row(&[&what, &aim, &measured, &verdict]);
        };
        for report in &self.reports {
            let (Some(bound), Some(ratio), Some(speed)) = (report.case.bound, report.ratio(), report.speed())
            else {
                continue;
            };
            let what = format!("{}, {}, {}", report.case.title(), what(&report.case), report.start.name());
            let other = report.case.work.other();
            match bound {
                Bound::Cost(most) => line(
                    &what,
                    format!("at most {most:.2} of {other} time"),
                    format!("{:.2}", ratio.median),
                    ratio.median <= most,
                ),
                Bound::Rate(least) => line(
                    &what,
                    format!("at least {least} times {other} speed"),
                    format!("{:.2}", speed.median),
                    speed.median >= least,
                ),
            }
        }
        for Memory { what, ours, bound, .. } in &self.memory {
            let measured = megabytes(*ours);
            line(what, format!("at most {bound} MB"), format!("{measured:.1} MB"), measured <= *bound);
        }
        format!("## Aims\n\n{table}\n")
    }
}

fn what(case: &Case) -> &'static str {
    match (case.work, case.clients) {
        (Work::SmallBlocks, _) => "2 KiB blocks",
        (Work::Push, _) => "128 KiB blocks pushed",
        (Work::Merged, _) => "merged chunks",
        (_, Clients::EachItsOwn) => "both ends",
        _ => "128 KiB blocks",
    }
}

fn headings(work: Work) -> [String; 13] {
    let (cost, rate, other) = (work.cost_unit(), work.rate_unit(), work.other());
    [
        "mode".to_owned(),
        "services".to_owned(),
        "pairs".to_owned(),
        format!("ours, {cost}"),
        format!("{other}, {cost}"),
        "ratio".to_owned(),
        format!("ours, {rate}"),
        format!("{other}, {rate}"),
        "times as much".to_owned(),
        format!("client at ours, {cost}"),
        format!("client at {other}, {cost}"),
        "ours, MB".to_owned(),
        format!("{other}, MB"),
    ]
}

fn row(report: &Report, table: &mut Table) {
    let median = |spread: Option<Spread>, digits: usize| {
        let known = spread.and_then(Spread::known);
        known.map_or_else(|| "–".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    // Microseconds are many and seconds are few.
    let digits = if report.case.work == Work::SmallBlocks { 1 } else { 3 };
    table.row(&[
        &report.case.title(),
        &report.start.name(),
        &report.pairs.len(),
        &cell(report.ours(Run::cost), digits),
        &cell(report.other(Run::cost), digits),
        &cell(report.ratio(), 2),
        &median(report.ours(Run::rate), 2),
        &median(report.other(Run::rate), 2),
        &cell(report.speed(), 2),
        &median(report.ours(Run::client_cost), digits),
        &median(report.other(Run::client_cost), digits),
        &median(report.ours(Run::megabytes), 1),
        &median(report.other(Run::megabytes), 0),
    ]);
}

/// The machine, the command and the method.
fn about(options: &Options) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "Written by `make bench-spark`, whose bench was called with `{}`. Load average before it began: {load}.\n\n\
         {}.\n\n\
         {}; everything from the page cache. Client and services share the processors and the loopback. \
         CPU time is that of the whole process, the kernel's work for it included; a client's is that of its process from its start, \
         a JVM's start included. Each pair is a run against one service and then against the other, the first of them in turn; \
         median (least – most), ratios formed within each pair; a row of fewer than ten pairs is a trial; memory is the median of the most anonymous resident memory of a run. \
         \"Just started\": both services anew for every run, no run before it that does not count. \"Warm\": after one run of the same size that does not count; a JVM goes on compiling for some runs more. \
         Spark's client is a new JVM in every run; where both ends are compared on warm services it first takes as much as is measured.",
        arguments.join(" "),
        report::machine(SPARK),
        report::load(options),
    )
}
