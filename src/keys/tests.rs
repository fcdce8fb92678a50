use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::confined::Confinement;

const PATIENCE: Duration = Duration::from_secs(20);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn write(dir: &TempDir, name: &str, text: &str, mode: u32) {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn secrets(dir: &TempDir, wait: Duration) -> Secrets {
    Secrets::from_source(Source::Directory(Directory::open(dir.path(), wait).expect("a directory")))
}

fn texts(found: Lookup) -> Vec<String> {
    match found {
        Lookup::Found(secrets) => {
            secrets.iter().map(|secret| String::from_utf8_lossy(secret.as_bytes()).into_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn found(candidate: Result<Candidate, String>) -> (String, bool) {
    let Candidate { secret, is_current } = candidate.expect("a secret");
    (String::from_utf8_lossy(secret.as_bytes()).into_owned(), is_current)
}

fn reason(found: Lookup) -> String {
    match found {
        Lookup::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_current_secret_comes_before_the_one_that_it_replaces() {
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = secrets(&dir, Duration::ZERO);
    write(&dir, "app-1", "new", 0o600);
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["new"]);
    write(&dir, "app-1.previous", "old", 0o400);
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["new", "old"]);
    write(&dir, "app-1", "newest", 0o600);
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["newest", "old"], "read anew when it changed");
}

#[tokio::test]
async fn a_file_that_comes_late_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = secrets(&dir, PATIENCE);
    let app = AppId::new("app-1");
    let mut search = secrets.search(&app, PEER);
    let late = async {
        tokio::task::yield_now().await;
        write(&dir, "new", "late", 0o600);
        fs::rename(dir.path().join("new"), dir.path().join("app-1")).expect("a rename");
    };
    assert_eq!(found(tokio::join!(search.next(), late).0), ("late".to_owned(), true));
}

#[tokio::test]
async fn a_file_that_never_comes_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let wait = Duration::from_millis(20);
    let began = Instant::now();
    let reason = secrets(&dir, wait).search(&AppId::new("app-1"), PEER).next().await.unwrap_err();
    assert!(began.elapsed() >= wait);
    assert!(reason.contains(&dir.path().join("app-1").display().to_string()), "{reason}");
}

#[tokio::test]
async fn a_secret_that_does_not_verify_is_tried_once_and_waited_on_as_for_one_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let wait = Duration::from_millis(20);
    let secrets = secrets(&dir, wait);
    write(&dir, "app-1", "new", 0o600);
    write(&dir, "app-1.previous", "old", 0o600);
    let (app, began) = (AppId::new("app-1"), Instant::now());
    let mut search = secrets.search(&app, PEER);
    assert_eq!(found(search.next().await), ("new".to_owned(), true));
    assert_eq!(found(search.next().await), ("old".to_owned(), false));
    let reason = search.next().await.unwrap_err();
    assert!(began.elapsed() >= wait, "{reason}");
}

#[tokio::test]
async fn a_secret_that_comes_in_the_place_of_a_wrong_one_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = secrets(&dir, PATIENCE);
    write(&dir, "app-1", "wrong", 0o600);
    let app = AppId::new("app-1");
    let mut search = secrets.search(&app, PEER);
    assert_eq!(found(search.next().await).0, "wrong");
    let late = async {
        tokio::task::yield_now().await;
        write(&dir, "new", "late", 0o600);
        fs::rename(dir.path().join("new"), dir.path().join("app-1")).expect("a rename");
    };
    assert_eq!(found(tokio::join!(search.next(), late).0).0, "late");
}

#[tokio::test]
async fn waiting_is_bounded_in_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let (secrets, app) = (secrets(&dir, Duration::MAX), AppId::new("app-1"));
    let mut search = secrets.search(&app, PEER);
    let others = async {
        loop {
            let enter = |_| secrets.waiting_room().enter(PEER);
            let _held: Vec<_> = (0..waiting::MOST_WAITING).map(enter).collect();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reason = tokio::select! {
        found = search.next() => found.unwrap_err(),
        () = others => unreachable!("they come again and again"),
    };
    assert!(reason.contains("too many handshakes wait"), "{reason}");
}

#[tokio::test]
async fn a_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = secrets(&dir, Duration::ZERO);
    for mode in [0o644, 0o602, 0o640] {
        write(&dir, "app-1", "s", mode);
        let reason = reason(secrets.of(&AppId::new("app-1")).await);
        assert!(reason.contains("chmod 600") && reason.contains("app-1"), "{reason}");
    }
    symlink("..2026", dir.path().join("..data")).expect("a link");
    let mounted = reason(secrets.of(&AppId::new("app-1")).await);
    assert!(mounted.contains("defaultMode: 0440") && mounted.contains("fsGroup"), "{mounted}");
    write(&dir, "app-1", "s", 0o600);
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["s"]);
}

#[tokio::test]
async fn links_that_stay_beneath_are_followed_and_others_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    write(&outside, "secret", "outside", 0o600);
    fs::create_dir(dir.path().join("..2026")).expect("a directory");
    write(&dir, "..2026/app-1", "inside", 0o600);
    symlink("..2026", dir.path().join("..data")).expect("a link");
    symlink("..data/app-1", dir.path().join("app-1")).expect("a link");
    symlink(outside.path().join("secret"), dir.path().join("app-2")).expect("a link");
    let secrets = secrets(&dir, Duration::ZERO);
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["inside"]);
    let reason = reason(secrets.of(&AppId::new("app-2")).await);
    assert!(reason.contains("leads out"), "{reason}");
}

