//! A running application whose files lie on disk (`python/at_rest.py`), with or without `spark.io.encryption`.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Output};

use serde_json::Value;

use super::{
    driver::Driver,
    keys::{Keys, MASTER},
    program::Program,
};
use crate::{
    fixture::{Fixture, SECRET},
    machine::{Turn, files_named},
    ours::command_with_key,
    spark::Spark,
};

const PROGRAM: Program = Program { file: "at_rest.py", text: include_str!("../../python/at_rest.py") };

/// The application, alive until dropped; its files are beneath the root of its shuffle service.
#[derive(Debug)]
pub struct ApplicationAtRest {
    /// The key in hexadecimal, where encryption is on.
    pub key: Option<String>,
    /// Names of cached blocks on disk.
    pub cached: Vec<String>,
    /// What it computed.
    pub result: String,
    driver: Driver,
}

impl ApplicationAtRest {
    /// Starts it on `local-cluster` with two executors, through the service of `fixture`, and waits until it has
    /// computed.
    pub fn start(fixture: &Fixture, conf: &[(&str, &str)]) -> Self {
        let release = Spark::release(fixture.mode.version);
        let mut keys = Keys::new();
        keys.speak(&fixture.mode, SECRET);
        keys.use_service(fixture.address().port());
        keys.see_classes(&release);
        keys.set_all([
            // What is computed is to stay: neither the collector of unused shuffles nor the end of a query removes it.
            ("spark.cleaner.referenceTracking", "false"),
            ("spark.sql.classic.shuffleDependency.fileCleanup.enabled", "false"),
            ("spark.sql.adaptive.enabled", "false"),
            ("spark.sql.codegen.wholeStage", "false"),
        ]);
        keys.set_all(conf.iter().copied());
        let mut driver =
            Driver::start(PROGRAM, &release, Some(Turn::wait()), (MASTER, keys), Some(fixture.root()), &[]);
        let ready = driver.ready();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            key: text(&ready["key"]),
            cached: ready["cached"].as_array().into_iter().flatten().filter_map(text).collect(),
            result: text(&ready["result"]).expect("a result"),
            driver,
        }
    }

    /// Files of its block managers whose names `wanted` accepts, by path.
    pub fn files(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
        let read = |path: PathBuf| {
            let content = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, content)
        };
        files_named(self.driver.local_dirs(), wanted).into_iter().map(read).collect()
    }

    /// `sealed-shuffle` with the key in the environment.
    pub fn command(&self, arguments: &[&str]) -> Output {
        command_with_key(self.key.as_deref(), arguments)
    }
}
