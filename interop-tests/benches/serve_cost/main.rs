//! What serving costs the server process: ours beside Spark's own service, with Spark's own client and with ours.
//!
//! `cargo bench -p sealed-shuffle-interop-tests --bench serve_cost [-- OPTIONS]`
//!
//! ```text
//! one executor's files, in the page cache ─┬─ our server (release build) ◄─┐  a client: takes blocks over 16
//!                                          └─ Spark 4.3.0's service      ◄─┴─ connections, or opens 1000
//! ```
//!
//! The two take turns, after a warm-up of each. CPU time is the service process's own, kernel work on its behalf
//! included, so that the client, which shares the cores, does not count. The ratio is formed within each pair of
//! neighbouring runs, since machines are not equally fast all the time. Nothing is asserted: the bench reports.
//! With `--cold` both are started anew for every run: what a JVM costs that has just been started. With `--results` it
//! does all that `benches/RESULTS.md` shows, and writes that file and its picture.

mod case;
mod load;
mod measure;
mod memory;
mod options;
mod our_client;
mod plot;
mod report;
mod results;
mod service;

use std::time::Duration;

use sealed_shuffle_interop_tests::service::Service;
use sealed_shuffle_interop_tests::{process::Process, spark::Spark};

use self::case::{Case, Clients, Work};
use self::load::{Layout, Load, Shuffle, Task};
use self::measure::Meter;
use self::options::Options;
use self::report::{Pair, Report, Run};
use self::service::{Running, Start};

const SPARK: &str = "4.3.0";

fn main() {
    if our_client::was_asked_for() {
        return;
    }
    let Some(options) = Options::from_arguments() else { return };
    let binary = service::build_ours();
    println!("our server: {}", binary.display());
    let spark = Spark::release(SPARK);
    let shuffle = Shuffle::write();
    if options.results {
        return results::make(&spark, &shuffle, &options);
    }
    let measure = |case| measure(&spark, &shuffle, case, options.start, options.pairs, &options);
    let reports: Vec<Report> = options.cases().into_iter().map(measure).collect();
    println!("\n{}", report::machine(SPARK));
    println!("{}", report::load(&options));
    println!("\n{}", report::tables(&reports));
    reports.iter().filter_map(Report::bound).for_each(|line| println!("{line}"));
    if options.json {
        reports.iter().for_each(|report| println!("{}", report.json()));
    }
}

/// All pairs of one case, ours and Spark's going first in turn.
fn measure(
    spark: &Spark,
    shuffle: &Shuffle,
    case: Case,
    start: Start,
    turns: usize,
    options: &Options,
) -> Report {
    let start_ours = || Running::ours(shuffle, &case, &options.conf);
    let start_theirs = || (!options.only_ours).then(|| Running::spark(spark, shuffle, &case));
    let (mut ours, mut theirs) = (start_ours(), start_theirs());
    let task = task(&case, start, options);
    let load = |running: &Running| {
        let connections = options.connections;
        let load = Load { spark, shuffle, case: &case, port: running.port(), connections, task };
        run(&load, running)
    };
    if start == Start::Warm {
        std::iter::once(&ours).chain(&theirs).for_each(|running| _ = load(running));
    }
    let mut pairs = Vec::new();
    for turn in 0..turns {
        if start == Start::Cold && turn > 0 {
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
        eprintln!("{} {} {}/{turns}: {}, {pair}", case.name, start.name(), turn + 1, case.work.cost_unit());
        pairs.push(pair);
    }
    let high_water = measure::high_water(ours.id());
    std::iter::once(ours).chain(theirs).for_each(Running::stop);
    Report { case, start, pairs, high_water }
}

/// What the clients of a case do.
fn task(case: &Case, start: Start, options: &Options) -> Task {
    let bytes = match case.work {
        Work::Handshakes => return Task::Handshakes(options.handshakes),
        Work::Blocks => options.bytes,
        // Their cost is in their number.
        Work::SmallBlocks => options.bytes / 10,
    };
    // Where both ends are compared, a client that has just been started is none that is warm.
    let both_ends = start == Start::Warm && case.clients == Clients::EachItsOwn;
    Task::Take { layout: Layout::of(case.work), bytes, warm_up: if both_ends { bytes } else { 0 } }
}

/// One run of the client against one service.
fn run(load: &Load<'_>, running: &Running) -> Run {
    let service = if matches!(running, Running::Ours(_)) { Service::Ours } else { Service::Spark };
    let meter = Meter::start(running.id());
    let mut client = Process::start("the client", &mut load.command(load.case.clients.of(service)));
    let answer = client.wait_for(Duration::from_secs(600), |line| load::answer(line, load.case.work));
    let used = meter.stop();
    client.wait(Duration::from_secs(30));
    Run {
        amount: answer.amount,
        rate: answer.rate,
        cpu: used.cpu,
        client_cpu: answer.client_cpu,
        resident: used.resident,
    }
}
