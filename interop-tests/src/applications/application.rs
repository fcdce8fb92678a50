//! A whole Spark application (`python/application.py`) and what came of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    driver::Driver,
    keys::{Keys, MASTER, PUSHING_MASTER},
    program::{APPLICATION, ROWS},
};
use crate::{machine::Turn, modes::Mode, spark::Spark};

const LIMIT: Duration = Duration::from_secs(420);

/// An application to be run: two executors, two SQL shuffles, an RDD job, a persisted RDD.
#[derive(Debug)]
pub struct Application {
    version: &'static str,
    master: String,
    kill_executor: bool,
    keys: Keys,
    local_dirs: Option<PathBuf>,
}

/// What it computed and how.
#[derive(Debug)]
pub struct ApplicationReport {
    /// The application's id.
    pub app: String,
    /// Hash of all results.
    pub result: String,
    /// Rows that still hold their canary.
    pub canary_rows: u64,
    /// Whether an executor was killed.
    pub killed: bool,
    /// Partitions of the watched map stage.
    pub map_tasks: i64,
    /// Its tasks that ended well, over all attempts.
    pub map_successes: i64,
    /// Its attempts.
    pub map_attempts: i64,
    /// Tasks that could not fetch their input.
    pub fetch_failures: i64,
    /// The shuffle bytes that tasks read.
    pub read: ShuffleReads,
}

/// Shuffle bytes that tasks read, by where they came from; releases before 3.5 tell of none that are merged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShuffleReads {
    /// From merged files that executors opened by themselves.
    pub merged_local: i64,
    /// From the merger.
    pub merged_remote: i64,
    /// From the blocks that were not merged, or whose merged ones could not be had.
    pub unmerged: i64,
    /// How often a merged block was read unmerged in the end.
    pub fallbacks: i64,
}

impl ShuffleReads {
    /// Which part of all bytes came merged.
    pub fn merged_share(&self) -> f64 {
        let merged = self.merged_local + self.merged_remote;
        merged as f64 / (merged + self.unmerged).max(1) as f64
    }
}

impl Application {
    /// On `local-cluster`, without any shuffle service, authentication or encryption.
    pub fn new(version: &'static str) -> Self {
        let keys = Keys::of_application();
        Self { version, master: MASTER.to_owned(), kill_executor: false, keys, local_dirs: None }
    }

    /// The same through a shuffle service on `port`, authenticated and sealed as `mode` says, with executors' files
    /// beneath `root`, which is the service's root.
    pub fn with_service(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        let mut application = Self::new(mode.version);
        application.local_dirs = Some(root.to_owned());
        application.keys.speak(mode, secret);
        application.keys.use_service(port);
        application
    }

    /// With push-based shuffle, merged by the services at `mergers` (`HOST:PORT`).
    #[must_use]
    pub fn pushing_to(mut self, mergers: &[String]) -> Self {
        self.master = PUSHING_MASTER.to_owned();
        self.keys.push_to(&Spark::release(self.version), mergers);
        self
    }

    /// On another master instead.
    #[must_use]
    pub fn on(mut self, master: &str) -> Self {
        self.master = master.to_owned();
        self
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.set(key, value);
        self
    }

    /// One executor dies while the reduce stage of the RDD job runs.
    #[must_use]
    pub fn killing_an_executor(mut self) -> Self {
        self.kill_executor = true;
        self
    }

    /// Runs it to its end; no more than two run at a time on a machine.
    pub fn run(&self) -> ApplicationReport {
        let release = Spark::release(self.version);
        let turn = Turn::wait();
        self.run_on(&release, Some(turn))
    }

    /// Runs it to its end beside others of the caller's, who holds every turn.
    pub fn run_beside_others(&self, _turns: &[Turn]) -> ApplicationReport {
        self.run_on(&Spark::release(self.version), None)
    }

    fn run_on(&self, release: &Spark, turn: Option<Turn>) -> ApplicationReport {
        let told = (self.master.as_str(), self.keys.clone());
        let more = [("rows", json!(ROWS)), ("kill_executor", json!(self.kill_executor))];
        let mut driver = Driver::start(APPLICATION, release, turn, told, self.local_dirs.as_deref(), &more);
        ApplicationReport::of(&driver.result(LIMIT))
    }
}

impl ShuffleReads {
    /// Of a report.
    pub(crate) fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {value}"));
        Self {
            merged_local: number("merged_local"),
            merged_remote: number("merged_remote"),
            unmerged: number("unmerged"),
            fallbacks: number("fallbacks"),
        }
    }
}

impl ApplicationReport {
    fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {value}"));
        Self {
            app: value["app"].as_str().expect("an id").to_owned(),
            result: value["result"].as_str().expect("a hash").to_owned(),
            canary_rows: number("canary_rows").unsigned_abs(),
            killed: !value["killed"].is_null(),
            map_tasks: number("map_tasks"),
            map_successes: number("map_successes"),
            map_attempts: number("map_attempts"),
            fetch_failures: number("fetch_failures"),
            read: ShuffleReads::of(&value["read"]),
        }
    }

    /// No map output was lost: nothing failed to fetch and the map stage ran once.
    #[track_caller]
    pub fn assert_nothing_recomputed(&self) {
        assert_eq!((self.map_attempts, self.fetch_failures), (1, 0), "{self:?}");
        assert_eq!(self.map_successes, self.map_tasks, "{self:?}");
    }
}
