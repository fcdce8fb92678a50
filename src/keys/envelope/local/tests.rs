//! The provider against a real directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::thread;

use sealed_shuffle_protocol::ids::AppId;

use super::*;

/// Runs what waits for the disk on a thread of no runtime.
fn aside<T: Send>(work: impl FnOnce(&OnLane) -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(|| work(&OnLane::here())).join()).unwrap()
}

fn open_or_make(path: &Path) -> Result<(LocalKeyFile, bool), KeyError> {
    aside(|on| LocalKeyFile::open_or_make(on, path))
}

fn open(path: &Path) -> Result<LocalKeyFile, KeyError> {
    aside(|on| LocalKeyFile::open(on, path))
}

fn rotate(path: &Path) -> Result<String, KeyError> {
    aside(|on| LocalKeyFile::rotate(on, path))
}

impl LocalKeyFile {
    /// The file, made where there is none.
    pub(crate) fn for_test(path: &Path) -> Self {
        open_or_make(path).unwrap().0
    }
}

fn context(app: &str) -> Context {
    Context::of(AppId::new(app))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_file_is_made_once_closed_to_others_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/keys");
    let (keys, made) = open_or_make(&path).unwrap();
    assert!(made);
    assert_eq!((mode(&path), mode(&dir.path().join("state"))), (0o600, 0o700));
    assert_eq!(file::left_behind(&path), Vec::<PathBuf>::new());
    let (data_key, wrapped) = keys.generate(&context("app-1")).await.unwrap();
    assert!(!wrapped.bytes.windows(8).any(|part| part == &data_key.as_bytes()[..8]));

    let (again, made) = open_or_make(&path).unwrap();
    assert!(!made);
    assert_eq!(again.unwrap(&wrapped, &context("app-1")).await.unwrap(), data_key);
}

#[tokio::test]
async fn the_wrong_application_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = open_or_make(&dir.path().join("keys")).unwrap();
    let (_, wrapped) = keys.generate(&context("app-1")).await.unwrap();
    let error = keys.unwrap(&wrapped, &context("app-2")).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::WrongContext);
    assert!(error.to_string().contains(&wrapped.key_id), "{error}");
}

#[tokio::test]
async fn the_newest_key_wraps_and_older_ones_unwrap_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (keys, _) = open_or_make(&path).unwrap();
    let other = open(&path).unwrap();
    let app = context("app");
    let (old_key, old) = keys.generate(&app).await.unwrap();
    let name = rotate(&path).unwrap();
    assert_eq!((mode(&path), file::left_behind(&path).len()), (0o600, 0));
    let (new_key, new) = keys.generate(&app).await.unwrap();
    assert_eq!(new.key_id, name);
    assert_ne!(old.key_id, new.key_id);
    assert_eq!(keys.unwrap(&old, &app).await.unwrap(), old_key);
    // The other provider has not read the file since.
    assert_eq!(other.unwrap(&new, &app).await.unwrap(), new_key);
    let listed = aside(|on| keys.list(on)).unwrap();
    assert_eq!(listed.iter().map(|key| key.wraps).collect::<Vec<_>>(), [false, true]);
    assert!(keys.describe().contains(&name) && keys.describe().contains("2 keys"), "{}", keys.describe());
}

#[tokio::test]
async fn a_key_that_was_taken_out_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (keys, _) = open_or_make(&path).unwrap();
    let (_, wrapped) = keys.generate(&context("app")).await.unwrap();
    fs::remove_file(&path).unwrap();
    let (new, _) = open_or_make(&path).unwrap();
    let error = new.unwrap(&wrapped, &context("app")).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::NotFound);
    assert!(error.to_string().contains(&wrapped.key_id), "{error}");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    open_or_make(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = open_or_make(&path).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Misconfigured);
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(rotate(&path).is_err());
    }
}

