//! Three local directories, of which the first is a disk that fails when a test says so; and rounds of an application
//! ([`Rounds`]) in whose midst it does.
//!
//! The disk is a file system in user space over one in memory, so that each call that meets a fault is counted, and so that it can
//! be full, for reading only, or not mounted.
//!
//! What Spark itself can bear decides the layout. An executor whose own disk hangs hangs as well: no task of Spark's has a
//! deadline for its files. So the disk fails between map and reduce, and whoever has directories on it is gone by then, as where
//! a node's executors were given back and its shuffle service serves what they left:
//!
//! ```text
//! Worker on "localhost", d0 d1 d2     ──► its executor registers first (so pushed blocks are merged on d0 d1 d2),
//!                                         writes map outputs to d0 d1 d2, and goes away
//! d0 fails
//! Worker on "127.0.0.1", d1 d2        ──► its executor reads them through our server, computes again what cannot be had,
//!                                         writes and pushes another shuffle, and reads that; the first one is removed
//! d0 is well                          ──► the next round
//! ```
//!
//! From then on nobody but our server calls `d0`.

use std::{
    cell::Cell,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sealed_shuffle_faulty_disk::{Failure, FaultyDisk, Operation, mount_memory, remount, unmount};
use tempfile::TempDir;

use crate::{
    applications::{Cluster, Round, Rounds, WorkerConfig},
    fixture::{BLOCK_BYTES, SECRET},
    modes::Mode,
    ours::Server,
};

/// Whatever is waited for comes, on a busy machine late.
const PATIENCE: Duration = Duration::from_secs(240);

/// A page that waits for no disk; one that does takes as long as that hangs.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What executors and merges of many rounds need.
const SIZE: u64 = 256 << 20;

/// With two files on three disks, a round without a loss has a chance of four in nine.
const ROUNDS: usize = 6;

/// What the server warns of: the disk, and what could not be done on it.
pub const OF_FAILING_DISKS: [&str; 16] = [
    "disk is",
    "a block failed",
    "block stopped in its midst",
    "disk /",
    "did not answer",
    "cannot",
    "could not",
    "a pushed block was refused",
    "a disk error while merging",
    "a disk to merge to",
    "nothing is merged into a partition",
    "not all deleted in time",
    "a sweep",
    "no longer",
    "not merged",
    "more of the same kind",
];

/// The directories.
#[derive(Debug)]
pub struct FailingDisks {
    paths: [PathBuf; 3],
    backing: PathBuf,
    faulty: Option<FaultyDisk>,
    filler: Mutex<Option<Filler>>,
    _temp: TempDir,
}

impl FailingDisks {
    /// `None` where the machine cannot mount what it takes; it says why. `SEALED_SHUFFLE_FAULTY_DISKS=required` makes a failure
    /// of it.
    pub fn make() -> Option<Self> {
        match Self::try_make() {
            Ok(disks) => Some(disks),
            Err(reason) => {
                println!("SKIPPED: {reason}");
                let required =
                    std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
                assert!(!required, "{reason}");
                None
            }
        }
    }

    fn try_make() -> Result<Self, String> {
        let temp = TempDir::with_prefix("interop-disks-").expect("the temporary directory is writable");
        let base = temp.path().canonicalize().expect("it is there");
        let paths = [0, 1, 2].map(|n| base.join(format!("mnt/d{n}")));
        let backing = base.join("backing");
        for dir in paths.iter().chain([&backing]) {
            fs::create_dir_all(dir).expect("the directory is fresh");
        }
        let mut disks = Self { paths, backing, faulty: None, filler: Mutex::default(), _temp: temp };
        mount_memory(&disks.backing, SIZE)?;
        disks.mount()?;
        Ok(disks)
    }

    /// All three, the one that fails first.
    pub fn paths(&self) -> [&Path; 3] {
        self.paths.each_ref().map(PathBuf::as_path)
    }

    /// As `spark.local.dir` lists them.
    pub fn list(&self) -> String {
        self.paths.each_ref().map(|path| path.display().to_string()).join(",")
    }

    fn mount(&mut self) -> Result<(), String> {
        // The one before takes away whatever is mounted at its place when it is dropped.
        self.faulty = None;
        self.faulty = Some(FaultyDisk::mount(&self.backing, &self.paths[0])?);
        Ok(())
    }

    fn faulty(&self) -> &FaultyDisk {
        self.faulty.as_ref().expect("it was mounted")
    }

    fn fill(&self, filler: Option<Filler>) {
        *self.filler.lock().unwrap_or_else(PoisonError::into_inner) = filler;
    }

    fn begin(&self, failure: Failure) {
        match failure {
            Failure::Hangs(_) | Failure::Errors => failure.begin(self.faulty()),
            Failure::Full => self.fill(Some(Filler::start(self.backing.join("filler")))),
            Failure::ReadOnly => eventually("it is remounted", || remount(&self.paths[0], true).is_ok()),
            Failure::Unmounted => self.faulty().unmount(),
        }
    }

    fn heal(&mut self, failure: Failure) {
        match failure {
            Failure::Hangs(_) | Failure::Errors => self.faulty().heal(),
            Failure::Full => self.fill(None),
            Failure::ReadOnly => remount(&self.paths[0], false).expect("it was remounted before"),
            Failure::Unmounted => self.mount().expect("it was mounted before"),
        }
    }

    /// Calls that the failure has met so far.
    fn met(&self, failure: Failure) -> u64 {
        failure.operations().iter().map(|operation| self.faulty().met(*operation)).sum()
    }
}

impl Drop for FailingDisks {
    fn drop(&mut self) {
        self.fill(None);
        self.faulty = None;
        unmount(&self.backing);
    }
}

/// Keeps a file system full: what others remove, its file takes. Gone when it is dropped.
#[derive(Debug)]
struct Filler {
    file: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    fn start(file: PathBuf) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut open = OpenOptions::new().create(true).append(true).open(&file).expect("its name fits");
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let few = [1; 64 << 10];
            while !ended.load(Ordering::Relaxed) {
                if open.write(&few).is_err() {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { file, ends, thread: Some(thread) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        fs::remove_file(&self.file).expect("it was written");
    }
}

/// An application on a cluster that has these directories.
#[derive(Debug)]
pub struct RoundsOnDisks {
    rounds: Rounds,
    _cluster: Cluster,
    disks: FailingDisks,
    results: Vec<(&'static str, Round)>,
}

impl RoundsOnDisks {
    /// Starts both, for the service of `server`, whose roots the directories are.
    pub fn start(mode: &Mode, server: &Server, disks: FailingDisks) -> Self {
        let port = server.address().port();
        let mut cluster = Cluster::start_master(mode, port, SECRET);
        let [d0, d1, d2] = disks.paths();
        let all = [d0, d1, d2];
        let passing = cluster.add_worker(&WorkerConfig {
            host: "localhost",
            cores: 1,
            local_dirs: &all,
            own_service: false,
        });
        let known = server.metric("sealed_shuffle_executors");
        let rounds = Rounds::start(mode, &cluster, port, SECRET, passing, d0);
        eventually("the first executor registers", || server.metric("sealed_shuffle_executors") > known);
        cluster.add_worker(&WorkerConfig {
            host: "127.0.0.1",
            cores: 1,
            local_dirs: &all[1..],
            own_service: false,
        });
        Self { rounds, _cluster: cluster, disks, results: Vec::new() }
    }

    /// A round in whose midst the disk fails: the failure is met, what can be found out is found out, and the other disks go on.
    ///
    /// Spark chooses a disk by the hash of a file's name, and by chance none of the files that the executor left lies on this
    /// one. A failure that loses blocks has more rounds then.
    pub fn fail(&mut self, failure: Failure, server: &Server) {
        let is_met = (0..ROUNDS).any(|_| self.round(failure, server) || !loses_blocks(failure));
        assert!(is_met, "{}: nothing was lost in {ROUNDS} rounds", failure.name());
    }

    /// Whether blocks were lost.
    fn round(&mut self, failure: Failure, server: &Server) -> bool {
        let (name, began) = (failure.name(), Instant::now());
        let disk = self.disks.paths[0].clone();
        let met_before = self.disks.met(failure);
        let served_before = Cell::new([0.0; 2]);
        let (disks, rounds) = (&self.disks, &mut self.rounds);
        let (round, served) = rounds.round(
            || {
                served_before.set(served(server));
                disks.begin(failure);
            },
            || {
                let asked = Instant::now();
                server.admin_page("/healthz");
                let took = asked.elapsed();
                assert!(took < AT_ONCE, "{name}: /healthz took {took:?}");
                noticed(failure).into_iter().for_each(|health| becomes(server, &disk, health));
                if !failure.operations().is_empty() {
                    eventually("the disk is asked", || disks.met(failure) > met_before);
                }
                let after = served(server);
                let before = served_before.get();
                [after[0] - before[0], after[1] - before[1]]
            },
        );
        let met = self.disks.met(failure) - met_before;
        eprintln!(
            "{name}: {:?}, {}, {met} calls met it, served {served:?}, {round:?}",
            began.elapsed(),
            health(server, &disk)
        );
        self.disks.heal(failure);
        // A look that took long makes it slow for half a minute.
        eventually("it serves again", || matches!(&*health(server, &disk), "ok" | "slow"));
        assert!(round.left > 0, "{name}: the executor that went away left nothing");
        assert_eq!(round.fetch_failures > 0, round.again > 0, "{name}: {round:?}");
        assert!(
            served.iter().all(|served| *served > 0.0),
            "{name}: the other disks serve nothing: {served:?}"
        );
        let is_lost = round.fetch_failures > 0;
        self.results.push((name, round));
        is_lost
    }

    /// Ends the application; each read of each round had the rows that it should. How many rounds there were.
    pub fn finish(self) -> usize {
        let expected = self.rounds.finish();
        for (name, round) in &self.results {
            assert_eq!(round.before, expected, "{name}: before it began");
            assert_eq!(round.results, std::slice::from_ref(&expected), "{name}");
        }
        self.results.len()
    }
}

/// The ways in which a job can meet a disk that fails: all but one, since no job has the server read a directory (`tests/disks` has
/// that one).
pub fn failures_under_jobs() -> Vec<Failure> {
    let all = Failure::ALL.into_iter();
    all.filter(|failure| *failure != Failure::Hangs(Operation::ReadDir)).collect()
}

/// How the server says that a disk is which fails so, where it finds out by itself, whatever is asked of it.
fn noticed(failure: Failure) -> Option<&'static str> {
    match failure {
        Failure::Hangs(Operation::LookUp | Operation::Attributes) => Some("hung"),
        Failure::Errors => Some("failed"),
        Failure::Full => Some("full"),
        Failure::ReadOnly => Some("read-only"),
        Failure::Unmounted => Some("missing"),
        Failure::Hangs(_) => None,
    }
}

/// Whether blocks that lie on such a disk cannot be read, so that Spark computes them again.
fn loses_blocks(failure: Failure) -> bool {
    use Operation::{Attributes, LookUp, Read};
    matches!(failure, Failure::Hangs(LookUp | Attributes | Read) | Failure::Errors | Failure::Unmounted)
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn health(server: &Server, disk: &Path) -> String {
    let begin = format!("sealed_shuffle_disk_health{{disk=\"{}\",health=\"", disk.display());
    let samples = server.metrics();
    let holds = samples.iter().find(|(name, value)| name.starts_with(&begin) && **value == 1.0);
    let (name, _) = holds.expect("each disk has a health");
    name[begin.len()..].trim_end_matches("\"}").to_owned()
}

fn becomes(server: &Server, disk: &Path, expected: &str) {
    eventually(expected, || health(server, disk) == expected);
}

/// Bytes of blocks and merged chunks that were served, 0 before the first count.
fn served(server: &Server) -> [f64; 2] {
    let samples = server.metrics();
    [BLOCK_BYTES, "sealed_shuffle_merge_read_chunks_total"].map(|family| {
        samples.iter().filter(|(name, _)| name.starts_with(family)).map(|(_, value)| value).sum()
    })
}
