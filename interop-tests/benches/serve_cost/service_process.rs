//! The two services, each a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealed_shuffle_interop_tests::machine::Process;
use sealed_shuffle_interop_tests::modes::Service;
use sealed_shuffle_interop_tests::ours::{Server, binary};
use sealed_shuffle_interop_tests::spark::Spark;
use tempfile::TempDir;

use crate::case::Case;
use crate::load::Shuffle;

/// What our server warns of in modes that it is told to serve though they are not the best.
const WARNINGS: [&str; 4] = [
    "reads every registered block",
    "an application is below the target",
    // Where it merges: of the key under which it seals.
    "made the key file",
    "on the same file system",
];

/// How services are before a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// Started anew for every run, nothing warmed up: what a JVM costs that has just been started.
    Cold,
    /// As the runs before have left them, after one that does not count.
    Warm,
}

impl Start {
    /// For readers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "just started",
            Self::Warm => "warm",
        }
    }
}

/// A service that is being measured.
pub(crate) enum ServiceProcess {
    /// Its keys lie in a directory of their own, where it merges.
    Ours {
        server: Server,
        _state: Option<TempDir>,
    },
    Spark {
        process: Process,
        address: SocketAddr,
    },
}

impl ServiceProcess {
    /// Our server; `more` wins over the case's own keys.
    pub(crate) fn ours(shuffle: &Shuffle, case: &Case, more: &[(String, String)]) -> Self {
        let mut conf = case.service_conf(Service::Ours);
        conf.extend(more.iter().map(|(key, value)| (key.as_str(), value.clone())));
        let state = case.work.merges().then(|| {
            let state = TempDir::with_prefix("serve-cost-state-");
            state.expect("the temporary directory is writable")
        });
        let dir = state.as_ref().map(|state| state.path().display().to_string());
        conf.extend(dir.map(|dir| ("spark.sealed.state.dir", dir)));
        Self::Ours { server: Server::start(shuffle.root(), case.secret(), &conf), _state: state }
    }

    /// Spark's own service with the heap that Spark gives its daemons (`SPARK_DAEMON_MEMORY`, 1g).
    pub(crate) fn spark(spark: &Spark, shuffle: &Shuffle, case: &Case) -> Self {
        let mut command: Command = spark.java();
        command.arg("-Xmx1g").arg("SparkShuffleService");
        command.arg(format!("spark.local.dir={}", shuffle.root().display()));
        command.args(case.service_conf(Service::Spark).iter().map(|(key, value)| format!("{key}={value}")));
        command.args(case.secret().map(|secret| format!("spark.authenticate.secret={secret}")));
        let mut process = Process::start("Spark's service", &mut command);
        let address = process.wait_for(Duration::from_secs(60), |line| {
            line.strip_prefix("listening on ").and_then(|address| address.parse().ok())
        });
        Self::Spark { process, address }
    }

    /// Ends it; ours must not have complained.
    pub(crate) fn stop(self) {
        if let Self::Ours { server, .. } = self {
            server.finish(&WARNINGS);
        }
    }

    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Ours { server, .. } => server.id(),
            Self::Spark { process, .. } => process.id(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Ours { server, .. } => server.address().port(),
            Self::Spark { address, .. } => address.port(),
        }
    }
}

/// Builds our server in the release profile, unless `SEALED_SHUFFLE_BIN` names one; says which it is.
pub(crate) fn build_ours() -> PathBuf {
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
