//! A server that runs already, whose ever it is, asked by Spark's client in every mode that this Spark has.
//!
//! Where a directory is named that the server may read and this program may write, an executor is registered beneath it,
//! and blocks are fetched and compared; else one block is asked for that is not there, and an answer that says so is what
//! counts. A server serves the modes that it was configured for, so that a refusal is a finding and no failure. Failures
//! are: other bytes, a wrong secret that is taken, silence.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{case::WRONG_SECRET, verdict::Verdict};
use crate::{
    modes::{Abilities, Mode, matrix::cells},
    oracle::{Digest, Executor, content},
    spark::{Connection, Credentials, Outcome, Peer},
};

const SIZES: [usize; 3] = [0, 3000, 1_300_000];
/// How long an answer may take.
const DEADLINE: (&str, &str) = ("spark.shuffle.io.connectionTimeout", "10s");
/// The executor that is registered.
const EXECUTOR: &str = "interop";

/// A server and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Where it listens.
    pub address: SocketAddr,
    /// The application to be, which the server must know.
    pub app: String,
    /// Its secret; modes that prove something are left out without one.
    pub secret: Option<String>,
    /// Further keys of Spark's transport: `spark.ssl.rpc.trustStore` and what goes with it. Modes within TLS are left out
    /// without that one.
    pub conf: Vec<(String, String)>,
    /// A directory that the server accepts executors beneath, on this machine.
    pub root: Option<PathBuf>,
}

/// What came of one mode.
#[derive(Clone, Debug)]
pub struct ForeignRow {
    /// The mode.
    pub mode: Mode,
    /// `Refused`, where the server does not speak it.
    pub verdict: Verdict,
    /// What it said to that.
    pub reason: String,
}

impl Foreign {
    /// Asks in each mode whose name holds `part`.
    pub fn rows(
        &self,
        peer: &Arc<Peer>,
        version: &'static str,
        abilities: Abilities,
        part: &str,
        mut tell: impl FnMut(&ForeignRow),
    ) -> Vec<ForeignRow> {
        let mut asked = HashSet::new();
        // In which form this side's key lies makes no difference here.
        let modes = cells(version, abilities)
            .into_iter()
            .filter(|mode| asked.insert((mode.auth, mode.tls.is_some())));
        modes
            .filter(|mode| mode.to_string().contains(part) && self.can_be_asked(mode))
            .map(|mode| {
                let row = self.ask(peer, mode);
                tell(&row);
                row
            })
            .collect()
    }

    /// SASL has one cipher that clients take.
    fn can_be_asked(&self, mode: &Mode) -> bool {
        let trusts = self.conf.iter().any(|(key, _)| key == "spark.ssl.rpc.trustStore");
        mode.spark_serves()
            && (!mode.authenticates() || self.secret.is_some())
            && (mode.tls.is_none() || trusts)
    }

    fn ask(&self, peer: &Arc<Peer>, mode: Mode) -> ForeignRow {
        let mut reason = String::new();
        let verdict = Verdict::of(|| match self.is_served(peer, &mode) {
            Ok(()) => Verdict::Passed,
            Err(text) => {
                reason = text;
                Verdict::Refused
            }
        });
        if let Verdict::Failed(text) = &verdict {
            reason.clone_from(text);
        }
        ForeignRow { mode, verdict, reason }
    }

    /// Whether the server speaks the mode; how it refuses where it does not. Panics with what is wrong.
    fn is_served(&self, peer: &Arc<Peer>, mode: &Mode) -> Result<(), String> {
        let credentials = |secret: &str| {
            let mut credentials = Credentials::new(mode, &self.app, secret).with(DEADLINE.0, DEADLINE.1);
            for (key, value) in &self.conf {
                credentials = credentials.with(key, value);
            }
            credentials
        };
        let secret = self.secret.as_deref().unwrap_or_default();
        let connection =
            Connection::open(peer, self.address, &credentials(secret)).map_err(|e| e.reason())?;
        match &self.root {
            Some(root) => self.serves_blocks(&connection, root)?,
            None => answers(&connection, &self.app)?,
        }
        if mode.authenticates() {
            let wrong = Connection::open(peer, self.address, &credentials(WRONG_SECRET));
            assert!(wrong.is_err(), "a wrong secret is taken");
        }
        Ok(())
    }

    fn serves_blocks(&self, connection: &Connection, root: &Path) -> Result<(), String> {
        let name = format!("{EXECUTOR}-{}", std::process::id());
        let executor = Executor::beneath(root, &name);
        let _cleared = Cleared(&executor);
        let blocks: Vec<Vec<u8>> = (0..).zip(SIZES).map(|(seed, size)| content(seed, size)).collect();
        executor.write_map(0, 3, &blocks);
        if let Outcome::Failed(failure) = connection.register(&self.app, EXECUTOR, &executor) {
            return Err(failure.reason());
        }
        let names: Vec<String> = (0..SIZES.len()).map(|reduce| format!("shuffle_0_3_{reduce}")).collect();
        let opened = connection.rpc(opening(&self.app, &names));
        let stream = match opened {
            Outcome::Failed(failure) => return Err(failure.reason()),
            other => connection.stream_of(other),
        };
        for (chunk, bytes) in connection.chunks(&stream, 0..blocks.len() as i64).into_iter().zip(&blocks) {
            assert_eq!(chunk.digest(), Digest::of(bytes), "other bytes than were written");
        }
        Ok(())
    }
}

/// Without a directory: a block that is not there is answered as such, and nothing of it is silence.
fn answers(connection: &Connection, app: &str) -> Result<(), String> {
    match connection.rpc(opening(app, &["shuffle_2147483647_0_0".to_owned()])) {
        Outcome::Answer(_) => Ok(()),
        Outcome::Failed(failure) if failure.is_disconnect() => Err(failure.reason()),
        Outcome::Failed(_) => Ok(()),
        Outcome::Silence => panic!("no answer"),
    }
}

fn opening(app: &str, names: &[String]) -> serde_json::Value {
    json!({"type": "OpenBlocks", "app": app, "exec": EXECUTOR, "blocks": names})
}

/// Removes the directories of an executor.
struct Cleared<'a>(&'a Executor);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        for dir in self.0.dirs.iter().filter_map(|dir| dir.parent()) {
            // What cannot be removed stays for the operator, who reads its name in the server's log.
            fs::remove_dir_all(dir).ok();
        }
    }
}
