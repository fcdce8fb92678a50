//! A server that runs already, whose ever it is, asked by Spark's client in every mode that this Spark has.
//!
//! Where a directory is named that the server may read and this program may write, an executor is registered beneath it,
//! and blocks are fetched and compared; else a block of an executor that is not there is asked for twice, and two answers
//! are what counts. A server serves the modes that it was configured for, so that a refusal is a finding and no failure.
//! Failures are: other bytes, a wrong secret that is taken, silence.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;

use super::{case::WRONG_SECRET, verdict::Verdict};
use crate::{
    modes::{Abilities, Mode, matrix::cells},
    oracle::{Digest, Executor, content},
    spark::{Connection, Credentials, Outcome, Peer, Stream},
};

const SIZES: [usize; 3] = [0, 3000, 1_300_000];
/// Longer than the harness waits for an answer, so that silence is not taken for an end of the connection.
const DEADLINE: (&str, &str) = ("spark.shuffle.io.connectionTimeout", "60s");
/// What both services say of an executor that they do not know (`ExternalShuffleBlockResolver`, Spark 2.4 to 4.3).
const UNKNOWN_EXECUTOR: &str = "Executor is not registered";
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
    /// Modes that are left out for want of a secret or of a trust store.
    pub fn left_out(&self, version: &'static str, abilities: Abilities) -> Vec<Mode> {
        distinct(version, abilities).filter(|mode| mode.spark_serves() && !self.can_be_asked(mode)).collect()
    }

    /// Asks in each mode whose name holds `part`.
    pub fn rows(
        &self,
        peer: &Arc<Peer>,
        version: &'static str,
        abilities: Abilities,
        part: &str,
        mut tell: impl FnMut(&ForeignRow),
    ) -> Vec<ForeignRow> {
        distinct(version, abilities)
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
        let dir = TempDir::with_prefix_in(format!("{name}-"), root).expect("the directory was tried");
        let executor = Executor::beneath(dir.path(), &name);
        let blocks: Vec<Vec<u8>> = (0..).zip(SIZES).map(|(seed, size)| content(seed, size)).collect();
        executor.write_map(0, 3, &blocks);
        match connection.register(&self.app, EXECUTOR, &executor) {
            Outcome::Answer(_) => {}
            Outcome::Failed(failure) => return Err(failure.reason()),
            Outcome::Silence => panic!("no answer to a registration"),
        }
        let names: Vec<String> = (0..SIZES.len()).map(|reduce| format!("shuffle_0_3_{reduce}")).collect();
        let stream = Stream::of(heard_again(connection.rpc(opening(&self.app, &names))));
        for (chunk, bytes) in connection.chunks(&stream, 0..blocks.len() as i64).into_iter().zip(&blocks) {
            assert_eq!(chunk.digest(), Digest::of(bytes), "other bytes than were written");
        }
        Ok(())
    }
}

/// Each mode once: in which form this side's key lies makes no difference here.
fn distinct(version: &'static str, abilities: Abilities) -> impl Iterator<Item = Mode> {
    let mut seen = HashSet::new();
    cells(version, abilities).into_iter().filter(move |mode| seen.insert((mode.auth, mode.tls.is_some())))
}

/// Without a directory: it is said of an executor that it is not there, and said again on the same connection, since an
/// AES-GCM that loses messages answers once.
fn answers(connection: &Connection, app: &str) -> Result<(), String> {
    let request = || connection.rpc(opening(app, &["shuffle_2147483647_0_0".to_owned()]));
    match request() {
        Outcome::Answer(_) => {}
        Outcome::Failed(failure) if failure.message.contains(UNKNOWN_EXECUTOR) => {}
        Outcome::Failed(failure) => return Err(failure.reason()),
        Outcome::Silence => panic!("no answer"),
    }
    heard_again(request());
    Ok(())
}

/// The outcome of what was asked after a first answer on the same connection; a panic where nothing came.
fn heard_again(outcome: Outcome) -> Outcome {
    let is_lost = match &outcome {
        Outcome::Answer(_) => false,
        Outcome::Failed(failure) => failure.is_disconnect(),
        Outcome::Silence => true,
    };
    assert!(!is_lost, "it answers what is asked first on a connection, and nothing after it: {outcome:?}");
    outcome
}

fn opening(app: &str, names: &[String]) -> serde_json::Value {
    json!({"type": "OpenBlocks", "app": app, "exec": EXECUTOR, "blocks": names})
}
