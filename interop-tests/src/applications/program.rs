//! A program of `python/`, and the command that runs it.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{home::loopback, keys::Keys};
use crate::{machine::Process, spark::Spark};

/// Python and three JVMs start slowly on a busy machine.
pub(super) const START_LIMIT: Duration = Duration::from_secs(240);
/// What all programs share on the side of the driver.
const DRIVER: (&str, &str) = ("driver.py", include_str!("../../python/driver.py"));

/// A program of `python/`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// Its file.
    pub(super) file: &'static str,
    /// What is in it.
    pub(super) text: &'static str,
}

impl Program {
    /// All that it consists of.
    pub(super) fn texts(self) -> [&'static str; 2] {
        [DRIVER.1, self.text]
    }
}

/// Rows of the data that the application of most tests generates; each carries a canary.
pub const ROWS: u64 = 40_000;

/// The whole application that most tests run.
pub(super) const APPLICATION: Program =
    Program { file: "application.py", text: include_str!("../../python/application.py") };

/// Waits for a good end of a program, and answers the rest of the line that begins with RESULT.
pub(super) fn result(process: &mut Process, limit: Duration) -> Value {
    let status = process.wait(limit);
    assert!(status.success(), "the application failed: {status}\n{}", process.tail());
    let result = |line: String| line.strip_prefix("RESULT ").map(str::to_owned);
    let line = process.out().all().into_iter().find_map(result);
    let line = line.unwrap_or_else(|| panic!("the application printed no result\n{}", process.tail()));
    serde_json::from_str(&line).expect("the result is JSON")
}

/// `python3` with a program and its options in `dir`, which is fresh.
pub(super) fn python(
    program: Program,
    (release, home): (&Spark, &Path),
    (master, keys): (&str, Keys),
    dir: &Path,
    more: &[(&str, Value)],
) -> Command {
    let events = dir.join("events");
    let mut options = json!({"master": master, "conf": keys.into_json(), "event_log": events});
    for (name, value) in more {
        options[name] = value.clone();
    }
    let [path, arguments] = [program.file, "options.json"].map(|name| dir.join(name));
    fs::create_dir(&events)
        .and_then(|()| fs::write(&path, program.text))
        .and_then(|()| fs::write(dir.join(DRIVER.0), DRIVER.1))
        .and_then(|()| fs::write(&arguments, options.to_string()))
        .expect("the directory is fresh");
    let mut command = Command::new("python3");
    command.arg(&path).arg(&arguments).current_dir(dir);
    loopback(&mut command);
    command
        .env("SPARK_HOME", home)
        .env("SPARK_CONF_DIR", dir.join("no-conf"))
        .env("PYTHONPATH", release.python_path());
    command
}
