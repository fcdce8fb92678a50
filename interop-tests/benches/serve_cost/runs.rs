//! Runs in pairs: ours and what it is compared with, in turn.

use std::time::Duration;

use sealed_shuffle_interop_tests::machine::Process;
use sealed_shuffle_interop_tests::modes::Service;
use sealed_shuffle_interop_tests::services::ServiceProcess;
use sealed_shuffle_interop_tests::spark::Spark;
use sealed_shuffle_measure::Meter;
use sealed_shuffle_measure::process::most_memory;

use crate::case::{Case, Clients, Work};
use crate::load::{self, CHUNKS, LARGE, Layout, Load, Shuffle, Task};
use crate::options::Options;
use crate::report::{Pair, Report, Run};
use crate::services::{self, Start};

/// How often memory is looked at.
pub(crate) const SAMPLE: Duration = Duration::from_millis(20);

/// All pairs of one case, ours and Spark's going first in turn.
pub(crate) fn measure(
    spark: &Spark,
    shuffle: &Shuffle,
    case: Case,
    start: Start,
    turns: usize,
    options: &Options,
) -> Report {
    let task = |side| task(&case, side, shuffle, start, options);
    let load = |running: &ServiceProcess, task| {
        let connections = options.connections;
        let load = Load { spark, shuffle, case: &case, port: running.port(), connections, task };
        run(&load, running)
    };
    let start_ours = || {
        let ours = services::ours(shuffle, &case, &options.conf);
        if case.work == Work::Merged {
            load(&ours, Task::Push { layout: &LARGE, shuffle: LARGE.shuffle, is_kept: true });
        }
        ours
    };
    let compares_services = case.work != Work::Merged && !options.only_ours;
    let start_theirs = || compares_services.then(|| services::spark(spark, shuffle, &case));
    let (mut ours, mut theirs) = (start_ours(), start_theirs());
    let one = |ours: &ServiceProcess| load(ours, task(Side::Ours));
    let other = |ours: &ServiceProcess, theirs: &Option<ServiceProcess>| match theirs {
        Some(theirs) => Some(load(theirs, task(Side::Other))),
        None => (case.work == Work::Merged).then(|| load(ours, task(Side::Other))),
    };
    if start == Start::Warm {
        one(&ours);
        other(&ours, &theirs);
    }
    let mut pairs = Vec::new();
    for turn in 0..turns {
        if start == Start::Cold && turn > 0 {
            std::iter::once(ours).chain(theirs).for_each(ServiceProcess::stop);
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
    let high_water = most_memory(ours.id()).expect("it is there");
    std::iter::once(ours).chain(theirs).for_each(ServiceProcess::stop);
    shuffle.remove_merged();
    Report { case, start, pairs, high_water }
}

/// A side of a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Ours,
    Other,
}

/// What the clients of a case do.
fn task(case: &Case, side: Side, shuffle: &Shuffle, start: Start, options: &Options) -> Task {
    let bytes = match case.work {
        Work::Handshakes => return Task::Handshakes(options.handshakes),
        Work::Push => {
            return Task::Push { layout: &LARGE, shuffle: shuffle.next_pushed(), is_kept: false };
        }
        Work::Merged if side == Side::Ours => {
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
fn run(load: &Load<'_>, running: &ServiceProcess) -> Run {
    let service = if matches!(running, ServiceProcess::Ours { .. }) { Service::Ours } else { Service::Spark };
    let meter = Meter::start(running.id(), SAMPLE).expect("it is there");
    let mut client = Process::start("the client", &mut load.command(load.case.clients.of(service)));
    let answer = client.wait_for(Duration::from_secs(600), |line| load::answer(line, load.case.work));
    let usage = meter.stop().expect("it is there");
    client.wait(Duration::from_secs(30));
    if matches!(load.task, Task::Push { is_kept: false, .. }) {
        load.shuffle.wait_for_removal();
    }
    Run {
        amount: answer.amount,
        rate: answer.rate,
        cpu: usage.cpu,
        client_cpu: answer.client_cpu,
        resident: usage.memory,
    }
}
