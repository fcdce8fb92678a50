//! Our binary as a client: what an operator types, so that every mode is reached through its configuration keys.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use super::server::binary;
use crate::{
    machine::clean_environment,
    modes::Mode,
    oracle::{Digest, Executor},
};

/// `sealed-shuffle register` and `fetch` for one application at one server.
#[derive(Clone, Debug)]
pub struct OurCommand {
    server: SocketAddr,
    app: String,
    secret: Option<String>,
    conf: Vec<(&'static str, String)>,
}

/// How the command ended where it failed.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub text: String,
}

impl OurCommand {
    /// A client that speaks as `mode` says.
    pub fn new(mode: &Mode, server: SocketAddr, app: &str, secret: &str) -> Self {
        Self {
            server,
            app: app.to_owned(),
            secret: mode.authenticates().then(|| secret.to_owned()),
            conf: mode.our_client_conf(),
        }
    }

    /// The same with one more key.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.conf.push((key, value.to_owned()));
        self
    }

    /// Registers an executor.
    pub fn register(&self, exec: &str, executor: &Executor) -> Result<(), Refusal> {
        let dirs = executor.dir_names().into_iter().flat_map(|dir| ["--local-dir".to_owned(), dir]);
        let sub_dirs = ["--sub-dirs".to_owned(), executor.sub_dirs.to_string()];
        self.run("register", exec, sub_dirs.into_iter().chain(dirs)).map(drop)
    }

    /// Fetches blocks to files and reads those.
    pub fn fetch(&self, exec: &str, blocks: &[String]) -> Result<BTreeMap<String, Digest>, Refusal> {
        let out = TempDir::with_prefix("interop-out-").expect("the temporary directory is writable");
        let dir = out.path().to_str().expect("temporary paths are text").to_owned();
        self.run("fetch", exec, ["--out".to_owned(), dir].into_iter().chain(blocks.iter().cloned()))?;
        let read = |block: &String| {
            let path = out.path().join(block);
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
            (block.clone(), Digest::of(&bytes))
        };
        Ok(blocks.iter().map(read).collect())
    }

    fn run(&self, verb: &str, exec: &str, more: impl IntoIterator<Item = String>) -> Result<Output, Refusal> {
        let mut command = Command::new(binary());
        clean_environment(&mut command);
        command.arg(verb).args(["--server", &self.server.to_string(), "--app-id", &self.app]);
        command.args(["--executor-id", exec]);
        for (key, value) in &self.conf {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        if let Some(secret) = &self.secret {
            command.env("_SPARK_AUTH_SECRET", secret);
        }
        command.args(more);
        let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        if output.status.success() {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Refusal { code: output.status.code(), text })
    }
}

/// `sealed-shuffle` with a key in the environment, and nothing else of this process's.
pub fn command_with_key(key: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    clean_environment(&mut command);
    if let Some(key) = key {
        command.env("SPARK_IO_ENCRYPTION_KEY", key);
    }
    command.args(arguments).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

/// What `sealed-shuffle probe --json` reports of a server, and its exit code. Of the mode it is told the secret and
/// whom to trust in TLS, and nothing else.
pub fn probe(mode: &Mode, server: SocketAddr, app: &str, secret: &str, more: &[&str]) -> (Value, i32) {
    let mut command = Command::new(binary());
    clean_environment(&mut command);
    // Wrong ciphers are met with silence for as long.
    command.args(["probe", &server.to_string(), "--app-id", app, "--json", "--timeout", "2"]);
    for (key, value) in mode.tls.iter().flat_map(|stores| stores.our_client_conf()) {
        command.arg("--conf").arg(format!("{key}={value}"));
    }
    if mode.authenticates() {
        command.env("_SPARK_AUTH_SECRET", secret);
    }
    let output = command.args(more).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("no report: {e}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().expect("nobody kills it"))
}
