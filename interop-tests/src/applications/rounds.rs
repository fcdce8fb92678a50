//! A Spark application in rounds, of which each loses an executor, whose map outputs it then reads (`python/rounds.py`).

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    driver::Driver,
    keys::{Keys, pushing_cluster},
    program::Program,
};
use crate::{machine::Turn, modes::Mode, spark::Spark};

const PROGRAM: Program = Program { file: "rounds.py", text: include_str!("../../python/rounds.py") };
/// An executor starts, and a few stages run, some of them again.
const LIMIT: Duration = Duration::from_secs(180);

/// The application, between two steps.
#[derive(Debug)]
pub struct Rounds {
    driver: Driver,
    round: u32,
}

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    /// Map outputs that the executor left that went away.
    pub left: u64,
    /// The result before anything happened.
    pub before: String,
    /// The different results since.
    pub results: Vec<String>,
    /// Reads in which Spark's client took a merged block twice, which is its fault; they were done again.
    pub twice: u64,
    /// Stages that were tried again.
    pub again: u64,
    /// Tasks that could not fetch their input.
    pub fetch_failures: u64,
    /// Tasks that ended otherwise than well.
    pub failures: u64,
}

impl Rounds {
    /// Starts it on a cluster, authenticated and sealed as `mode` says, with the service on `port`, which merges. The
    /// executor of the Worker `passing` goes away in each round, and `disk` is one of its local directories.
    ///
    /// Executors of an application that pushes read each other's files by themselves where they have the same host, so the two Workers
    /// must have hosts of different names, and the merger's is yet another one.
    pub fn start(
        mode: &Mode,
        cluster: &Cluster,
        port: u16,
        secret: &str,
        passing: usize,
        disk: &Path,
    ) -> Self {
        let release = Spark::release(mode.version);
        let mut keys = Keys::new();
        keys.speak(mode, secret);
        keys.use_service(port);
        keys.push_to(&release, &[format!("127.1:{port}")]);
        keys.set_all([
            ("spark.executor.cores", "1"),
            ("spark.cores.max", "2"),
            ("spark.executor.memory", "512m"),
            ("spark.reducer.maxBlocksInFlightPerAddress", "1"),
            // A disk that fails costs stages; the application is to bear many of them.
            ("spark.stage.maxConsecutiveAttempts", "20"),
            ("spark.shuffle.io.retryWait", "1s"),
            // Files of a disk that caches nothing cannot be mapped into memory, which Java does for `transferTo`.
            ("spark.file.transferTo", "false"),
            ("spark.shuffle.push.finalize.timeout", "5s"),
        ]);
        let more = [("passing", json!(cluster.work(passing))), ("disk", json!(disk))];
        let master = pushing_cluster(cluster.url());
        let driver = Driver::start(PROGRAM, &release, Some(Turn::wait()), (&master, keys), None, &more);
        Self { driver, round: 0 }
    }

    /// One round: `begin` has something happen when the executor is away, and `end` runs when all was read.
    pub fn round<T>(&mut self, begin: impl FnOnce(), end: impl FnOnce() -> T) -> (Round, T) {
        self.round += 1;
        let ready = self.ask("prepare", "READY");
        begin();
        let done = self.ask("go", "ROUND");
        let ended = end();
        let number =
            |value: &Value, key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"));
        let text = |value: &Value| value.as_str().expect("a hash").to_owned();
        let round = Round {
            left: number(&ready, "left"),
            before: text(&ready["result"]),
            results: done["results"].as_array().expect("a list of hashes").iter().map(text).collect(),
            twice: number(&done, "twice"),
            again: number(&done, "again"),
            fetch_failures: number(&done, "fetch_failures"),
            failures: number(&done, "failures"),
        };
        (round, ended)
    }

    /// Ends it. The result of each read, computed without Spark.
    pub fn finish(mut self) -> String {
        self.driver.close_input();
        let result = self.driver.result(LIMIT);
        result["expected"].as_str().expect("a hash").to_owned()
    }

    fn ask(&mut self, command: &str, word: &str) -> Value {
        let number = self.round;
        self.driver.say(&format!("{command} {number}"));
        let line = self.driver.wait_for(LIMIT, &format!("{word} {number} "));
        serde_json::from_str(&line).expect("the line is JSON")
    }
}
