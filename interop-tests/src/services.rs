//! Either service as a process of its own, for what is measured of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    machine::Process,
    ours::{Server, binary},
    spark::Spark,
};

/// What our server warns of in modes that it is told to serve though they are not the best.
const WARNINGS: [&str; 4] = [
    "reads every registered block",
    "an application is below the target",
    // Where it merges: of the key under which it seals.
    "made the key file",
    "on the same file system",
];

/// A service that is being measured.
#[derive(Debug)]
pub enum ServiceProcess {
    /// Our server, with the directory of its keys where it has one of its own.
    Ours {
        /// It.
        server: Server,
        /// Gone with it.
        state: Option<TempDir>,
    },
    /// Spark's own service.
    Spark {
        /// Its JVM.
        process: Process,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl ServiceProcess {
    /// Our server for executors beneath `root`, with its keys in `state`.
    pub fn ours(
        root: &Path,
        secret: Option<&str>,
        mut conf: Vec<(&str, String)>,
        state: Option<TempDir>,
    ) -> Self {
        let dir = state.as_ref().map(|state| state.path().display().to_string());
        conf.extend(dir.map(|dir| ("spark.sealed.state.dir", dir)));
        Self::Ours { server: Server::start(root, secret, &conf), state }
    }

    /// Spark's own service with the heap that Spark gives its daemons (`SPARK_DAEMON_MEMORY`, 1g).
    pub fn spark(spark: &Spark, root: &Path, secret: Option<&str>, conf: &[(&str, String)]) -> Self {
        let mut command: Command = spark.java();
        command.arg("-Xmx1g").arg("SparkShuffleService");
        command.arg(format!("spark.local.dir={}", root.display()));
        command.args(conf.iter().map(|(key, value)| format!("{key}={value}")));
        command.args(secret.map(|secret| format!("spark.authenticate.secret={secret}")));
        let mut process = Process::start("Spark's service", &mut command);
        let address = process.wait_for(Duration::from_secs(60), |line| {
            line.strip_prefix("listening on ").and_then(|address| address.parse().ok())
        });
        Self::Spark { process, address }
    }

    /// Ends it; ours must not have complained.
    pub fn stop(self) {
        if let Self::Ours { server, state } = self {
            server.finish(&WARNINGS);
            drop(state);
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        match self {
            Self::Ours { server, .. } => server.id(),
            Self::Spark { process, .. } => process.id(),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ours { server, .. } => server.address().port(),
            Self::Spark { address, .. } => address.port(),
        }
    }
}

/// Builds our server in the release profile, unless `SEALED_SHUFFLE_BIN` names one; says which it is.
pub fn build_ours() -> PathBuf {
    if std::env::var_os("SEALED_SHUFFLE_BIN").is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let build = Command::new(cargo)
            .args(["build", "--release", "-p", "sealed-shuffle", "--bin", "sealed-shuffle"])
            .current_dir(workspace)
            .status();
        assert!(build.as_ref().is_ok_and(|status| status.success()), "cannot build our server: {build:?}");
    }
    binary()
}
