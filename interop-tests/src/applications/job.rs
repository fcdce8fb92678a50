//! A job in phases, for what whole jobs cost (`python/jobs.py`).

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    driver::Driver,
    keys::Keys,
    program::{Program, START_LIMIT},
    tables::tables,
};
use crate::{machine::Turn, modes::Mode, spark::Spark};

const PROGRAM: Program = Program { file: "jobs.py", text: include_str!("../../python/jobs.py") };
const PHASE_LIMIT: Duration = Duration::from_secs(1200);
/// Three quarters of what is read are another executor's.
const EXECUTORS: u32 = 4;
const WARM_UP_SCALE: f64 = 0.01;

/// How large it is.
#[derive(Clone, Debug)]
pub struct JobSize {
    /// Of the tables of TPC-H: 1 is a gigabyte of text.
    pub scale: f64,
    /// Numbers of TPC-H's queries.
    pub queries: Vec<u32>,
    /// Rows of a kilobyte.
    pub rows: u64,
    /// Of each shuffle.
    pub partitions: u32,
}

/// One phase of it.
#[derive(Clone, Debug)]
pub struct Phase {
    /// `warm-up`, `queries`, `repartition`.
    pub name: String,
    /// From its begin to its end.
    pub seconds: f64,
    /// Seconds of processors of the executors and all that they started.
    pub executors: f64,
    /// The same of the driver.
    pub driver: f64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// In their order.
    pub phases: Vec<Phase>,
    /// Of all that was computed.
    pub digest: String,
}

/// Makes what it reads, where that is not there yet.
pub fn prepare_job(size: &JobSize) {
    tables(WARM_UP_SCALE);
    tables(size.scale);
}

/// Runs it to its end on four executors, which speak as `mode` says and hold `more` keys, through the service on a port beneath
/// whose root they write, or else without any. `at` is called with the name of each phase before it begins, and with `end`.
pub fn run_job(
    mode: &Mode,
    secret: &str,
    service: Option<(u16, &Path)>,
    size: &JobSize,
    more: &[(&str, &str)],
    mut at: impl FnMut(&str),
) -> JobReport {
    let release = Spark::release(mode.version);
    let mut keys = Keys::new();
    // The JVM as it is by itself, since what it costs is asked for.
    keys.set_all([("spark.driver.extraJavaOptions", ""), ("spark.executor.extraJavaOptions", "")]);
    keys.speak(mode, secret);
    if let Some((port, _)) = service {
        keys.use_service(port);
    }
    keys.set_all([
        ("spark.executor.cores", "1"),
        ("spark.shuffle.readHostLocalDisk", "false"),
        ("spark.shuffle.compress", "false"),
        ("spark.sql.adaptive.enabled", "false"),
        ("spark.sql.autoBroadcastJoinThreshold", "-1"),
        ("spark.sql.shuffle.partitions", &size.partitions.to_string()),
    ]);
    keys.set_all(more.iter().copied());
    let more = [
        ("rows", json!(size.rows)),
        ("partitions", json!(size.partitions)),
        ("executors", json!(EXECUTORS)),
        ("tables", json!(tables(size.scale))),
        ("small_tables", json!(tables(WARM_UP_SCALE))),
        ("queries", json!(size.queries)),
    ];
    let master = format!("local-cluster[{EXECUTORS},1,1024]");
    let turn = Some(Turn::wait());
    let mut driver =
        Driver::start(PROGRAM, &release, turn, (&master, keys), service.map(|(_, root)| root), &more);
    for (name, limit) in [
        ("warm-up", START_LIMIT),
        ("queries", PHASE_LIMIT),
        ("repartition", PHASE_LIMIT),
        ("end", PHASE_LIMIT),
    ] {
        driver.wait_for(limit, &format!("PHASE {name}"));
        at(name);
        driver.say("go");
    }
    JobReport::of(&driver.result(START_LIMIT))
}

impl JobReport {
    fn of(value: &Value) -> Self {
        let phases = value["phases"].as_array().expect("a list of phases").iter();
        let number =
            |phase: &Value, key: &str| phase[key].as_f64().unwrap_or_else(|| panic!("no {key} in {phase}"));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let phases = phases.map(|phase| Phase {
            name: text(&phase["name"]),
            seconds: number(phase, "seconds"),
            executors: number(phase, "executors"),
            driver: number(phase, "driver"),
        });
        Self { phases: phases.collect(), digest: text(&value["digest"]) }
    }
}
