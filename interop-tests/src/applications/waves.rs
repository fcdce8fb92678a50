//! A Spark application that goes on reading its shuffles until it is told to end (`python/waves.py`), for services that
//! go away and come back meanwhile.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    driver::{Driver, Program, START_LIMIT},
    keys::{Keys, MASTER, PUSHING_MASTER},
};
use crate::{machine::Turn, modes::Mode, spark::Spark};

const PROGRAM: Program = Program { file: "waves.py", text: include_str!("../../python/waves.py") };
/// A wave takes seconds; one that meets a service that is away takes a few of Spark's waits more.
const WAVE_LIMIT: Duration = Duration::from_secs(90);

/// The application, in the midst of its waves.
#[derive(Debug)]
pub struct Waves {
    driver: Driver,
}

/// What it came to, by its event log.
#[derive(Debug)]
pub struct WaveReport {
    /// Waves that were computed.
    pub waves: u64,
    /// The different results of them.
    pub results: Vec<String>,
    /// Stages that were tried again.
    pub again: u64,
    /// Map tasks of the shuffle that all waves read, beyond the first time.
    pub resubmitted: i64,
    /// Tasks that could not fetch their input.
    pub fetch_failures: u64,
    /// Tasks that ended otherwise than well.
    pub failures: u64,
    /// Executors that went away.
    pub lost: u64,
}

impl Waves {
    /// Starts it on `local-cluster` with two executors, authenticated and sealed as `mode` says, with a shuffle service
    /// on `port` whose root is `root`. Returns when a wave is through.
    pub fn start(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        let release = Spark::release(mode.version);
        Self::start_on(&release, (MASTER, Self::keys(mode, port, secret)), root)
    }

    /// The same with push-based shuffle; the service merges.
    pub fn start_pushing(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        let release = Spark::release(mode.version);
        let mut keys = Self::keys(mode, port, secret);
        // Under another name than their own executors fetch chunks, instead of opening merged files by themselves.
        keys.push_to(&release, &[format!("localhost:{port}")]);
        Self::start_on(&release, (PUSHING_MASTER, keys), root)
    }

    fn keys(mode: &Mode, port: u16, secret: &str) -> Keys {
        let mut keys = Keys::new();
        keys.speak(mode, secret);
        keys.use_service(port);
        keys.set("spark.shuffle.compress", "false");
        // Several requests for each reduce task, so that restarts meet some that are under way.
        keys.set("spark.reducer.maxBlocksInFlightPerAddress", "1");
        keys
    }

    fn start_on(release: &Spark, told: (&str, Keys), root: &Path) -> Self {
        let mut driver = Driver::start(PROGRAM, release, Some(Turn::wait()), told, Some(root), &[]);
        driver.wait_for(START_LIMIT, "WAVE ");
        Self { driver }
    }

    /// Waves so far.
    pub fn count(&self) -> usize {
        self.driver.output().all().iter().filter(|line| line.starts_with("WAVE ")).count()
    }

    /// Waits until another wave is through.
    pub fn next(&mut self) {
        let next = format!("WAVE {} ", self.count() + 1);
        self.driver.wait_for(WAVE_LIMIT, &next);
    }

    /// Ends it after the wave that it is in.
    pub fn finish(mut self) -> WaveReport {
        self.driver.close_input();
        WaveReport::of(&self.driver.result(WAVE_LIMIT))
    }
}

impl WaveReport {
    fn of(value: &Value) -> Self {
        let signed = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {value}"));
        let number = |key: &str| u64::try_from(signed(key)).unwrap_or_else(|_| panic!("{key} in {value}"));
        let results = value["results"].as_array().expect("a list of hashes").iter();
        Self {
            waves: number("waves"),
            results: results.map(|hash| hash.as_str().expect("a hash").to_owned()).collect(),
            again: number("again"),
            resubmitted: signed("resubmitted"),
            fetch_failures: number("fetch_failures"),
            failures: number("failures"),
            lost: number("lost"),
        }
    }
}
