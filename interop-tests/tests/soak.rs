//! Everything that happens to a node in a year, in a few minutes, under two applications of real Spark: the service is drained, killed
//! and taken over, a disk fails in each of its ways, secret, certificate and keys are rotated. No row is wrong, and neither memory
//! nor descriptors grow.
//!
//! `make soak`. The applications are those of other tests: one that pushes and reads in waves (`restarts.rs`), which must notice
//! nothing of anything, and one in rounds whose disk fails (`faulty_disks.rs`), which computes again what it has lost.
//!
//! Servers follow each other for the first half. The last one stays for the other half, so that what leaks shows.
//!
//! | variable | |
//! |---|---|
//! | `SEALED_SHUFFLE_SOAK=S` | lasts S seconds; 300 without |
//! | `SEALED_SHUFFLE_SEED=N` | the order of another run |

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    applications::Waves,
    disks::{FailingDisks, OF_FAILING_DISKS, RoundsOnDisks, failures_under_jobs},
    fixture::SECRET,
    merger::{Lasting, OF_EACH_START, await_served},
    modes::{Cipher, Material, Mode, Stores},
    ours::{Server, command_with_key},
};
use sealed_shuffle_measure::process::{anonymous_memory, descriptors};
use tempfile::TempDir;

/// What the server warns of besides.
const OF_ROTATIONS: [&str; 3] = ["new TLS material is no good", "expires", "previous"];

/// More than caches take that are not full yet.
const GROWTH: u64 = 24 << 20;
const MORE_DESCRIPTORS: usize = 64;

/// Secrets that are not the applications'.
const OTHER_SECRET: &str = "another-secret-of-the-green-plover-0043";

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    Drain,
    Kill,
    TakeOver,
    Secret,
    Certificate,
    Keys,
    Disk,
}

impl Event {
    /// Those after which another server runs, and the others.
    const OF_SERVERS: [Self; 3] = [Self::Drain, Self::Kill, Self::TakeOver];
    const OTHERS: [Self; 4] = [Self::Secret, Self::Certificate, Self::Keys, Self::Disk];
}

/// Xorshift, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below a small number")
    }

    /// All of them, in some order.
    fn shuffled<T: Copy>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for n in (1..all.len()).rev() {
            all.swap(n, self.below(n + 1));
        }
        all
    }
}

/// A private file that whoever reads it never finds half written.
fn write_private(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::rename(&new, path))
        .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}

/// The node, and what its operator does with it.
struct Node {
    dir: TempDir,
    service: Lasting,
    /// None only while one follows another.
    server: Option<Server>,
    /// Whether the applications' secret is the one before.
    is_rotated: bool,
}

impl Node {
    fn start(mode: &Mode, disks: &FailingDisks) -> Self {
        let dir = TempDir::with_prefix("interop-soak-").expect("the temporary directory is writable");
        let path = |name: &str| dir.path().join(name);
        let text = |name: &str| path(name).to_str().expect("test paths are text").to_owned();
        for name in ["state", "tls"] {
            fs::create_dir(path(name)).expect("the directory is fresh");
        }
        Material::shared().renew(&path("tls"));
        write_private(&path("secret"), SECRET);
        write_private(&path("previous"), OTHER_SECRET);
        let service = Lasting::new(mode, disks.paths()[0], &path("state"))
            .with("spark.local.dir", disks.list())
            .with("spark.sealed.merge.fsync", "true")
            .with("spark.sealed.disk.timeout", "2s")
            .with("spark.sealed.auth.secret-file", text("secret"))
            .with("spark.sealed.auth.previous-secret-file", text("previous"))
            .with("spark.ssl.rpc.privateKey", text("tls/privateKey.pem"))
            .with("spark.ssl.rpc.certChain", text("tls/certificateChain.pem"));
        let server = Some(service.start());
        Self { dir, service, server, is_rotated: false }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("one runs")
    }

