//! A Spark application that goes on reading its shuffles until it is told to end (`python/waves.py`), for services that
//! go away and come back meanwhile.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    application::{JAVA_OPTIONS, PUSHING_MASTER, private_home, pushing_to},
    mode::Mode,
    process::Process,
    python::Program,
    spark::Spark,
    turn::Turn,
};

const PROGRAM: Program = Program { file: "waves.py", text: include_str!("../python/waves.py") };
const START_LIMIT: Duration = Duration::from_secs(240);
/// A wave takes seconds; one that meets a service that is away takes a few of Spark's waits more.
const WAVE_LIMIT: Duration = Duration::from_secs(90);

/// The application, in the midst of its waves.
#[derive(Debug)]
pub struct Waves {
    process: Process,
    _turn: Turn,
    _dir: TempDir,
}

/// What it came to, by its event log.
#[derive(Debug)]
pub struct Waved {
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
        Self::start_with(mode, port, secret, root, "local-cluster[2,1,1024]", &[])
    }

    /// The same with push-based shuffle; the service merges.
    pub fn start_pushing(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        // Under another name than their own executors fetch chunks, instead of opening merged files by themselves.
        let conf = pushing_to(mode.version, &[format!("localhost:{port}")]);
        Self::start_with(mode, port, secret, root, PUSHING_MASTER, &conf)
    }

    fn start_with(
        mode: &Mode,
        port: u16,
        secret: &str,
        root: &Path,
        master: &str,
        more: &[(&str, String)],
    ) -> Self {
        let release = Spark::release(mode.version);
        let turn = Turn::wait();
        let dir = TempDir::with_prefix("interop-waves-").expect("the temporary directory is writable");
        let home = private_home(&release, dir.path());
        let events = dir.path().join("events");
        fs::create_dir(&events).expect("the directory is fresh");
        let mut conf: serde_json::Map<String, Value> =
            mode.client_conf().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        for (key, value) in [
            ("spark.authenticate.secret", secret),
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
            ("spark.shuffle.service.enabled", "true"),
            ("spark.shuffle.service.port", &port.to_string()),
            ("spark.shuffle.readHostLocalDisk", "false"),
            ("spark.shuffle.compress", "false"),
            // Several requests for each reduce task, so that restarts meet some that are under way.
            ("spark.reducer.maxBlocksInFlightPerAddress", "1"),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
        ] {
            conf.insert(key.to_owned(), json!(value));
        }
        for (key, value) in more {
            conf.insert((*key).to_owned(), json!(value));
        }
        // Asked for under spark.testing.
        conf.insert("spark.test.home".to_owned(), json!(home));
        let options = json!({"master": master, "conf": conf, "event_log": events});
        let name = format!("the application of waves on Spark {}", mode.version);
        let mut process = PROGRAM.start(&name, &release, &home, &options, root);
        process.wait_for(START_LIMIT, |line| line.starts_with("WAVE ").then_some(()));
        Self { process, _turn: turn, _dir: dir }
    }

    /// Waves so far.
    pub fn count(&self) -> usize {
        self.process.out().all().iter().filter(|line| line.starts_with("WAVE ")).count()
    }

    /// Waits until another wave is through.
    pub fn next(&mut self) {
        let next = format!("WAVE {} ", self.count() + 1);
        self.process.wait_for(WAVE_LIMIT, |line| line.starts_with(&next).then_some(()));
    }

    /// Ends it after the wave that it is in.
    pub fn finish(mut self) -> Waved {
        drop(self.process.take_input());
        let status = self.process.wait(WAVE_LIMIT);
        assert!(status.success(), "the application failed: {status}\n{}", self.process.tail());
        let result = |line: String| line.strip_prefix("RESULT ").map(str::to_owned);
        let line = self.process.out().all().into_iter().find_map(result);
        let line = line.unwrap_or_else(|| panic!("no result\n{}", self.process.tail()));
        Waved::of(&serde_json::from_str(&line).expect("the result is JSON"))
    }
}

impl Waved {
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
