//! Directories of ended applications are to be cleared until a registration names them again.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tempfile::TempDir;

use super::fixture::{on, text};
use crate::disk::{
    BlockStore, DiskLimits, FindingReason, Leaver, LeftBy, LocalDir, Proof, RegisterError, RegisterRefusal,
    RegistryLimits, Roots,
};

const A: &str = "app-1";
const B: &str = "app-2";
const ONE: &str = "spark-1/blockmgr-7b3a0c56-3f1c-4a42-9d6e-0123456789ab";
const TWO: &str = "spark-1/blockmgr-11111111-2222-3333-4444-555555555555";
const IDLE: Duration = Duration::from_secs(60);

struct Host {
    root: PathBuf,
    store: BlockStore,
    _temp: TempDir,
}

impl Host {
    fn new() -> Self {
        Self::clearing(Some(Proof::Unproven))
    }

    fn clearing(clears: Option<Proof>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let registry = RegistryLimits { clears, idle_ttl: Some(IDLE), ..RegistryLimits::default() };
        let roots = Roots::open([&root]).unwrap();
        let store = BlockStore::new(roots, DiskLimits { registry, ..DiskLimits::default() });
        Self { root, store, _temp: temp }
    }

    fn dir(&self, below: &str) -> LocalDir {
        let path = self.root.join(below);
        self.store.roots().accept(&on(), text(&path).trim_end_matches('/')).unwrap()
    }

    fn register(&self, app: &str, proof: Proof, dirs: &[&str]) -> Result<(), RegisterError> {
        let dirs: Vec<_> = dirs.iter().map(|dir| self.dir(dir).text().to_owned()).collect();
        let (app, executor) = (AppId::new(app), ExecutorId::new("1"));
        self.store.register(&on(), &app, &executor, &dirs, 64, "sort", proof).map(drop)
    }

    fn end(&self, app: &str) {
        self.store.forget(&AppId::new(app)).unwrap();
    }

    fn leaving(&self) -> Vec<String> {
        let all = self.store.executors().leaving(0, None, 100);
        let root = self.root.to_str().unwrap();
        all.iter().map(|leaver| leaver.dir.shown().strip_prefix(root).unwrap()[1..].to_owned()).collect()
    }
}

#[test]
fn block_directories_of_an_ended_application_are_to_be_cleared_and_no_others() {
    let host = Host::new();
    host.register(A, Proof::Proven, &[ONE, "other", "", "spark-1/executor"]).unwrap();
    host.register(B, Proof::Proven, &[TWO]).unwrap();
    let merges = [host.dir("e/merge_manager_1")];
    host.store.executors().claim_merges(&AppId::new(A), &merges).unwrap();
    assert!(host.leaving().is_empty());
    host.end(A);
    // Neither what has another name, nor the root, nor the directory that merges lie in.
    assert_eq!(host.leaving(), ["e/merge_manager_1", ONE]);
    assert_eq!(host.store.executors().leaving_count().1, 2);
}

#[test]
fn nothing_is_to_be_cleared_unless_it_is_asked_for_and_proven() {
    for (clears, proof, cleared) in [
        (None, Proof::Proven, false),
        (Some(Proof::Proven), Proof::Proven, true),
        (Some(Proof::Proven), Proof::Unproven, false),
        (Some(Proof::Unproven), Proof::Unproven, true),
        (Some(Proof::Unproven), Proof::Proven, true),
    ] {
        let host = Host::clearing(clears);
        host.register(A, proof, &[ONE]).unwrap();
        host.end(A);
        assert_eq!(host.leaving().len(), usize::from(cleared), "{clears:?} {proof:?}");
    }
}

