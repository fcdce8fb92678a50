//! Which directories are accepted (`LocalDirValidator`, as Spark 4.3.0 was seen to answer), and what is remembered.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tempfile::TempDir;

use super::fixture::{app, executor, on, text};
use crate::disk::claims::CLAIM_BYTES;
use crate::disk::{
    DirRefusal, Executors, Health, LocalDir, Presence, Proof, RegisterRefusal, Registration,
    RegistrationEffect, RegistryLimits, RootError, Roots, Watch,
};

struct TwoRoots {
    base: PathBuf,
    roots: Roots,
    _temp: TempDir,
}

impl TwoRoots {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        ["r1", "r2", "r1x", "other"].iter().for_each(|name| fs::create_dir(base.join(name)).unwrap());
        symlink(base.join("other"), base.join("r1/link")).unwrap();
        let roots = Roots::open([base.join("r1"), base.join("r2")]).unwrap();
        Self { base, roots, _temp: temp }
    }

    fn accept(&self, below: &str) -> Result<LocalDir, DirRefusal> {
        self.roots.accept(&on(), &format!("{}/{below}", text(&self.base)))
    }
}

#[test]
fn accepts_what_lies_beneath_a_root_by_components() {
    let two = TwoRoots::new();
    let place = |below| two.accept(below).map(|dir| dir.relative().to_owned());
    assert_eq!(place("r1/blockmgr-1").unwrap(), "blockmgr-1");
    assert_eq!(place("r2/does-not-exist").unwrap(), "does-not-exist");
    assert_eq!(place("r1").unwrap(), "");
    assert_eq!(place("r1/").unwrap(), "");
    assert_eq!(place("r1/a/b//").unwrap(), "a/b");
    assert_eq!(place("r1/./a/../b").unwrap(), "b");
    assert_eq!(place("r1/../r2/x").unwrap(), "x");
    for below in
        ["r1x", "r1/../other", "r1/link", "r1/link/below", "r1/link/../r2/x", "r1/link/../x", ".", ""]
    {
        let refused = place(below).unwrap_err();
        let text = format!(
            "java.lang.IllegalArgumentException: localDirs entry is not under any of the service's local \
             directories: {}/{below}",
            text(&two.base)
        );
        assert_eq!(refused.spark_text(), text);
    }
    let relative = two.roots.accept(&on(), "blockmgr-1").unwrap_err();
    assert_eq!(relative, DirRefusal::NotUnderRoot { dir: "blockmgr-1".into() });
}

#[test]
fn refuses_empty_and_unclear_directories_in_sparks_words() {
    let two = TwoRoots::new();
    assert_eq!(
        two.roots.accept(&on(), "").unwrap_err().spark_text(),
        "java.lang.IllegalArgumentException: localDirs entries must be non-null and non-empty"
    );
    symlink(two.base.join("r1/loop"), two.base.join("r1/loop")).unwrap();
    let long = format!("r1/{}", "x".repeat(300));
    for below in ["r1/loop/x", "r1/nul\0", &long] {
        let expected = format!(
            "java.lang.IllegalArgumentException: localDirs entry could not be canonicalized: {}/{below}",
            text(&two.base)
        );
        assert_eq!(two.accept(below).unwrap_err().spark_text(), expected);
    }
}

#[test]
fn keeps_the_text_as_it_was_sent() {
    let two = TwoRoots::new();
    symlink(two.base.join("r2"), two.base.join("r1/to-r2")).unwrap();
    let dir = two.accept("r1/to-r2//x/").unwrap();
    assert_eq!(dir.text(), format!("{}/r1/to-r2//x/", text(&two.base)));
    assert_eq!(dir.relative(), "x");
    assert!(!dir.existed());
    fs::create_dir(two.base.join("r2/x")).unwrap();
    assert!(two.accept("r1/to-r2//x/").unwrap().existed());
}

/// Elsewhere a look may hang: a network mount whose server is gone.
#[test]
fn nothing_is_looked_at_but_beneath_the_roots_and_on_the_configured_way_to_them() {
    let two = TwoRoots::new();
    fs::create_dir(two.base.join("links")).unwrap();
    symlink(two.base.join("links/second"), two.base.join("first")).unwrap();
    symlink(two.base.join("r2"), two.base.join("links/second")).unwrap();
    symlink(two.base.join("r2"), two.base.join("to-r2")).unwrap();
    symlink(two.base.join("other/dead"), two.base.join("r1/to-dead")).unwrap();

    let configured = Roots::open([two.base.join("r1"), two.base.join("first")]).unwrap();
    let place = |below: &str| {
        let dir = format!("{}/{below}", text(&two.base));
        configured.accept(&on(), &dir).map(|dir| dir.relative().to_owned())
    };
    assert_eq!(place("first/x").unwrap(), "x", "the way as it is configured, link by link");
    assert_eq!(place("r2/x").unwrap(), "x", "the place where it leads");
    assert_eq!(place("links/second/x").unwrap(), "x");
    for below in ["to-r2/x", "other/dead", "r1/to-dead", "links/third"] {
        assert!(matches!(place(below), Err(DirRefusal::NotUnderRoot { .. })), "{below}");
        let walked = place(below).unwrap_err().to_string();
        assert!(walked.contains("not under any"), "{walked}");
    }
}

