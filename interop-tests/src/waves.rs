//! A Spark application that goes on reading its shuffles until it is told to end (`python/waves.py`), for services that
//! go away and come back meanwhile.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    application::{JAVA_OPTIONS, PUSHING_MASTER, private_home, pushing_to},
    merging::files,
    mode::Mode,
    process::{Process, logs},
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
    dir: TempDir,
}

/// What it came to so far, by its event log, which may tell of a wave a little after its end.
#[derive(Clone, Debug)]
pub struct Waved {
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
        Self::start_with(mode, port, secret, root, None)
    }

    /// The same with push-based shuffle; the service merges. Executors of such an application read each other's files by
    /// themselves, whatever `spark.shuffle.readHostLocalDisk` says; they know each other's directories before the first
    /// wave (`python/waves.py` says why).
    pub fn start_pushing(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        // Under another name than their own executors fetch chunks, instead of opening merged files by themselves.
        let conf = pushing_to(mode.version, &[format!("localhost:{port}")]);
        Self::start_with(mode, port, secret, root, Some(&conf))
    }

    fn start_with(
        mode: &Mode,
        port: u16,
        secret: &str,
        root: &Path,
        pushing: Option<&[(&str, String)]>,
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
        for (key, value) in pushing.unwrap_or_default() {
            conf.insert((*key).to_owned(), json!(value));
        }
        // Asked for under spark.testing.
        conf.insert("spark.test.home".to_owned(), json!(home));
        // Spark's Workers under spark.testing write into temporary directories that they remove.
        let temporary = dir.path().join("tmp");
        fs::create_dir(&temporary).expect("the directory is fresh");
        let java_options = format!("{JAVA_OPTIONS} -Djava.io.tmpdir={}", temporary.display());
        conf.insert("spark.driver.extraJavaOptions".to_owned(), json!(java_options));
        let master = if pushing.is_some() { PUSHING_MASTER } else { "local-cluster[2,1,1024]" };
        let acquainted = pushing.is_some();
        let options = json!({"master": master, "conf": conf, "event_log": events, "acquainted": acquainted});
        let name = format!("the application of waves on Spark {}", mode.version);
        let mut process = PROGRAM.start(&name, &release, &home, &options, root);
        process.wait_for(START_LIMIT, |line| line.starts_with("WAVE ").then_some(()));
        Self { process, _turn: turn, dir }
    }

    /// Waves so far.
    pub fn count(&self) -> usize {
        self.process.out().all().iter().filter(|line| line.starts_with("WAVE ")).count()
    }

    /// Waits until a wave is through that has begun after this call: none of its fetches is older. What all waves came
    /// to.
    pub fn whole(&mut self) -> Waved {
        let under_way = self.count() + 1;
        self.wait_for(under_way);
        self.wait_for(under_way + 1)
    }

    /// Ends it after the wave that it is in.
    pub fn finish(mut self) -> Waved {
        // Those of the executors go away with them.
        self.keep_logs();
        drop(self.process.take_input());
        let status = self.process.wait(WAVE_LIMIT);
        assert!(status.success(), "the application failed: {status}\n{}", self.process.tail());
        let line = self.process.out().all().into_iter().find_map(|line| Waved::behind("RESULT ", &line));
        line.unwrap_or_else(|| panic!("no result\n{}", self.process.tail()))
    }

    /// Copies what the executors have logged, and the event log, to where the logs are kept.
    fn keep_logs(&self) {
        let Some(logs) = logs() else { return };
        for path in files(self.dir.path()) {
            let inner = path.strip_prefix(self.dir.path()).expect("it lies beneath").to_string_lossy();
            if inner.ends_with("/stderr") || inner.starts_with("events/") {
                // One that goes away meanwhile is nobody's loss.
                fs::copy(&path, logs.join(inner.replace('/', "-"))).ok();
            }
        }
    }

    fn wait_for(&mut self, wave: usize) -> Waved {
        let words = format!("WAVE {wave} ");
        self.process.wait_for(WAVE_LIMIT, |line| Waved::behind(&words, line))
    }
}

impl Drop for Waves {
    fn drop(&mut self) {
        self.keep_logs();
    }
}

impl Waved {
    /// Of a line that begins with `words`.
    fn behind(words: &str, line: &str) -> Option<Self> {
        let json = line.strip_prefix(words)?;
        Some(Self::of(&serde_json::from_str(json).expect("what follows is JSON")))
    }

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
