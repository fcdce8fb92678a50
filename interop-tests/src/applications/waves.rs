//! A Spark application that goes on reading its shuffles until it is told to end (`python/waves.py`), for services that
//! go away and come back meanwhile.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    driver::Driver,
    keys::{Keys, MASTER, PUSHING_MASTER},
    program::{Program, START_LIMIT},
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

/// What it came to so far, by its event log, which may tell of a wave a little after its end.
#[derive(Debug)]
pub struct WaveReport {
    /// Waves that were computed.
    pub waves: u64,
    /// The different results of them, but for those that took a block twice.
    pub results: Vec<String>,
    /// Waves in which Spark's client took a merged block twice, which is its fault (`python/waves.py` says how).
    pub twice: u64,
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
        Self::start_on(&release, (MASTER, Self::keys(mode, port, secret)), root, false)
    }

    /// The same on a standalone cluster, whose executors the service on `port` serves.
    pub fn start_on_cluster(mode: &Mode, master: &str, port: u16, secret: &str, root: &Path) -> Self {
        let release = Spark::release(mode.version);
        let mut keys = Self::keys(mode, port, secret);
        keys.set("spark.executor.cores", "1");
        keys.set("spark.cores.max", "2");
        Self::start_on(&release, (master, keys), root, false)
    }

    /// The same with push-based shuffle; the service merges. Executors of such an application read each other's files by
    /// themselves, whatever `spark.shuffle.readHostLocalDisk` says; they know each other's directories before the first
    /// wave (`python/waves.py` says why).
    pub fn start_pushing(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        let release = Spark::release(mode.version);
        let mut keys = Self::keys(mode, port, secret);
        // Under another name than their own executors fetch chunks, instead of opening merged files by themselves.
        keys.push_to(&release, &[format!("localhost:{port}")]);
        Self::start_on(&release, (PUSHING_MASTER, keys), root, true)
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

    fn start_on(release: &Spark, told: (&str, Keys), root: &Path, acquainted: bool) -> Self {
        let more = [("acquainted", json!(acquainted))];
        let mut driver = Driver::start(PROGRAM, release, Some(Turn::wait()), told, Some(root), &more);
        driver.wait_for(START_LIMIT, "WAVE ");
        Self { driver }
    }

    /// Waves so far.
    pub fn count(&self) -> usize {
        self.driver.output().all().iter().filter(|line| line.starts_with("WAVE ")).count()
    }

    /// Waits until a wave is through that has begun after this call: none of its fetches is older. What all waves came
    /// to.
    pub fn whole(&mut self) -> WaveReport {
        let under_way = self.count() + 1;
        self.wait_for(under_way);
        self.wait_for(under_way + 1)
    }

    /// How often an executor has lost a request so far, with its connection or since there was none, by the logs of all.
    #[track_caller]
    pub fn lost_requests(&self) -> usize {
        let words = [
            // TransportResponseHandler.channelInactive
            "outstanding when connection from",
            // OneForOneBlockFetcher.start
            "Failed while starting block fetches",
            // PushBasedFetchHelper.sendFetchMergedStatusRequest
            "Failed to get the meta of push-merged block",
        ];
        words.iter().map(|words| self.driver.logged(words)).sum()
    }

    /// Ends it after the wave that it is in.
    pub fn finish(mut self) -> WaveReport {
        self.driver.close_input();
        WaveReport::of(&self.driver.result(WAVE_LIMIT))
    }

    fn wait_for(&mut self, wave: usize) -> WaveReport {
        let line = self.driver.wait_for(WAVE_LIMIT, &format!("WAVE {wave} "));
        WaveReport::of(&serde_json::from_str(&line).expect("the line is JSON"))
    }
}

impl WaveReport {
    /// Nothing failed, nothing was done again, and each wave computed the same, as far as the event log tells by now.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        assert_eq!(self.again, 0, "stages ran again: {self:?}");
        assert!(self.resubmitted <= 0, "map tasks ran again: {self:?}");
        assert_eq!((self.fetch_failures, self.failures, self.lost), (0, 0, 0), "{self:?}");
        assert!(self.results.len() <= 1, "not each wave computed the same: {self:?}");
    }

    fn of(value: &Value) -> Self {
        let signed = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {value}"));
        let number = |key: &str| u64::try_from(signed(key)).unwrap_or_else(|_| panic!("{key} in {value}"));
        let results = value["results"].as_array().expect("a list of hashes").iter();
        Self {
            waves: number("waves"),
            results: results.map(|hash| hash.as_str().expect("a hash").to_owned()).collect(),
            twice: number("twice"),
            again: number("again"),
            resubmitted: signed("resubmitted"),
            fetch_failures: number("fetch_failures"),
            failures: number("failures"),
            lost: number("lost"),
        }
    }
}
