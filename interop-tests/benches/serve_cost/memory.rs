//! What a service keeps in memory: for connections that do nothing, and for peers that read slowly. Our client is the
//! load on both.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use sealed_shuffle_interop_tests::machine::Process;
use sealed_shuffle_interop_tests::modes::Service;
use sealed_shuffle_interop_tests::services::ServiceProcess;
use sealed_shuffle_interop_tests::spark::Spark;

use sealed_shuffle_measure::Meter;

use crate::case::Case;
use crate::load::{HUGE, Load, Shuffle, Task};
use crate::our_client::READY;
use crate::runs::SAMPLE;
use crate::services;

/// Connections that do nothing.
pub(crate) const IDLE: usize = 1000;
/// Connections whose reader is slow.
pub(crate) const SLOW: usize = 64;
/// A slow reader reads for a while and then does not.
pub(crate) const READS: Duration = Duration::from_millis(25);
pub(crate) const RESTS: Duration = Duration::from_millis(225);
const ROUNDS: usize = 32;
const START: Duration = Duration::from_secs(60);

/// Anonymous resident bytes of both services, each just started.
pub(crate) struct Memory {
    pub(crate) what: String,
    pub(crate) ours: u64,
    pub(crate) spark: u64,
    /// The most that ours may take, in MB.
    pub(crate) bound: f64,
}

/// Both situations over AES.
pub(crate) fn measure(spark: &Spark, shuffle: &Shuffle) -> Vec<Memory> {
    let case = Case::named("ctr-v1");
    let both = |what: String, bound, measure: fn(&Load<'_>, u32) -> u64, connections, task| {
        let of = |running: ServiceProcess| {
            let load = Load { spark, shuffle, case: &case, port: running.port(), connections, task };
            let bytes = measure(&load, running.id());
            running.stop();
            bytes
        };
        let ours = of(services::ours(shuffle, &case, &[]));
        let memory = Memory { what, ours, spark: of(services::spark(spark, shuffle, &case)), bound };
        eprintln!("{}: {} bytes, Spark's {}", memory.what, memory.ours, memory.spark);
        memory
    };
    let endless = Task::Take { layout: &HUGE, bytes: u64::MAX >> 1, warm_up: 0 };
    vec![
        both(format!("{IDLE} idle connections"), 40.0, idle, IDLE, Task::Hold),
        both(format!("{SLOW} streams of 4 MiB blocks to slow readers"), 96.0, slow, SLOW, endless),
    ]
}

/// While connections are open and authenticated, and nothing is asked on them.
fn idle(load: &Load<'_>, service: u32) -> u64 {
    let _client = ready(load);
    let meter = Meter::start(service, SAMPLE).expect("it is there");
    thread::sleep(Duration::from_secs(1));
    meter.stop().expect("it is there").memory
}

/// The most while the client, stopped most of the time, takes blocks.
fn slow(load: &Load<'_>, service: u32) -> u64 {
    let client = ready(load);
    let meter = Meter::start(service, SAMPLE).expect("it is there");
    for _ in 0..ROUNDS {
        client.signal(Signal::STOP);
        thread::sleep(RESTS);
        client.signal(Signal::CONT);
        thread::sleep(READS);
    }
    let resident = meter.stop().expect("it is there").memory;
    client.signal(Signal::KILL);
    resident
}

/// The client, all of its connections open.
fn ready(load: &Load<'_>) -> Process {
    let mut client = Process::start("our client", &mut load.command(Service::Ours));
    client.wait_for(START, |line| (line == READY).then_some(()));
    client
}
