//! The service is restarted under a running Spark application, which computes nothing again.
//!
//! By default twice, a few seconds apart; with `SEALED_SHUFFLE_MATRIX=full`, or `SEALED_SHUFFLE_RESTARTS=N`, twenty times
//! (N times), thirty seconds apart. It is asked to end and killed by turns, and comes back on its port with its state.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    applications::Waves,
    fixture::{BLOCK_BYTES, SECRET},
    machine::files,
    merger,
    modes::{Cipher, Mode, Service},
    oracle::CANARY,
    ours::Server,
    wire::contains,
};
use tempfile::TempDir;

/// What our server warns of in these tests: each start by itself, and the first of a new key file.
const EXPECTED: [&str; 3] =
    ["on the same file system", "made the key file", "an application is below the target"];

/// A wave takes a second or two.
const SERVED_LIMIT: Duration = Duration::from_secs(60);

struct Plan {
    restarts: usize,
    apart: Duration,
}

impl Plan {
    fn chosen() -> Self {
        let times = std::env::var("SEALED_SHUFFLE_RESTARTS").ok().filter(|times| !times.is_empty());
        let full = std::env::var("SEALED_SHUFFLE_MATRIX").is_ok_and(|value| value == "full");
        match times {
            Some(times) => Self::long(times.parse().expect("SEALED_SHUFFLE_RESTARTS is a number")),
            None if full => Self::long(20),
            None => Self { restarts: 2, apart: Duration::from_secs(3) },
        }
    }

    fn long(restarts: usize) -> Self {
        Self { restarts, apart: Duration::from_secs(30) }
    }
}

#[test]
fn restarts_under_a_running_application_cost_no_stage_retry() {
    restarts(Plan::chosen(), Mode::newest(Cipher::Gcm, 2), false);
}

/// What was merged before a restart is served after it.
#[test]
fn restarts_under_an_application_that_pushes_cost_no_stage_retry() {
    restarts(Plan::chosen(), Mode::newest(Cipher::Ctr, 2), true);
}

fn restarts(plan: Plan, mode: Mode, pushing: bool) {
    let (root, state) = (TempDir::with_prefix("interop-"), TempDir::with_prefix("interop-state-"));
    let (root, state) = (root.expect("writable"), state.expect("writable"));
    let port = port_for_long();
    let start = || serve(mode, port, root.path(), state.path());

    let mut server = Some(start());
    let mut waves = match pushing {
        true => Waves::start_pushing(&mode, port, SECRET, root.path()),
        false => Waves::start(&mode, port, SECRET, root.path()),
    };
    let began = Instant::now();
    for restart in 0..plan.restarts {
        thread::sleep(plan.apart);
        let running = server.take().expect("started by the round before");
        await_served(&running, pushing);
        let log = match restart % 2 {
            0 => running.finish(&EXPECTED),
            _ => running.kill(),
        };
        assert!(log.iter().all(|line| !line.contains(SECRET)), "the log shows the secret");
        assert_sealed(state.path());
        server = Some(start());
        eprintln!("restart {} after {:?}, in wave {}", restart + 1, began.elapsed(), waves.count() + 1);
    }
    // One that only the last server has served.
    waves.next();
    waves.next();
    let took = began.elapsed();
    let waved = waves.finish();
    eprintln!("{} restarts in {took:?}: {waved:?}", plan.restarts);
    assert_eq!((waved.again, waved.resubmitted), (0, 0), "stages ran again: {waved:?}");
    assert_eq!((waved.fetch_failures, waved.failures, waved.lost), (0, 0, 0), "{waved:?}");
    assert_eq!(waved.results.len(), 1, "not each wave computed the same: {waved:?}");
    let last = server.take().expect("started by the last round");
    await_served(&last, pushing);
    last.finish(&EXPECTED);
}

/// Waits until the waves have gone through this server.
#[track_caller]
fn await_served(server: &Server, pushing: bool) {
    let deadline = Instant::now() + SERVED_LIMIT;
    // Families with labels have no sample before their first count.
    let counts = |family: &str| {
        server.metrics().into_iter().any(|(name, value)| name.starts_with(family) && value > 0.0)
    };
    while !counts(BLOCK_BYTES) || pushing && !counts("sealed_shuffle_merge_read_chunks_total") {
        assert!(Instant::now() < deadline, "the waves go another way: {:#?}", server.metrics());
        thread::sleep(Duration::from_millis(50));
    }
}

fn serve(mode: Mode, port: u16, root: &Path, state: &Path) -> Server {
    let mut conf = mode.service_conf(Service::Ours);
    conf.push(("spark.shuffle.service.port", port.to_string()));
    conf.extend(merger::conf(state, "2k"));
    Server::start(root, Some(SECRET), &conf)
}

/// No secret and no data is in what the server remembers.
fn assert_sealed(state: &Path) {
    let files = files(state);
    assert!(!files.is_empty(), "nothing is remembered");
    for path in files {
        let content = std::fs::read(&path).unwrap_or_default();
        for secret in [SECRET, CANARY] {
            assert!(!contains(&content, secret.as_bytes()), "{} shows {secret:?}", path.display());
        }
    }
}

/// A port that no socket is given by itself, so that it is free again after each end: clients that try to reach a
/// server that is away would take one of the others sooner or later, and meet themselves there.
fn port_for_long() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 5000).expect("below 5000");
    (first..30_000)
        .map(|port| port + NEXT.fetch_add(1, Ordering::SeqCst))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("some port is free")
}