#[test]
fn what_cannot_be_used_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    for content in [&b""[..], b"sealed-shuffle-keys 9\n", &[0xff; 100], &[b'x'; 70 << 10]] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = open_or_make(&path).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Misconfigured, "{error}");
        assert!(rotate(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert!(open_or_make(dir.path()).unwrap_err().to_string().contains("regular file"));
    let missing = open(&dir.path().join("none")).unwrap_err();
    assert_eq!(missing.kind(), KeyErrorKind::NotFound);
}

#[test]
fn of_many_that_start_together_one_makes_the_file_and_all_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let makers: Vec<bool> = thread::scope(|scope| {
        let started: Vec<_> = (0..8).map(|_| scope.spawn(|| open_or_make(&path).unwrap().1)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(makers.into_iter().filter(|made| *made).count(), 1);
    assert_eq!(aside(|on| LocalKeyFile::open(on, &path).unwrap().list(on)).unwrap().len(), 1);
    assert_eq!(file::left_behind(&path), Vec::<PathBuf>::new());
}

#[test]
fn no_rotation_is_lost_among_several() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (keys, _) = open_or_make(&path).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| rotate(&path).unwrap());
        }
    });
    assert_eq!(aside(|on| keys.list(on)).unwrap().len(), 5);
}

/// Operators rotate as root, and the server runs as another user.
#[test]
fn a_file_keeps_its_owner_and_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    open_or_make(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if chown(&path, Some(12_345), Some(54_321)).is_err() {
        return println!("skipped: only root gives files away");
    }
    let owner = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid(), mode(path))
    };
    let name = rotate(&path).unwrap();
    assert_eq!(owner(&path), (12_345, 54_321, 0o400));
    rotate(&path).unwrap();
    aside(|on| LocalKeyFile::remove(on, &path, &name)).unwrap();
    assert_eq!(owner(&path), (12_345, 54_321, 0o400));
}

#[tokio::test]
async fn a_key_is_taken_out_and_the_one_that_wraps_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (keys, _) = open_or_make(&path).unwrap();
    let (_, old) = keys.generate(&context("app")).await.unwrap();
    let name = rotate(&path).unwrap();
    let (new_key, new) = keys.generate(&context("app")).await.unwrap();
    let remove = |name: &str| aside(|on| LocalKeyFile::remove(on, &path, name));
    for kept in [&*name, "local:nobody"] {
        assert!(remove(kept).unwrap_err().to_string().contains(kept));
    }
    remove(&old.key_id).unwrap();
    assert!(keys.unwrap(&old, &context("app")).await.is_err());
    assert_eq!(keys.unwrap(&new, &context("app")).await.unwrap(), new_key);
    assert!(fs::read_to_string(&path).unwrap().contains("# Wraps"), "the rest of the file stays");
}

#[tokio::test]
async fn a_key_that_is_there_is_wrapped_by_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (keys, _) = open_or_make(&path).unwrap();
    let (key, old) = keys.generate(&context("app")).await.unwrap();
    let name = rotate(&path).unwrap();
    let anew = keys.wrap(&key, &context("app")).await.unwrap();
    assert_eq!((&anew.key_id, keys.wraps_with().await.unwrap().as_ref()), (&name, Some(&name)));
    assert_ne!(anew.key_id, old.key_id);
    assert_eq!(keys.unwrap(&anew, &context("app")).await.unwrap(), key);
}

#[test]
fn a_rotation_replaces_what_a_link_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("keys"), dir.path().join("link"));
    open_or_make(&path).unwrap();
    symlink(&path, &link).unwrap();
    rotate(&link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(aside(|on| LocalKeyFile::open(on, &path).unwrap().list(on)).unwrap().len(), 2);
}

#[test]
fn a_file_on_the_file_system_of_the_data_is_noticed_before_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("blocks");
    fs::create_dir(&root).unwrap();
    let roots = [PathBuf::from("/proc"), root.clone()];
    assert_eq!(shared_file_system(&OnLane::here(), &dir.path().join("not/yet/keys"), &roots), Some(&*root));
    assert_eq!(shared_file_system(&OnLane::here(), Path::new("/proc/self/keys"), &[root]), None);
}
