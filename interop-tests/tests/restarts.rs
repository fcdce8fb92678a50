//! The service is restarted under a running Spark application, which computes nothing again.
//!
//! It is asked to end and killed by turns, and comes back on its port with its state, at once or after two seconds by
//! turns. The next restart follows when a wave is through that began after the last one, so that each fetch meets one
//! restart at most: Spark tries a fetch again after 5, 10 and 15 seconds, and then gives it up. After each restart
//! the application is asked what it had to do again.
//!
//! | variable | restarts |
//! |---|---|
//! | none | 2 |
//! | `SEALED_SHUFFLE_RESTARTS=N` | N, thirty seconds apart |
//! | `SEALED_SHUFFLE_MATRIX=full` | 20, thirty seconds apart |
//! | `SEALED_SHUFFLE_RESTARTS_APART=S` | as many, but S seconds apart |

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    applications::Waves,
    fixture::{APP, SECRET},
    machine::files,
    merger::{Lasting, OF_EACH_START, await_served},
    modes::{Cipher, Mode},
    oracle::{CANARY, Digest, Executor, content},
    ours::Server,
    spark::{Credentials, Peer, Store},
    wire::contains,
};
use tempfile::TempDir;

/// Requests for the directories of executors.
const DIRECTORIES: &str = r#"sealed_shuffle_requests_total{request="get_local_dirs"}"#;

struct Plan {
    restarts: u32,
    apart: Duration,
}

/// One restart.
struct Restart {
    /// Before it, in the midst of the waves.
    pause: Duration,
    /// SIGKILL instead of SIGTERM.
    kills: bool,
    /// From the end of the server to the start of the next one.
    away: Duration,
}

impl Plan {
    fn chosen() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse::<u32>().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
        };
        let full = std::env::var("SEALED_SHUFFLE_MATRIX").is_ok_and(|value| value == "full");
        let (restarts, apart) = match number("SEALED_SHUFFLE_RESTARTS") {
            Some(restarts) => (restarts, 30),
            None if full => (20, 30),
            None => (2, 0),
        };
        let apart = number("SEALED_SHUFFLE_RESTARTS_APART").unwrap_or(apart);
        Self { restarts, apart: Duration::from_secs(apart.into()) }
    }

    fn restarts(&self) -> impl Iterator<Item = Restart> {
        (0..self.restarts).map(move |n| Restart {
            // In another part of a wave each time: multiples of the golden ratio spread evenly.
            pause: self.apart + Duration::from_secs(3).mul_f64((f64::from(n + 1) * 0.618_034).fract()),
            kills: n % 2 == 1,
            away: Duration::from_secs(if matches!(n % 4, 1 | 2) { 2 } else { 0 }),
        })
    }
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn restarts_under_a_running_application_cost_no_stage_retry() {
    restarts(&Plan::chosen(), Mode::newest(Cipher::Gcm, 2), false);
}

/// What was merged before a restart is served after it.
#[test]
fn restarts_under_an_application_that_pushes_cost_no_stage_retry() {
    restarts(&Plan::chosen(), Mode::newest(Cipher::Ctr, 2), true);
}

/// Servers that take over from each other are hardly seen: a request is lost only where a peer sends it in the moment in
/// which its connection is closed, since that was quiet. Nothing fails, and nothing is done again. The control is a server that is
/// killed at the end, which the same executors do see.
#[test]
fn take_overs_under_an_application_that_pushes_cost_nothing() {
    const TAKE_OVERS: u32 = 20;
    let mode = Mode::newest(Cipher::Ctr, 2);
    let (root, state) = (TempDir::with_prefix("interop-"), TempDir::with_prefix("interop-state-"));
    let (root, state) = (root.expect("writable"), state.expect("writable"));
    let service = Lasting::new(&mode, root.path(), state.path());
    let mut server = service.start();
    let mut waves = Waves::start_pushing(&mode, service.port(), SECRET, root.path());
    await_served(&server, true);
    let mut before = Vec::new();
    for _ in 0..TAKE_OVERS {
        before.push(std::mem::replace(&mut server, service.succeed()));
        thread::sleep(Duration::from_secs(1));
    }
    for predecessor in before {
        let log = predecessor.finish_succeeded(&OF_EACH_START);
        let says = |words: &str| log.iter().any(|line| line.contains(words));
        assert!(says("a successor serves in our place"), "{log:#?}");
        assert!(!says("cut what did not finish"), "{log:#?}");
    }
    await_served(&server, true);
    let waved = waves.whole();
    eprintln!("{TAKE_OVERS} take-overs: {} lost requests, {waved:?}", waves.lost_requests());
    waved.assert_unharmed();
    // One such request is told of in two lines at most.
    let lost = waves.lost_requests();
    assert!(lost <= 4, "{lost} lines of lost requests in {TAKE_OVERS} take-overs");

    server.kill();
    thread::sleep(Duration::from_secs(4));
    server = service.start();
    waves.whole().assert_unharmed();
    assert!(waves.lost_requests() > lost, "executors do not notice a server that is away");
    waves.finish().assert_unharmed();
    server.finish(&OF_EACH_START);
}

