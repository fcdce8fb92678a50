//! A directory belongs to the application that registered it, and the layouts that Spark makes go on working.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tempfile::TempDir;

use super::fixture::{on, text};
use crate::disk::{
    BlockStore, DiskLimits, Proof, RegisterError, RegisterRefusal, RegistrationEffect, RegistryLimits, Roots,
};

const A: &str = "app-20261122052236-0000";
const B: &str = "app-20261122052236-0001";

/// Two roots, `r1` and `r2`.
struct Host {
    base: PathBuf,
    store: BlockStore,
    _temp: TempDir,
}

impl Host {
    fn new() -> Self {
        Self::with(RegistryLimits::default())
    }

    fn with(registry: RegistryLimits) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        ["r1", "r2"].iter().for_each(|name| fs::create_dir(base.join(name)).unwrap());
        let roots = Roots::open([base.join("r1"), base.join("r2")]).unwrap();
        let store = BlockStore::new(roots, DiskLimits { registry, ..DiskLimits::default() });
        Self { base, store, _temp: temp }
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", text(&self.base))
    }

    fn register_as(
        &self,
        proof: Proof,
        app: &str,
        executor: &str,
        dirs: &[&str],
    ) -> Result<RegistrationEffect, RegisterError> {
        let dirs: Vec<String> = dirs.iter().map(|below| self.path(below)).collect();
        let (app, executor) = (AppId::new(app), ExecutorId::new(executor));
        self.store.register(&on(), &app, &executor, &dirs, 64, "sort", proof)
    }

    fn register(&self, app: &str, dirs: &[&str]) -> Result<RegistrationEffect, RegisterError> {
        self.register_as(Proof::Proven, app, "1", dirs)
    }

    fn merge(&self, app: &str, dirs: &[&str]) -> Result<Vec<AppId>, RegisterRefusal> {
        let dirs = dirs.iter().map(|below| self.store.roots().accept(&on(), &self.path(below)).unwrap());
        self.store.executors().claim_merges(&AppId::new(app), &dirs.collect::<Vec<_>>())
    }

    fn forget(&self, app: &str) {
        self.store.forget(&AppId::new(app)).unwrap();
    }

    fn dirs(&self, app: &str) -> usize {
        let found = self.store.registration(&AppId::new(app), &ExecutorId::new("1"), Instant::now());
        found.map_or(0, |found| found.dirs().len())
    }

    fn taken(&self, below: &str, owner: &str) -> Result<RegistrationEffect, RegisterError> {
        Err(RegisterRefusal::Taken { dir: self.path(below), owner: AppId::new(owner) }.into())
    }
}

#[test]
fn nothing_at_above_or_below_a_directory_is_given_to_another_application() {
    let host = Host::new();
    host.register(A, &["r1/spark-1/blockmgr-1"]).unwrap();
    fs::create_dir_all(host.base.join("r1/spark-1/blockmgr-1")).unwrap();
    symlink(host.base.join("r1/spark-1"), host.base.join("r2/link")).unwrap();
    for at in [
        "r1/spark-1/blockmgr-1",
        "r1/spark-1/blockmgr-1/",
        "r1/./spark-1/../spark-1//blockmgr-1",
        "r2/link/blockmgr-1",
        "r1/spark-1",
        "r1",
        "r1/spark-1/blockmgr-1/0c",
        "r1/spark-1/blockmgr-1/0c/deep",
    ] {
        assert_eq!(host.register(B, &["r2/its-own", at]), host.taken(at, A), "{at}");
        assert_eq!(host.dirs(B), 0, "nothing of a refused registration is kept");
    }
    // The control: what merely begins with the same letters, and what lies beside it.
    let beside = ["r1/spark-1/blockmgr-10", "r1/spark-1/blockmgr-1-x", "r1/spark-1/blockmgr", "r1/spark-10"];
    assert_eq!(host.register(B, &beside), Ok(RegistrationEffect::First));
    // Its own directories are no obstacle to an application, however they lie to each other.
    assert_eq!(host.register(A, &["r1/spark-1/blockmgr-1/0c"]), Ok(RegistrationEffect::Further));
    assert_eq!(host.register(A, &["r1/spark-1/blockmgr-1"]), Ok(RegistrationEffect::Further));
}

