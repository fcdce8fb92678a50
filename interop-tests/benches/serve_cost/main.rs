//! What serving costs the server process: ours beside Spark's own service, with Spark's own client.
//!
//! `cargo bench -p sealed-shuffle-interop-tests --bench serve_cost [-- OPTIONS]`
//!
//! ```text
//! one shuffle on disk, in the page cache ─┬─ our server (release build) ◄─┐
//!                                         └─ Spark 4.3.0's service      ◄─┴─ Spark's client: takes blocks over 16
//!                                                                            connections, or opens 1000
//! ```
//!
//! The two take turns, after a warm-up of each. CPU time is the service process's own, kernel work on its behalf
//! included, so that the client, which shares the cores, does not count. The ratio is formed within each pair of
//! neighbouring runs, since machines are not equally fast all the time. Nothing is asserted: the bench reports.
//! With `--cold` both are started anew for every run: what a JVM costs that has just been started.

mod case;
mod load;
mod measure;
mod options;
mod report;
mod service;

use std::time::Duration;

use sealed_shuffle_interop_tests::{process::Process, spark::Spark};

use self::case::Case;
use self::load::{Load, Shuffle};
use self::measure::Meter;
use self::options::Options;
use self::report::{Pair, Report, Run};
use self::service::Running;

const SPARK: &str = "4.3.0";

fn main() {
    let Some(options) = Options::from_arguments() else { return };
    let binary = service::build_ours();
    println!("our server: {}", binary.display());
    let spark = Spark::release(SPARK);
    let shuffle = Shuffle::write();
    let reports: Vec<Report> =
        options.cases().into_iter().map(|case| measure(&spark, &shuffle, case, &options)).collect();
    println!("\n{}", report::machine(SPARK));
    println!("{}", report::load(&shuffle, &options));
    println!("\n{}", report::tables(&reports));
    reports.iter().filter_map(Report::bound).for_each(|line| println!("{line}"));
    if options.json {
        reports.iter().for_each(|report| println!("{}", report.json()));
    }
}

/// All pairs of one case, ours and Spark's going first in turn.
fn measure(spark: &Spark, shuffle: &Shuffle, case: Case, options: &Options) -> Report {
    let start_ours = || Running::ours(shuffle, &case, &options.conf);
    let start_theirs = || (!options.only_ours).then(|| Running::spark(spark, shuffle, &case));
    let (mut ours, mut theirs) = (start_ours(), start_theirs());
    let load = |running: &Running| {
        let load = Load { spark, shuffle, case: &case, port: running.port(), options };
        run(&load, running.id())
    };
    if !options.cold {
        std::iter::once(&ours).chain(&theirs).for_each(|running| _ = load(running));
    }
    let mut pairs = Vec::new();
    for turn in 0..options.pairs {
        if options.cold && turn > 0 {
            std::iter::once(ours).chain(theirs).for_each(Running::stop);
            (ours, theirs) = (start_ours(), start_theirs());
        }
        let (our_run, their_run) = match &theirs {
            None => (load(&ours), None),
            Some(theirs) if turn % 2 == 0 => {
                let first = load(&ours);
                (first, Some(load(theirs)))
            }
            Some(theirs) => {
                let first = load(theirs);
                (load(&ours), Some(first))
            }
        };
        let pair = Pair { ours: our_run, spark: their_run };
        eprintln!("{} {}/{}: {}, {pair}", case.name, turn + 1, options.pairs, case.work.cost_unit());
        pairs.push(pair);
    }
    let high_water = measure::high_water(ours.id());
    std::iter::once(ours).chain(theirs).for_each(Running::stop);
    Report { case, pairs, high_water }
}

/// One run of the client against one service.
fn run(load: &Load<'_>, service: u32) -> Run {
    let meter = Meter::start(service);
    let mut client = Process::start("Bench", &mut load.command());
    let answer = client.wait_for(Duration::from_secs(600), load::answer);
    let used = meter.stop();
    client.wait(Duration::from_secs(30));
    Run { amount: answer.amount, seconds: answer.seconds, cpu: used.cpu, resident: used.resident }
}