    fn expected() -> Vec<&'static str> {
        [&OF_FAILING_DISKS[..], &OF_EACH_START, &OF_ROTATIONS].concat()
    }

    fn finish(&mut self) {
        self.server.take().expect("one runs").finish(&Self::expected());
    }

    fn happens(&mut self, event: Event, rounds: &mut RoundsOnDisks, chance: &mut Chance) {
        match event {
            Event::Drain => {
                self.finish();
                self.server = Some(self.service.start());
            }
            Event::Kill => {
                self.server.take().expect("one runs").kill();
                self.server = Some(self.service.start());
            }
            Event::TakeOver => {
                let before = self.server.replace(self.service.succeed());
                before.expect("one runs").finish_succeeded(&Self::expected());
            }
            Event::Secret => self.rotate_secret(),
            Event::Certificate => Material::shared().renew(&self.dir.path().join("tls")),
            Event::Keys => self.rotate_keys(),
            Event::Disk => {
                let failures = failures_under_jobs();
                rounds.fail(failures[chance.below(failures.len())], self.server());
            }
        }
    }

    fn rotate_secret(&mut self) {
        self.is_rotated = !self.is_rotated;
        let (now, before) = if self.is_rotated { (OTHER_SECRET, SECRET) } else { (SECRET, OTHER_SECRET) };
        write_private(&self.dir.path().join("secret"), now);
        write_private(&self.dir.path().join("previous"), before);
        self.server.as_mut().expect("one runs").reload();
    }

    fn rotate_keys(&self) {
        let state = format!("spark.sealed.state.dir={}", self.dir.path().join("state").display());
        let rotated = command_with_key(None, &["keys", "rotate", "--conf", &state]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    }
}

/// What the server has: anonymous memory, and descriptors.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory: u64,
    descriptors: usize,
}

impl Sample {
    fn of(server: &Server) -> Self {
        let id = server.id();
        Self {
            memory: anonymous_memory(id).expect("it runs"),
            descriptors: descriptors(id).expect("it runs, and is ours"),
        }
    }
}

/// The middle of what `what` says of each.
fn median<T: Copy + Ord>(samples: &[Sample], what: impl Fn(&Sample) -> T) -> T {
    let mut all: Vec<T> = samples.iter().map(what).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// Neither grew between the first third and the last.
fn assert_flat(samples: &[Sample]) {
    let third = samples.len() / 3;
    let (first, last) = (&samples[..third.max(1)], &samples[samples.len() - third.max(1)..]);
    let memory = [first, last].map(|part| median(part, |sample| sample.memory));
    let descriptors = [first, last].map(|part| median(part, |sample| sample.descriptors));
    eprintln!("{} samples of one server: memory {memory:?}, descriptors {descriptors:?}", samples.len());
    assert!(memory[1] < memory[0] + GROWTH, "memory grows: {memory:?} {samples:?}");
    assert!(
        descriptors[1] < descriptors[0] + MORE_DESCRIPTORS,
        "descriptors grow: {descriptors:?} {samples:?}"
    );
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
#[ignore = "it takes five minutes: make soak"]
fn a_year_of_a_node_costs_its_applications_no_row_and_its_server_no_memory() {
    let Some(disks) = FailingDisks::make() else { return };
    let lasts = Duration::from_secs(number("SEALED_SHUFFLE_SOAK", 300));
    let seed = number("SEALED_SHUFFLE_SEED", u64::from(std::process::id()));
    eprintln!("SEALED_SHUFFLE_SEED={seed}");
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mode = Mode::newest(Cipher::Gcm, 2).inside_tls(Stores::Pem);
    let mut node = Node::start(&mode, &disks);
    let of_waves = disks.paths()[1].to_owned();
    let mut rounds = RoundsOnDisks::start(&mode, node.server(), disks);
    let mut waves = Waves::start_pushing(&mode, node.service.port(), SECRET, &of_waves);
    await_served(node.server(), true);

    let (began, mut done, mut samples) = (Instant::now(), Vec::new(), Vec::new());
    while began.elapsed() < lasts {
        let replaces = began.elapsed() < lasts / 2;
        let of_servers = if replaces { &Event::OF_SERVERS[..] } else { &[] };
        for event in chance.shuffled([&Event::OTHERS[..], of_servers].concat()) {
            node.happens(event, &mut rounds, &mut chance);
            if Event::OF_SERVERS.contains(&event) {
                samples.clear();
            }
            // Each fetch meets one of these at most.
            let waved = waves.whole();
            eprintln!("{:?}: {event:?}, {waved:?}", began.elapsed());
            waved.assert_unharmed();
            samples.push(Sample::of(node.server()));
            done.push(event);
        }
    }
    // All of it has happened.
    for event in [&Event::OF_SERVERS[..], &Event::OTHERS].concat() {
        let times = done.iter().filter(|done| **done == event).count();
        eprintln!("{event:?}: {times}");
        assert!(times > 0, "{event:?} did not happen");
    }
    await_served(node.server(), true);
    assert_flat(&samples);
    let waved = waves.finish();
    eprintln!("{:?}: {waved:?}", began.elapsed());
    waved.assert_unharmed();
    assert_eq!(waved.results.len(), 1, "{waved:?}");
    assert!(rounds.finish() > 0);
    node.finish();
}