#[test]
fn merge_directories_belong_to_their_application_too() {
    let host = Host::new();
    host.register(A, &["r1/a/blockmgr-1"]).unwrap();
    host.register(B, &["r1/b/blockmgr-1"]).unwrap();
    host.merge(A, &["r1/a/merge_manager_1"]).unwrap();
    let refused = host.merge(B, &["r1/a/merge_manager_1"]).unwrap_err();
    assert!(matches!(&refused, RegisterRefusal::Taken { owner, .. } if *owner == AppId::new(A)), "{refused}");
    let at = "r1/a/merge_manager_1";
    assert_eq!(host.register(B, &[at]), host.taken(at, A));
    // Nor is what lies beside them: the next attempt merges there.
    let beside = "r1/a/merge_manager_2";
    assert_eq!(host.register(B, &[beside]), host.taken(beside, A));
    // Where others have a place beside them, what another attempt had is free.
    host.register("app-3", &["r2/c/blockmgr-3"]).unwrap();
    host.merge(A, &["r2/c/merge_manager_1"]).unwrap();
    host.merge(A, &["r2/c/merge_manager_2"]).unwrap();
    host.merge(B, &["r2/c/merge_manager_1"]).unwrap();
    // A root is shared ground.
    host.merge(A, &["r1/merge_manager"]).unwrap();
    host.register(B, &["r1/blockmgr-b"]).unwrap();
    host.forget("app-3");
    host.forget(A);
    host.forget(B);
    assert_eq!(host.store.executors().bytes(), 0);
    let ended = RegisterRefusal::Ended { app: AppId::new(A) };
    assert_eq!(host.merge(A, &["r1/a/merge_manager_1"]), Err(ended));
}

#[test]
fn a_root_is_shared_ground() {
    let host = Host::new();
    host.register(A, &["r1"]).unwrap();
    // Otherwise one application would shut out all others.
    host.register(B, &["r1/spark-2/blockmgr-1"]).unwrap();
    assert_eq!(host.register("app-3", &["r1"]), host.taken("r1", A));
    // Its other executors are no worse off.
    host.register_as(Proof::Proven, A, "2", &["r1"]).unwrap();
    host.forget(A);
    assert_eq!(host.register("app-3", &["r1"]), host.taken("r1", B));
    host.register("app-3", &["r1/spark-3", "r2"]).unwrap();
}

#[test]
fn directories_are_free_once_their_application_has_ended_or_named_others() {
    let host = Host::new();
    host.register_as(Proof::Proven, A, "1", &["r1/x", "r2/x"]).unwrap();
    host.register_as(Proof::Proven, A, "2", &["r1/x", "r1/x", "r2/y"]).unwrap();
    host.register_as(Proof::Proven, A, "2", &["r1/z"]).unwrap();
    assert_eq!(host.register(B, &["r1/x"]), host.taken("r1/x", A), "executor 1 has it still");
    host.register(B, &["r2/y"]).unwrap();
    host.forget(A);
    host.register(B, &["r1/x", "r1/z"]).unwrap();
    host.forget(B);
    assert_eq!(host.store.executors().bytes(), 0);
}

#[test]
fn a_claim_with_proof_overrules_claims_without() {
    let host = Host::new();
    let unproven = |app, dirs: &[&str]| host.register_as(Proof::Unproven, app, "1", dirs);
    unproven("thief-1", &["r1/a/blockmgr-1", "r2/thief"]).unwrap();
    unproven("thief-2", &["r1/a/blockmgr-2/00"]).unwrap();
    unproven("bystander", &["r1/b"]).unwrap();
    let refused = unproven("thief-3", &["r1/a"]).unwrap_err().to_string();
    assert!(refused.contains("r1/a lies at, above or below"), "{refused}");
    host.register(A, &["r1/a/blockmgr-1", "r1/a/blockmgr-2"]).unwrap();
    // Whoever had named them is gone, with all that it had.
    assert_eq!([host.dirs("thief-1"), host.dirs("thief-2"), host.dirs("bystander")], [0, 0, 1]);
    assert_eq!(host.dirs(A), 2);
    let again = "r1/a/blockmgr-1";
    assert_eq!(unproven("thief-1", &[again]), host.taken(again, A));
    // The same for what it merges.
    unproven("thief-4", &["r1/a/merge_manager"]).unwrap();
    assert_eq!(host.merge(A, &["r1/a/merge_manager"]), Ok(vec![AppId::new("thief-4")]));
    assert_eq!(host.dirs("thief-4"), 0);
    // Proof does not overrule proof.
    assert_eq!(host.register(B, &[again]), host.taken(again, A));
}

