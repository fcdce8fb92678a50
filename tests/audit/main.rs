//! The audit trail of a server that runs: who did what, whether it is whole, and what it costs.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

#[path = "../running/mod.rs"]
mod running;
#[path = "../serving/mod.rs"]
mod serving;

mod beside;
mod cost;
mod deeds;
mod disk;
#[cfg(feature = "aws-kms")]
mod keys;
mod report;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use sealed_shuffle_protocol::cipher::SessionMode;
use serde_json::Value;
use tempfile::TempDir;

use self::running::{Peer, eventually};
use self::serving::{Serving, sealed_shuffle, serve};

const SECRET: &str = "the-secret-of-these-tests";

/// A node with a trail that lies neither in the state directory nor beneath a root.
struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/blockmgr-1")).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn trail(&self) -> PathBuf {
        self.at("elsewhere/audit")
    }

    fn properties(&self, more: &str) -> PathBuf {
        let text = format!(
            "spark.local.dir {}\nspark.authenticate.secret {SECRET}\nspark.sealed.audit.dir {}\n\
             spark.shuffle.push.server.mergedShuffleFileManagerImpl RemoteBlockPushResolver\n{more}\n",
            self.at("root").display(),
            self.trail().display()
        );
        fs::write(self.at("properties"), text).unwrap();
        self.at("properties")
    }

    fn start(&self, more: &str) -> Serving {
        let properties = self.properties(more);
        let mut command = serve(self.dir.path());
        command.arg("--properties-file").arg(properties);
        Serving::start(command, &self.at("log"))
    }

    /// A command that finds the server by its socket.
    fn tell(&self, arguments: &[&str]) -> Output {
        sealed_shuffle().args(arguments).arg("--socket").arg(self.at("state/admin.sock")).output().unwrap()
    }

    /// A command about the trail, with the configuration of the server.
    fn audit(&self, arguments: &[&str]) -> Output {
        let mut command = sealed_shuffle();
        command.arg("audit").args(arguments).env("STATE_DIRECTORY", self.at("state"));
        command.arg("--properties-file").arg(self.at("properties")).output().unwrap()
    }

    /// The records, as `audit show` has them.
    fn records(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.audit(&[&["show", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["version"], 1);
        shown["records"].as_array().unwrap().clone()
    }

    /// Waits for a record that `is` it.
    #[track_caller]
    fn record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(what, || {
            found =
                self.trail().exists().then(|| self.records(&[])).into_iter().flatten().find(|one| is(one));
            found.is_some()
        });
        found.unwrap()
    }

    /// The exit code of `audit verify`, and all that it says.
    fn verify(&self) -> (Option<i32>, String) {
        let output = self.audit(&["verify"]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

fn connect(serving: &Serving, app: &str, secret: &str, mode: SessionMode) -> Result<Peer, String> {
    let mut peer = Peer::connect(serving.address);
    peer.handshake(app, secret, mode).map(|()| peer)
}

/// The files of a trail, in order.
fn files(trail: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(trail).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = names.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    files.sort();
    files
}
