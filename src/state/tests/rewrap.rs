//! The key that wraps the node key is rotated.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::{Duration, UNIX_EPOCH};

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::Context;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Fixture, lines, register};
use crate::keys::envelope::LocalKeyFile;
use crate::state::{KeyNeed, Sighting, State, node_app};

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The names of the keys before and after a rotation.
fn rotate(fixture: &Fixture) -> (String, String) {
    let path = fixture.path().join("keys");
    let before = fixture.provider().list(&OnLane::here()).unwrap().last().unwrap().name.clone();
    (before, LocalKeyFile::rotate(&OnLane::here(), &path).unwrap())
}

fn remove(fixture: &Fixture, key: &str) {
    LocalKeyFile::remove(&OnLane::here(), &fixture.path().join("keys"), key).unwrap();
}

fn needed(fixture: &Fixture) -> Vec<KeyNeed> {
    wait(State::keys_needed(&fixture.state_dir(), &fixture.provider(), &Context::of(node_app()))).unwrap()
}

#[test]
fn store_that_is_opened_after_a_rotation_is_sealed_anew_and_needs_the_old_key_no_more() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    for n in 0..50 {
        assert!(register(&state, &format!("app-{}", n % 7), &n.to_string(), "/d"));
    }
    let (_, before) = fixture.reopen(&state);
    let (old, new) = rotate(&fixture);
    let copy = fixture.path().join("copy");
    fs::copy(fixture.file(), &copy).unwrap();
    assert_eq!(needed(&fixture), [KeyNeed::of_store(&old)]);

    let (state, after) = fixture.open();
    assert_eq!(state.wrapping_key(), new);
    assert_eq!(lines(&after), lines(&before));
    assert!(register(&state, "app-1", "another", "/d"));
    state.close();
    remove(&fixture, &old);
    assert_eq!(needed(&fixture), [KeyNeed::of_store(&new)]);
    assert_eq!(fixture.open().1.executors.len(), 51);

    // The control: without sealing it anew, the key was needed.
    fs::rename(copy, fixture.file()).unwrap();
    assert!(fixture.try_open().is_err());
}

#[test]
fn sightings_go_with_the_store_when_it_is_sealed_anew() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let on = OnLane::here();
    let seen = Sighting {
        app: AppId::new("app-1"),
        proven: true,
        channel: Channel::PLAINTEXT,
        at: UNIX_EPOCH + Duration::from_secs(1_796_000_000),
    };
    state.keep_sightings(&on, std::slice::from_ref(&seen)).unwrap();
    state.close();
    let before = fs::read(state.sightings_path()).unwrap();
    // As `serve` does it at start, and as `keys rewrap` does it.
    for _ in 0..2 {
        rotate(&fixture);
        let (state, _) = fixture.open();
        assert_eq!(state.sightings(&on).unwrap(), std::slice::from_ref(&seen));
        state.close();
        let context = Context::of(node_app());
        assert!(wait(State::rewrap(&fixture.state_dir(), &fixture.provider(), &context)).unwrap());
    }
    let (state, _) = fixture.open();
    assert_eq!(state.sightings(&on).unwrap(), [seen]);
    // The control: it is under the key of the store, and no other.
    fs::write(state.sightings_path(), before).unwrap();
    assert!(state.sightings(&on).is_err());
}

#[test]
fn store_that_is_open_is_wrapped_anew() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    assert!(register(&state, "app-1", "1", "/d"));
    let provider = fixture.provider();
    let keep = || wait(state.keep_wrapped(&provider, &Context::of(node_app()))).unwrap();
    keep();
    let (old, new) = rotate(&fixture);
    assert_eq!(state.wrapping_key(), old);
    keep();
    assert_eq!(state.wrapping_key(), new);
    assert!(register(&state, "app-1", "2", "/d"));
    remove(&fixture, &old);
    let (_, found) = fixture.reopen(&state);
    assert_eq!(found.executors.len(), 2);
}

#[test]
fn store_that_was_changed_is_not_sealed_anew() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    assert!(register(&state, "app-1", "1", "/d"));
    state.close();
    let mut bytes = fs::read(fixture.file()).unwrap();
    // The record of the executor.
    let at = bytes.len() / 2;
    bytes[at..at + 4096].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(fixture.file(), &bytes).unwrap();
    rotate(&fixture);
    let context = Context::of(node_app());
    let refused = wait(State::rewrap(&fixture.state_dir(), &fixture.provider(), &context));
    if refused.is_err() {
        assert!(fixture.try_open().is_err(), "what it refuses does not open either");
    } else {
        assert_eq!(fixture.open().1.executors.len(), 1, "only free pages were changed");
    }
}

#[test]
fn store_keeps_its_owner_and_mode() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    state.close();
    let before = fs::metadata(fixture.file()).unwrap().ino();
    let is_root = chown(fixture.file(), Some(12_345), Some(54_321)).is_ok();
    rotate(&fixture);
    let context = Context::of(node_app());
    assert!(wait(State::rewrap(&fixture.state_dir(), &fixture.provider(), &context)).unwrap());
    let after = fs::metadata(fixture.file()).unwrap();
    assert_ne!(after.ino(), before, "a new file");
    assert_eq!(after.permissions().mode() & 0o7777, 0o600);
    if is_root {
        assert_eq!((after.uid(), after.gid()), (12_345, 54_321));
    }
    assert!(!wait(State::rewrap(fixture.path(), &fixture.provider(), &context)).unwrap(), "there is none");
}