#[test]
fn what_is_refused_for_its_size_drops_nobody() {
    let host = Host::with(RegistryLimits { executors: 1, ..RegistryLimits::default() });
    host.register_as(Proof::Unproven, "thief", "1", &["r1/a"]).unwrap();
    let full = RegisterRefusal::TooManyExecutors { limit: 1 };
    assert_eq!(host.register(A, &["r1/a"]), Err(full.into()));
    assert_eq!(host.dirs("thief"), 1);
}

/// An application, an executor of it, and its directories.
type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

/// All rows of a layout share the roots.
#[test]
fn layouts_of_spark_work_side_by_side() {
    let yarn_a = [
        "r1/usercache/u/appcache/application_17_0001/blockmgr-4f",
        "r2/usercache/u/appcache/application_17_0001/blockmgr-50",
    ];
    let yarn_a_2 = [
        "r1/usercache/u/appcache/application_17_0001/blockmgr-51",
        "r2/usercache/u/appcache/application_17_0001/blockmgr-52",
    ];
    let yarn_b = [
        "r1/usercache/u/appcache/application_17_0010/blockmgr-53",
        "r2/usercache/u/appcache/application_17_0010/blockmgr-54",
    ];
    let layouts: [(&str, &[Row<'_>]); 4] = [
        (
            // Worker: a directory for each executor beneath a directory of the Worker's for each application.
            "standalone",
            &[
                (A, "0", &["r1/spark-c5/executor-1d/blockmgr-97", "r2/spark-c6/executor-1e/blockmgr-98"]),
                (A, "1", &["r1/spark-c5/executor-2d/blockmgr-a7", "r2/spark-c6/executor-2e/blockmgr-a8"]),
                (B, "0", &["r1/spark-c5/executor-3d/blockmgr-b7", "r2/spark-d6/executor-3e/blockmgr-b8"]),
                (A, "2", &["r1/spark-c5/executor-4d/blockmgr-c7", "r2/spark-c6/executor-4e/blockmgr-c8"]),
            ],
        ),
        (
            "YARN",
            &[
                ("application_17_0001", "1", &yarn_a),
                ("application_17_0010", "1", &yarn_b),
                ("application_17_0001", "2", &yarn_a_2),
                // The second attempt of the application has executors of the same names.
                ("application_17_0001", "1", &["r1/usercache/u/appcache/application_17_0001/blockmgr-61"]),
            ],
        ),
        (
            "Kubernetes",
            &[
                ("spark-11aa", "1", &["r1/spark-7a/blockmgr-1"]),
                ("spark-22bb", "1", &["r1/spark-7b/blockmgr-2"]),
                ("spark-11aa", "2", &["r1/spark-7c/blockmgr-3"]),
            ],
        ),
        (
            "local-cluster",
            &[
                ("app-1", "0", &["r1/blockmgr-1"]),
                ("app-1", "1", &["r1/blockmgr-2"]),
                ("app-2", "0", &["r1/blockmgr-3"]),
                // A restart of the executor, or of the service: the same directories again.
                ("app-1", "0", &["r1/blockmgr-1"]),
                ("app-1", "2", &["r1/blockmgr-1"]),
            ],
        ),
    ];
    for (layout, executors) in layouts {
        for proof in [Proof::Proven, Proof::Unproven] {
            let host = Host::new();
            for (app, executor, dirs) in executors {
                let registered = host.register_as(proof, app, executor, dirs);
                assert!(registered.is_ok(), "{layout}: {app} {executor}: {registered:?}");
            }
            if layout == "YARN" {
                let place = |app| {
                    ["r1", "r2"].map(|root| format!("{root}/usercache/u/appcache/{app}/merge_manager_1"))
                };
                for app in ["application_17_0001", "application_17_0010"] {
                    host.merge(app, &place(app).each_ref().map(String::as_str)).unwrap();
                }
            }
        }
    }
}
