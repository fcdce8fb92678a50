//! Two real applications beside tenants and strangers that take all that they can get: the applications notice nothing.
//!
//! Attackers choose at random among the attacks of `attacks.rs`, each for a few seconds, from a seed that the test prints.
//!
//! | variable | |
//! |---|---|
//! | `SEALED_SHUFFLE_SOAK=S` | lasts S seconds; 120 without |
//! | `SEALED_SHUFFLE_SEED=N` | begins with this seed |

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod attacks;
#[path = "../../../tests/running/peer.rs"]
mod peer;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    applications::Waves,
    fixture::SECRET,
    merger,
    modes::{Cipher, Mode, Service},
    ours::Server,
};
use tempfile::TempDir;

use crate::attacks::{ATTACKS, Attacker};

/// At once.
const ATTACKERS: u64 = 3;

/// What attacks make the server warn of, and what it warns of in each test with a key file.
const EXPECTED: [&str; 17] = [
    "is held up: others use its share",
    "a pushed block was refused",
    "on the same file system",
    "made the key file",
    "an application is below the target",
    "refused",
    "closed a connection",
    "more of the same kind",
    "wait for",
    "holds others up",
    "lose it: others wait for it",
    "is used up",
    "cannot be examined",
    "did not answer",
    "no longer",
    "gave way",
    "places for connections are taken: peers wait",
];

/// Memory that is not in the budget: code, threads, tables of connections and applications.
const BESIDE_THE_BUDGET: f64 = (48 << 20) as f64;
/// What an executor of an attacker takes, with its sixty directories; and what all may take, which is no part of the budget
/// either (decision 48).
const EXECUTOR: f64 = (12 << 10) as f64;
const EXECUTORS: f64 = (256 << 20) as f64 * 1.15;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Attacks until told to stop; which ones, and how often each.
struct Attackers {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<usize>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Attackers {
    fn begin(address: SocketAddr, root: &Path, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(vec![0; ATTACKS.len()]));
        let threads = (0..ATTACKERS)
            .map(|n| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                let mut attacker = Attacker::new(address, root, n, seed);
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let attack = attacker.choose();
                        (ATTACKS[attack].1)(&mut attacker);
                        done.lock().unwrap()[attack] += 1;
                    }
                })
            })
            .collect();
        Self { stop, done, threads }
    }

    fn end(self) -> Vec<(&'static str, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("an attacker does not give up"));
        let done = self.done.lock().unwrap();
        ATTACKS.iter().zip(done.iter()).map(|((name, _), times)| (*name, *times)).collect()
    }
}

fn serve(mode: Mode, root: &Path, state: &Path) -> Server {
    let mut conf = mode.service_conf(Service::Ours);
    conf.push(("spark.sealed.memory.budget", "64m".to_owned()));
    conf.push(("spark.sealed.connections.max", "512".to_owned()));
    conf.extend(merger::conf(state, "2k"));
    Server::start(root, Some(SECRET), &conf)
}

#[test]
fn two_applications_notice_nothing_of_tenants_and_strangers_that_take_all_that_they_can_get() {
    let lasts = Duration::from_secs(number("SEALED_SHUFFLE_SOAK", 120));
    let seed = number("SEALED_SHUFFLE_SEED", u64::from(std::process::id()));
    eprintln!("SEALED_SHUFFLE_SEED={seed}");
    let mode = Mode::newest(Cipher::Gcm, 2);
    let temp = [TempDir::with_prefix("interop-"), TempDir::with_prefix("interop-state-")].map(Result::unwrap);
    let [root, state] = temp.each_ref().map(TempDir::path);
    let server = serve(mode, root, state);
    let port = server.address().port();
    let mut plain = Waves::start(&mode, port, SECRET, root);
    let mut pushing = Waves::start_pushing(&mode, port, SECRET, root);

    let before = (plain.count(), pushing.count());
    let attackers = Attackers::begin(server.address(), root, seed);
    let (began, mut most, mut beside_executors) = (Instant::now(), 0.0_f64, 0.0_f64);
    while began.elapsed() < lasts {
        let executors = (EXECUTOR * server.metric("sealed_shuffle_executors")).min(EXECUTORS);
        let all = server.metric("sealed_shuffle_resident_anonymous_bytes");
        (most, beside_executors) = (most.max(all), beside_executors.max(all - executors));
        thread::sleep(Duration::from_millis(500));
    }
    let attacks = attackers.end();
    let after = (plain.count(), pushing.count());
    let (plain_waves, pushing_waves) = (plain.whole(), pushing.whole());
    eprintln!(
        "{lasts:?}: attacks {attacks:?}; at most {:.0} MiB, {:.0} beside executors; {plain_waves:?}; {pushing_waves:?}",
        most / f64::from(1 << 20),
        beside_executors / f64::from(1 << 20)
    );
    // All of it has happened, and the applications have read meanwhile.
    assert!(attacks.iter().all(|(_, times)| *times > 0) || lasts < Duration::from_secs(60), "{attacks:?}");
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    plain_waves.assert_unharmed();
    pushing_waves.assert_unharmed();
    let budget = server.metric("sealed_shuffle_memory_budget_bytes") * 1.15;
    assert!(
        beside_executors < budget + BESIDE_THE_BUDGET,
        "{beside_executors} bytes beside executors, of which {budget} are the budget"
    );
    plain.finish().assert_unharmed();
    pushing.finish().assert_unharmed();
    server.finish(&EXPECTED);
}