#[test]
fn roots_fail_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(Roots::open([&file]), Err(RootError::NotDirectory { .. })));
    let missing = Roots::open([temp.path().join("missing")]).unwrap_err();
    assert!(missing.to_string().contains("missing does not exist"), "{missing}");
    assert!(matches!(Roots::open([""; 0]), Err(RootError::None)));
}

#[tokio::test]
async fn root_that_was_made_anew_is_taken_up() {
    let two = TwoRoots::new();
    let disk = &two.roots.disks()[1];
    assert_eq!(disk.watch().await, Watch::default());
    fs::remove_dir_all(two.base.join("r2")).unwrap();
    let Watch { change, taken_up } = disk.watch().await;
    let (before, condition) = change.unwrap();
    assert_eq!((before, condition.health, taken_up), (Health::Ok, Health::Missing, false));
    assert!(condition.why.contains("does not exist"), "{condition}");
    assert!(disk.lane().is_shut().unwrap().contains("missing"));
    assert_eq!(disk.watch().await, Watch::default(), "a change is told once");
    fs::create_dir(two.base.join("kept")).unwrap();
    fs::create_dir(two.base.join("r2")).unwrap();
    let Watch { change, taken_up } = disk.watch().await;
    assert_eq!((change.unwrap().1.health, taken_up), (Health::Ok, true));
    assert!(disk.lane().is_shut().is_none());
}

#[test]
fn directory_on_a_root_that_is_not_there_is_taken_by_its_text() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    fs::create_dir(base.join("r1")).unwrap();
    let roots = Roots::open([base.join("r1"), base.join("r2")]).unwrap();
    assert_eq!(roots.disks()[1].health(), Health::Missing);
    let text = |below: &str| base.join(below).to_str().unwrap().to_owned();
    let dir = roots.accept(&on(), &text("r2/a/blockmgr-1")).unwrap();
    assert_eq!((dir.relative(), dir.existed(), dir.may_exist()), ("a/blockmgr-1", false, true));
    assert_eq!(roots.presence(&on(), &dir), Presence::Unknown, "its application does not end for that");
    assert!(roots.accept(&on(), &text("r2/../r3/x")).is_err());
    assert!(matches!(roots.accept(&on(), &text("r3/x")), Err(DirRefusal::NotUnderRoot { .. })));
    // What was accepted before a restart keeps its place.
    let elsewhere = roots.accept_again(&on(), &app(), &text("r3/x")).unwrap();
    assert!(!elsewhere.has_root() && !elsewhere.may_exist());
    assert!(roots.disk(&elsewhere).lane().is_shut().is_some());
    assert_eq!(elsewhere.text(), text("r3/x"));
}

#[test]
fn a_later_registration_replaces_an_earlier() {
    let two = TwoRoots::new();
    let (executors, now) = (Executors::new(RegistryLimits::default(), Instant::now()), Instant::now());
    for below in ["r1/a", "r2/longer-than-before", "r1/c"] {
        let registration = Registration::new(vec![two.accept(below).unwrap()], 64, "sort");
        executors.register(&app(), &executor(), registration, Proof::Proven, now).unwrap();
    }
    let found = executors.lookup(&app(), &executor(), now).unwrap();
    assert_eq!(found.dirs()[0].text(), format!("{}/r1/c", text(&two.base)));
    assert_eq!(executors.count(), 1);
    let text = "app-1".len() + "1".len() + "sort".len() + found.dirs()[0].text().len();
    assert_eq!(executors.bytes(), text + size_of::<LocalDir>() + CLAIM_BYTES);
    assert_eq!(executors.forget(&app()), Some(1));
    assert_eq!((executors.count(), executors.bytes()), (0, 0));
    assert!(executors.lookup(&app(), &executor(), now).is_none());
}

#[test]
fn proof_wins_over_none() {
    let (executors, now) = (Executors::new(RegistryLimits::default(), Instant::now()), Instant::now());
    let register = |id: &str, proof| {
        let registration = Registration::new(vec![], 64, "");
        let entry = executors.register(&app(), &ExecutorId::new(id), registration, proof, now);
        entry.map(|entry| entry.registered)
    };
    assert_eq!(register("1", Proof::Unproven), Ok(RegistrationEffect::First));
    assert_eq!(register("2", Proof::Unproven), Ok(RegistrationEffect::Further));
    assert_eq!(executors.proof(&app()), Some(Proof::Unproven));
    assert_eq!(register("3", Proof::Proven), Ok(RegistrationEffect::Overruling));
    assert_eq!(executors.proof(&app()), Some(Proof::Proven));
    assert_eq!(executors.count(), 1);
    assert_eq!(register("1", Proof::Unproven), Err(RegisterRefusal::NeedsProof { app: app() }));
    assert_eq!(executors.proof(&AppId::new("app-2")), None);
}

#[test]
fn use_is_remembered() {
    let start = Instant::now();
    let executors = Executors::new(RegistryLimits::default(), start);
    let registration = Registration::new(vec![], 64, "");
    executors.register(&app(), &executor(), registration, Proof::Proven, start).unwrap();
    let later = start + Duration::from_secs(5);
    executors.lookup(&app(), &executor(), later).unwrap();
    executors.lookup(&app(), &executor(), start).unwrap();
    assert_eq!(executors.app(&app()).unwrap().last_use, later);
    assert_eq!(executors.apps().len(), 1);
}