#[test]
fn what_is_registered_again_is_not_cleared() {
    for again in [ONE, "spark-1", &format!("{ONE}/00")] {
        for app in [A, B] {
            let host = Host::new();
            host.register(A, Proof::Proven, &[ONE, TWO]).unwrap();
            host.end(A);
            host.register(app, Proof::Proven, &[again]).unwrap();
            let left: &[&str] = if again == "spark-1" { &[] } else { &[TWO] };
            assert_eq!(host.leaving(), left, "{again} by {app}");
            assert!(host.store.executors().begin_clearing(&host.dir(ONE)).is_none());
        }
    }
    // What lies beneath a root does not go with it.
    let host = Host::new();
    host.register(A, Proof::Proven, &[ONE]).unwrap();
    host.end(A);
    host.register(B, Proof::Proven, &[""]).unwrap();
    assert_eq!(host.leaving(), [ONE]);
}

#[test]
fn a_registration_in_the_midst_of_a_step_comes_again() {
    let host = Host::new();
    host.register(A, Proof::Proven, &[ONE]).unwrap();
    host.end(A);
    let turn = host.store.executors().begin_clearing(&host.dir(ONE)).unwrap();
    assert!(host.store.executors().begin_clearing(&host.dir(ONE)).is_none(), "one at a time");
    let refused = host.register(B, Proof::Proven, &[TWO, ONE]).unwrap_err();
    let dir = host.dir(ONE).shown().to_owned();
    assert_eq!(refused, RegisterError::Refused(RegisterRefusal::BeingCleared { dir }));
    assert!(host.store.executors().app(&AppId::new(B)).is_none(), "nothing of it is kept");
    drop(turn);
    host.register(B, Proof::Proven, &[TWO, ONE]).unwrap();
    assert!(host.leaving().is_empty());
}

#[test]
fn an_application_that_was_found_idle_must_have_been_quiet() {
    let host = Host::new();
    host.register(A, Proof::Proven, &[ONE]).unwrap();
    let later = Instant::now() + IDLE;
    let [finding] = &host.store.find_over(&on(), later)[..] else { panic!("one application is idle") };
    assert_eq!(finding.reason, FindingReason::Idle);
    host.store.forget_found(finding).unwrap();
    let [leaver] = &host.store.executors().leaving(0, None, 9)[..] else { panic!("one directory") };
    assert_eq!((leaver.quiet, leaver.left_by), (Some(IDLE), LeftBy::Application));
}

#[test]
fn directories_that_come_back_with_a_disk_stay() {
    let host = Host::new();
    fs::create_dir_all(host.root.join(ONE)).unwrap();
    host.register(A, Proof::Proven, &[ONE]).unwrap();
    fs::rename(host.root.join("spark-1"), host.root.join("away")).unwrap();
    let [finding] = &host.store.find_over(&on(), Instant::now())[..] else {
        panic!("its directories are gone")
    };
    assert_eq!(finding.reason, FindingReason::DirectoriesGone);
    host.store.forget_found(finding).unwrap();
    assert!(host.leaving().is_empty());
}

#[test]
fn nobodys_directory_is_one_that_no_registration_touches() {
    let host = Host::new();
    fs::create_dir_all(host.root.join(ONE)).unwrap();
    let executors = host.store.executors();
    host.register(A, Proof::Unproven, &[TWO]).unwrap();
    let orphan = |dir: &str| Leaver { dir: host.dir(dir), left_by: LeftBy::Orphan, quiet: None };
    assert!(executors.is_nobodys(&host.dir(ONE)) && !executors.is_nobodys(&host.dir(TWO)));
    assert!(!executors.add_leaving(orphan(TWO)) && executors.add_leaving(orphan(ONE)));
    assert!(!executors.is_nobodys(&host.dir(ONE)), "it is taken care of");
    let root = host.root.to_str().unwrap();
    assert_eq!(executors.taken_paths(), [format!("{root}/{TWO}"), format!("{root}/{ONE}")]);
    executors.cleared(&host.dir(ONE));
    host.register(A, Proof::Unproven, &["spark-1"]).unwrap();
    assert!(!executors.is_nobodys(&host.dir(ONE)), "it lies below one that is taken");
    // A root that somebody has registered does not take what lies beneath it.
    host.end(A);
    host.register(A, Proof::Unproven, &[""]).unwrap();
    assert!(executors.is_nobodys(&host.dir(ONE)));
}
