//! No name, path or secret is in any byte of the file, while it is open and afterwards.

use std::fs;

use memchr::memmem;
use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::fixture::{Fixture, app, executor, register};
use crate::disk::Proof;
use crate::merge::Journal as _;

const CANARIES: [&str; 5] =
    ["canary-secret", "canary-app", "canary-executor", "canary-directory", "CanaryManager"];

fn nothing_shows(fixture: &Fixture, when: &str) {
    for entry in fs::read_dir(fixture.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for canary in CANARIES {
            assert!(memmem::find(&bytes, canary.as_bytes()).is_none(), "{canary} is in {path:?} {when}");
        }
    }
}

#[test]
fn nothing_shows_in_the_file() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let canary = app("canary-app-1");
    let dirs = fixture.merge_dirs(&["canary-directory"]);
    for n in 0..40 {
        let id = executor(&format!("canary-executor-{n}"));
        let dir = fixture.dir("canary-directory");
        assert!(state.executor(&canary, &id, &[&dir], 64, "CanaryManager", Proof::Proven).wait());
        assert!(state.remember_secret(&canary, &AppSecret::new(format!("canary-secret-{n}"))).wait());
        state.registered(&canary, 1, &dirs, None);
        state.finalized(&canary, 1, ShuffleId(n), ShuffleMergeId(0)).detach();
        nothing_shows(&fixture, "while it is written");
    }
    assert!(state.forget_secret(&canary).wait());
    nothing_shows(&fixture, "after the secret was taken back");
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 40);
    nothing_shows(&fixture, "after a restart");
    state.close();
    nothing_shows(&fixture, "at the end");
    let debug = format!("{recovered:?} {state:?}");
    assert!(!debug.contains("canary"), "{debug}");
}

#[test]
fn the_same_record_never_looks_the_same_twice() {
    let fixture = Fixture::new();
    let mut copies = Vec::new();
    let (state, _) = fixture.open();
    for _ in 0..2 {
        let value = state.keys.seal(b"name", &zeroize::Zeroizing::new(b"the same".to_vec())).unwrap();
        copies.push(value);
    }
    assert!(memmem::find(&copies[0], &copies[1][..16]).is_none());
    let other = Fixture::new();
    let (stranger, _) = other.open();
    assert_ne!(state.keys.executors_of(&app("a")), stranger.keys.executors_of(&app("a")));
    register(&state, "a", "0", "/d");
}
