//! Starting a Python program that drives a Spark application.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{application::loopback, process::Process, server::clean_environment, spark::Spark};

/// A program of `python/`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// Its file.
    pub(crate) file: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
}

impl Program {
    /// Starts it beside `home`, its `SPARK_HOME`, on a release, with `options` as its one argument; what executors write
    /// goes beneath `local_dirs`. `name` is for people.
    pub(crate) fn start(
        self,
        name: &str,
        release: &Spark,
        home: &Path,
        options: &Value,
        local_dirs: &Path,
    ) -> Process {
        let dir = home.parent().expect("a home lies in a directory of its own");
        let (program, arguments) = (dir.join(self.file), dir.join("options.json"));
        fs::write(&program, self.text)
            .and_then(|()| fs::write(&arguments, options.to_string()))
            .expect("the directory is fresh");
        let mut command = Command::new("python3");
        command.arg(&program).arg(&arguments).current_dir(dir);
        clean_environment(&mut command);
        loopback(&mut command);
        command
            .env("SPARK_HOME", home)
            .env("SPARK_CONF_DIR", dir.join("no-conf"))
            .env("SPARK_LOCAL_DIRS", local_dirs)
            .env("PYTHONPATH", release.python_path());
        Process::start(name, &mut command)
    }
}