/// A service that is away for a second is asked again for blocks, and never again for directories. This is why executors
/// that read each other's files get to know them before the first restart ([`Waves::start_pushing`]): no service can be
/// restarted so that they do not notice.
#[test]
fn client_of_spark_asks_again_for_blocks_and_not_for_directories() {
    let mode = Mode::newest(Cipher::Ctr, 2);
    let (root, state) = (TempDir::with_prefix("interop-"), TempDir::with_prefix("interop-state-"));
    let (root, state) = (root.expect("writable"), state.expect("writable"));
    let service = Lasting::new(&mode, root.path(), state.path());
    let start = || service.start();

    let server = start();
    let block = content(1, 1000);
    let executor = Executor::beneath(root.path(), "1");
    executor.write_map(0, 3, std::slice::from_ref(&block));
    let store =
        Store::open(&Peer::shared(mode.version), server.address(), &Credentials::new(&mode, APP, SECRET));
    store.register("1", &executor).answer();
    let (asked, server) = asked_of_nobody(server, start, || store.local_dirs(&["1"]));
    eprintln!("directories: {:?}", asked.failure());
    let name = "shuffle_0_3_0".to_owned();
    let (mut fetched, server) =
        asked_of_nobody(server, start, || store.fetch("1", std::slice::from_ref(&name), false));
    assert_eq!(fetched.remove(&name).expect("an outcome").digest(), Digest::of(&block));
    store.local_dirs(&["1"]).answer();
    server.finish(&OF_EACH_START);
}

/// Asks while the service is away, which comes back a second later.
fn asked_of_nobody<T>(
    server: Server,
    start: impl FnOnce() -> Server + Send,
    ask: impl FnOnce() -> T,
) -> (T, Server) {
    server.finish(&OF_EACH_START);
    thread::scope(|scope| {
        let coming = scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            start()
        });
        (ask(), coming.join().expect("it starts"))
    })
}

fn restarts(plan: &Plan, mode: Mode, pushing: bool) {
    let (root, state) = (TempDir::with_prefix("interop-"), TempDir::with_prefix("interop-state-"));
    let (root, state) = (root.expect("writable"), state.expect("writable"));
    let service = Lasting::new(&mode, root.path(), state.path());
    let start = || service.start();

    let mut server = start();
    let mut waves = match pushing {
        true => Waves::start_pushing(&mode, service.port(), SECRET, root.path()),
        false => Waves::start(&mode, service.port(), SECRET, root.path()),
    };
    if pushing {
        let asked = server.metrics().get(DIRECTORIES).copied().unwrap_or_default();
        assert!(asked >= 2.0, "the executors do not know each other's directories: {asked} requests");
    }
    let began = Instant::now();
    for (restart, Restart { pause, kills, away }) in plan.restarts().enumerate() {
        thread::sleep(pause);
        await_served(&server, pushing);
        let gone = Instant::now();
        let log = match kills {
            true => server.kill(),
            false => server.finish(&OF_EACH_START),
        };
        assert!(log.iter().all(|line| !line.contains(SECRET)), "the log shows the secret");
        assert_sealed(state.path());
        thread::sleep(away);
        server = start();
        let (at, away, wave) = (began.elapsed(), gone.elapsed(), waves.count() + 1);
        let waved = waves.whole();
        eprintln!("restart {} after {at:?}, away for {away:?}, in wave {wave}: {waved:?}", restart + 1);
        waved.assert_unharmed();
    }
    let took = began.elapsed();
    let waved = waves.finish();
    eprintln!("{} restarts in {took:?}: {waved:?}", plan.restarts);
    waved.assert_unharmed();
    assert_eq!(
        (waved.resubmitted, waved.results.len()),
        (0, 1),
        "the event log does not tell of all: {waved:?}"
    );
    await_served(&server, pushing);
    server.finish(&OF_EACH_START);
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
