//! The cluster that all tests of this file's program take in turns.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Instant,
};

use sealed_shuffle_interop_tests::{
    kubernetes::{Application, Cluster, commands},
    machine::{Lack, Turn},
    modes::{Cipher, Mode},
};

/// The rows are judged by it; pages say what channels are.
pub(crate) const MODE: Mode = Mode::newest(Cipher::Gcm, 2);
pub(crate) const NEWEST: &str = "4.3.0";
pub(crate) const OLDER: &str = "3.5.9";

/// The cluster, and a turn at heavy work. It tells how long a test had it.
pub(crate) struct Held {
    pub(crate) cluster: MutexGuard<'static, Cluster>,
    _turns: Vec<Turn>,
    since: Instant,
}

impl Drop for Held {
    fn drop(&mut self) {
        println!("{} took {:?}", thread::current().name().unwrap_or("it"), self.since.elapsed());
    }
}

/// The cluster; nothing where it cannot be had here. Then the reason is told, and with `SEALED_SHUFFLE_KUBERNETES=required` it is
/// a failure.
pub(crate) fn cluster() -> Option<Held> {
    /// Never dropped: it ends with this process.
    static CLUSTER: OnceLock<Result<Mutex<Cluster>, Lack>> = OnceLock::new();
    let must = std::env::var_os("SEALED_SHUFFLE_KUBERNETES").is_some_and(|value| value == "required");
    let turns = Turn::wait_for_all();
    let releases: &[&str] = if must { &[NEWEST, OLDER] } else { &[NEWEST] };
    let begun = Instant::now();
    let started = CLUSTER.get_or_init(|| {
        let cluster = Cluster::start(releases, must).map(Mutex::new);
        println!("the cluster took {:?}", begun.elapsed());
        cluster
    });
    match started {
        Ok(cluster) => {
            let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
            Some(Held { cluster, _turns: turns, since: Instant::now() })
        }
        Err(reason) => {
            assert!(!must, "{reason}");
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// Follows the page to a DaemonSet that is ready and has a Secret; where that is there, it is brought back to what the page says.
pub(crate) fn daemon_set(cluster: &Cluster) {
    match cluster.try_kubectl(&["-n", "spark", "get", "secret", "sealed-shuffle"]) {
        Ok(_) => cluster.shell("kubectl apply -k deploy/kubernetes/daemonset"),
        Err(_) => cluster.shell(&commands("Install the DaemonSet")),
    };
    cluster.shell("kubectl -n spark rollout status daemonset/sealed-shuffle --timeout=120s");
}

/// Follows the page to a DaemonSet to which the cluster's applications are handed over.
pub(crate) fn hand_over(cluster: &Cluster) {
    cluster.shell(&commands("Install the DaemonSet with the hand-over"));
}

/// An application of the DaemonSet's, as the page has it for client mode.
pub(crate) fn application(cluster: &Cluster, version: &'static str) -> Application {
    let secret = cluster.shell("echo \"$PWD/secret\"");
    Application::new(version, "deploy/kubernetes/daemonset/application.conf")
        .with("spark.authenticate.secret.file", &secret)
}

/// Follows the page to what executors with a sidecar need, where no test has done so yet.
pub(crate) fn sidecar(cluster: &Cluster) {
    if cluster.try_kubectl(&["-n", "spark-sidecar", "get", "secret", "sealed-shuffle"]).is_err() {
        cluster.shell(&commands("Install what the sidecar needs"));
    }
}
