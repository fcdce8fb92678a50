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
//! included, so that the client, which shares the cores, does not count. What is pushed is removed after each run, when
//! no clock runs. Reading merged chunks is compared with reading plain blocks as large from the same server of ours.
//! The ratio is formed within each pair of
//! neighbouring runs, since machines are not equally fast all the time. Nothing is asserted: the bench reports.
//! With `--cold` both are started anew for every run: what a JVM costs that has just been started. With `--results` it
//! does all that `docs/results.md` shows, and writes that file and its picture.

mod case;
mod load;
mod measure;
mod memory;
mod options;
mod our_client;
mod plot;
mod pusher;
mod report;
mod results;
mod service;

use std::time::Duration;

use sealed_shuffle_interop_tests::service::Service;
use sealed_shuffle_interop_tests::{process::Process, spark::Spark};

use self::case::{Case, Clients, Work};
use self::load::{CHUNKS, LARGE, Layout, Load, Shuffle, Task};
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
    let shuffle =
        Shuffle::write(options.results || options.cases().iter().any(|case| case.work == Work::Merged));
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
    let task = |which| task(&case, which, shuffle, start, options);
    let load = |running: &Running, task| {
        let connections = options.connections;
        let load = Load { spark, shuffle, case: &case, port: running.port(), connections, task };
        run(&load, running)
    };
    let start_ours = || {
        let ours = Running::ours(shuffle, &case, &options.conf);
        if case.work == Work::Merged {
            load(&ours, Task::Push { layout: &LARGE, shuffle: LARGE.shuffle, is_kept: true });
        }
        ours
    };
    let compares_services = case.work != Work::Merged && !options.only_ours;
    let start_theirs = || compares_services.then(|| Running::spark(spark, shuffle, &case));
    let (mut ours, mut theirs) = (start_ours(), start_theirs());
    let one = |ours: &Running| load(ours, task(Which::Ours));
    let other = |ours: &Running, theirs: &Option<Running>| match theirs {
        Some(theirs) => Some(load(theirs, task(Which::Other))),
        None => (case.work == Work::Merged).then(|| load(ours, task(Which::Other))),
    };
    if start == Start::Warm {
        one(&ours);
        other(&ours, &theirs);
    }
    let mut pairs = Vec::new();
    for turn in 0..turns {
        if start == Start::Cold && turn > 0 {
            std::iter::once(ours).chain(theirs).for_each(Running::stop);
            (ours, theirs) = (start_ours(), start_theirs());
        }
        let pair = match turn % 2 {
            0 => Pair { ours: one(&ours), other: other(&ours, &theirs) },
            _ => {
                let first = other(&ours, &theirs);
                Pair { ours: one(&ours), other: first }
            }
        };
        eprintln!("{} {} {}/{turns}: {}, {pair}", case.name, start.name(), turn + 1, case.work.cost_unit());
        pairs.push(pair);
    }
    let high_water = measure::high_water(ours.id());
    std::iter::once(ours).chain(theirs).for_each(Running::stop);
    shuffle.remove_merged();
    Report { case, start, pairs, high_water }
}

/// A side of a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Which {
    Ours,
    Other,
}

/// What the clients of a case do.
fn task(case: &Case, which: Which, shuffle: &Shuffle, start: Start, options: &Options) -> Task {
    let bytes = match case.work {
        Work::Handshakes => return Task::Handshakes(options.handshakes),
        Work::Push => {
            return Task::Push { layout: &LARGE, shuffle: shuffle.next_pushed(), is_kept: false };
        }
        Work::Merged if which == Which::Ours => {
            return Task::TakeMerged { layout: &LARGE, shuffle: LARGE.shuffle, bytes: options.bytes };
        }
        Work::Merged => return Task::Take { layout: &CHUNKS, bytes: options.bytes, warm_up: 0 },
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
    let service = if matches!(running, Running::Ours { .. }) { Service::Ours } else { Service::Spark };
    let meter = Meter::start(running.id());
    let mut client = Process::start("the client", &mut load.command(load.case.clients.of(service)));
    let answer = client.wait_for(Duration::from_secs(600), |line| load::answer(line, load.case.work));
    let used = meter.stop();
    client.wait(Duration::from_secs(30));
    if matches!(load.task, Task::Push { is_kept: false, .. }) {
        load.shuffle.wait_for_removal();
    }
    Run {
        amount: answer.amount,
        rate: answer.rate,
        cpu: used.cpu,
        client_cpu: answer.client_cpu,
        resident: used.resident,
    }
}
