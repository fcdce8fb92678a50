//! A Spark application as a process, with a home and options of its own.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    home::private_home,
    keys::Keys,
    program::{Program, START_LIMIT, python, result},
    reference::class_archive,
};
use crate::{
    machine::{Lines, Process, Turn, files, logs},
    spark::Spark,
};

/// The driver, alive until dropped.
#[derive(Debug)]
pub(super) struct Driver {
    process: Process,
    local_dirs: PathBuf,
    _turn: Option<Turn>,
    dir: TempDir,
}

impl Driver {
    /// Starts `program` on a release. It is told `master`, `keys`, where its event log goes and what is in `more`; what
    /// executors write goes beneath `local_dirs`, which is a directory of its own unless it is given.
    pub(super) fn start(
        program: Program,
        release: &Spark,
        turn: Option<Turn>,
        (master, mut keys): (&str, Keys),
        local_dirs: Option<&Path>,
        more: &[(&str, Value)],
    ) -> Self {
        let dir = TempDir::with_prefix("interop-app-").expect("the temporary directory is writable");
        let home = private_home(release, dir.path());
        // Asked for under spark.testing.
        keys.set("spark.test.home", &home.to_string_lossy());
        // Where Spark's Workers write under spark.testing.
        keys.use_temporary(dir.path());
        if let Some(archive) = class_archive(release) {
            keys.map_classes(&archive);
        }
        let local_dirs = local_dirs.map_or_else(|| dir.path().join("local"), Path::to_owned);
        let mut command = python(program, (release, &home), (master, keys), dir.path(), more);
        command.env("SPARK_LOCAL_DIRS", &local_dirs);
        let name = format!("{} on Spark {}", program.file, release.version());
        let process = Process::start(&name, &mut command);
        Self { process, local_dirs, _turn: turn, dir }
    }

    /// What it has printed.
    pub(super) fn output(&self) -> &Lines {
        self.process.out()
    }

    /// Where executors write.
    pub(super) fn local_dirs(&self) -> &Path {
        &self.local_dirs
    }

    /// Waits for a line that begins with `word`, and answers the rest of it.
    pub(super) fn wait_for(&mut self, limit: Duration, word: &str) -> String {
        self.process.wait_for(limit, |line| line.strip_prefix(word).map(str::to_owned))
    }

    /// Waits for the line that says that everything is there.
    pub(super) fn ready(&mut self) -> Value {
        serde_json::from_str(&self.wait_for(START_LIMIT, "READY ")).expect("the line is JSON")
    }

    /// Writes a line to its standard input.
    pub(super) fn say(&mut self, line: &str) {
        let said = self.process.input().write_all(format!("{line}\n").as_bytes());
        said.unwrap_or_else(|e| panic!("the application takes no lines: {e}\n{}", self.process.tail()));
    }

    /// Closes its standard input.
    pub(super) fn close_input(&mut self) {
        // The logs of executors go away with them.
        self.keep_logs();
        drop(self.process.take_input());
    }

    /// Waits for a good end, and answers the rest of the line that begins with RESULT.
    pub(super) fn result(&mut self, limit: Duration) -> Value {
        result(&mut self.process, limit)
    }

    /// How many lines of what the executors have logged by now have `words` in them.
    #[track_caller]
    pub(super) fn logged(&self, words: &str) -> usize {
        let logs = files(self.dir.path()).into_iter().filter(|path| path.ends_with("stderr"));
        let logs: Vec<String> = logs.filter_map(|path| fs::read_to_string(path).ok()).collect();
        assert!(
            !logs.concat().is_empty(),
            "the executors have logged nothing beneath {}",
            self.dir.path().display()
        );
        logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(words)).count()
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
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.keep_logs();
    }
}