/// As on a kernel without `openat2`.
#[tokio::test]
async fn walk_follows_no_link_and_reads_plain_files() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&dir, "app-1", "plain", 0o600);
    symlink("app-1", dir.path().join("app-2")).expect("a link");
    let directory = Directory::open(dir.path(), Duration::ZERO).expect("a directory");
    let secrets = Secrets::from_source(Source::Directory(directory.with_confinement(Confinement::Walk)));
    assert_eq!(texts(secrets.of(&AppId::new("app-1")).await), ["plain"]);
    let reason = reason(secrets.of(&AppId::new("app-2")).await);
    assert!(reason.contains("leads out"), "{reason}");
    assert!(matches!(secrets.of(&AppId::new("app-3")).await, Lookup::NotYet { .. }));
}

#[tokio::test]
async fn an_empty_file_is_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&dir, "app-1", "", 0o600);
    assert!(reason(secrets(&dir, Duration::ZERO).of(&AppId::new("app-1")).await).contains("empty"));
}

#[tokio::test]
async fn a_removed_file_ends_the_access_of_who_is_connected() {
    let dir = tempfile::tempdir().expect("a directory");
    let secrets = secrets(&dir, Duration::ZERO);
    write(&dir, "app-1", "s", 0o600);
    write(&dir, "app-2", "s", 0o600);
    let (one, two) = (secrets.watch(&AppId::new("app-1")), secrets.watch(&AppId::new("app-2")));
    assert!(secrets.look_for_removed().await.is_empty());
    fs::remove_file(dir.path().join("app-1")).expect("it is there");
    assert!(secrets.look_for_removed().await.is_empty(), "it may be about to come back");
    assert_eq!(secrets.look_for_removed().await, [AppId::new("app-1")]);
    assert!(one.is_revoked() && !two.is_revoked());
    assert!(!secrets.watch(&AppId::new("app-1")).is_revoked(), "a later proof is another matter");
}

#[tokio::test]
async fn one_secret_serves_every_application_and_may_have_one_before() {
    let secret = |text: &str| Arc::new(AppSecret::new(text.to_owned()));
    let secrets =
        Secrets::from_source(Source::Shared { current: secret("new"), previous: Some(secret("old")) });
    assert_eq!(texts(secrets.of(&AppId::new("../any")).await), ["new", "old"]);
    secrets.replace(Source::None);
    assert!(!secrets.exist());
    assert!(reason(secrets.of(&AppId::new("any")).await).contains("no secret"));
}

fn handed(source: Source, wait: Duration) -> Secrets {
    Secrets::handed_over_or(source, wait)
}

fn hand_over(secrets: &Secrets, app: &str, text: &str) {
    secrets.hand_over(&AppId::new(app), AppSecret::new(text.to_owned()), true).expect("it is taken");
}

#[tokio::test]
async fn what_was_handed_over_comes_before_every_other_source_and_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&dir, "app-1", "file", 0o600);
    let directory = Directory::open(dir.path(), Duration::ZERO).expect("a directory");
    let shared = Source::Shared { current: Arc::new(AppSecret::new("all".to_owned())), previous: None };
    for (source, other) in [(Source::Directory(directory), "file"), (shared, "all")] {
        let secrets = handed(source, Duration::ZERO);
        assert!(secrets.exist());
        let app = AppId::new("app-1");
        assert_eq!(texts(secrets.of(&app).await), [other]);
        hand_over(&secrets, "app-1", "handed");
        assert_eq!(texts(secrets.of(&app).await), ["handed"]);
        hand_over(&secrets, "app-1", "of the next attempt");
        assert_eq!(texts(secrets.of(&app).await), ["of the next attempt"]);
        assert!(secrets.end(&app));
        assert_eq!(texts(secrets.of(&app).await), [other]);
    }
}

#[tokio::test]
async fn a_secret_that_is_handed_over_late_is_waited_for() {
    let secrets = handed(Source::None, PATIENCE);
    let app = AppId::new("app-1");
    let late = async {
        tokio::task::yield_now().await;
        hand_over(&secrets, "app-1", "late");
    };
    let mut search = secrets.search(&app, PEER);
    assert_eq!(found(tokio::join!(search.next(), late).0), ("late".to_owned(), true));
    let never = handed(Source::None, Duration::from_millis(20));
    let reason = never.search(&app, PEER).next().await.expect_err("there is none");
    assert!(reason.contains("none was handed over"), "{reason}");
}

#[tokio::test]
async fn the_end_of_an_application_ends_the_access_of_who_is_connected() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(dir.path(), Duration::ZERO).expect("a directory");
    let secrets = handed(Source::Directory(directory), Duration::ZERO);
    hand_over(&secrets, "app-1", "s");
    hand_over(&secrets, "app-2", "s");
    let (one, two) = (secrets.watch(&AppId::new("app-1")), secrets.watch(&AppId::new("app-2")));
    for _ in 0..3 {
        assert!(secrets.look_for_removed().await.is_empty(), "it never had a file");
    }
    assert!(secrets.end(&AppId::new("app-1")));
    assert!(one.is_revoked() && !two.is_revoked());
    assert_eq!(secrets.handed_over(), 1);
    assert!(!secrets.end(&AppId::new("app-1")), "twice is no harm");
}
