//! What is written is there after a restart, and what was removed is not.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Fixture, MANAGER, app, executor, lines, register};
use crate::disk::Proof;
use crate::keys::envelope::LocalKeyFile;
use crate::merge::{Journal as _, MemoryStore, MergeSettings, Merger};
use crate::state::{State, restore};

fn wrapped() -> WrappedKey {
    WrappedKey { key_id: "key-7".into(), bytes: vec![9; 60].into() }
}

fn fill(fixture: &Fixture, state: &State) {
    let dirs = [fixture.dir("a/blockmgr-1"), fixture.dir("a/blockmgr-2")];
    assert!(state.executor(&app("a"), &executor("0"), &dirs, 64, MANAGER, Proof::Proven).wait());
    assert!(state.executor(&app("b"), &executor("7"), &[] as &[&str], -1, "", Proof::Unproven).wait());
    assert!(state.remember_secret(&app("a"), &AppSecret::new("open sesame".into())).wait());
    state.registered(&app("a"), 1, &fixture.merge_dirs(&["a/merge_manager_1"]), Some(&wrapped()));
    state.finalized(&app("a"), 1, ShuffleId(4), ShuffleMergeId(0));
    state.finalized(&app("a"), 1, ShuffleId(5), ShuffleMergeId(2));
}

#[test]
fn everything_survives_a_restart() {
    let fixture = Fixture::new();
    let (state, empty) = fixture.open();
    assert!(lines(&empty).is_empty());
    fill(&fixture, &state);
    assert_eq!(state.counters().records, 6);
    let (again, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.secrets.len(), recovered.merges.len()), (2, 1, 1));
    let merge = &recovered.merges[0];
    assert_eq!((merge.app.as_str(), merge.attempt, merge.sub_dirs), ("a", 1, 64));
    assert_eq!(merge.dirs, [fixture.dir("a/merge_manager_1")]);
    assert_eq!(merge.key, Some(wrapped()));
    let unproven = recovered.executors.iter().find(|known| known.app == app("b")).unwrap();
    assert_eq!((unproven.proof, unproven.sub_dirs, unproven.dirs.len()), (Proof::Unproven, -1, 0));
    assert_eq!(recovered.secrets[0].1, AppSecret::new("open sesame".into()));
    let before = lines(&recovered);
    let (_last, recovered) = fixture.reopen(&again);
    assert_eq!(lines(&recovered), before);
}

#[test]
fn what_is_forgotten_stays_forgotten() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    fill(&fixture, &state);
    register(&state, "a", "1", &fixture.dir("a/blockmgr-3"));
    state.forget_executor(&app("a"), &executor("1")).detach();
    state.superseded(&app("a"), 1, ShuffleId(4), ShuffleMergeId(0));
    state.superseded(&app("a"), 1, ShuffleId(5), ShuffleMergeId(1));
    assert!(state.forget_secret(&app("a")).wait());
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.secrets.len()), (2, 0));
    assert_eq!(
        recovered.merges[0].finalized,
        [(ShuffleId(5), ShuffleMergeId(2))],
        "another merge's end stays"
    );

    state.forget_executors(&app("a"), || false).detach();
    state.over(&app("a"), 1);
    assert!(state.forget_executors(&app("nobody"), || false).wait());
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 1);
    assert!(recovered.merges.is_empty());
}

#[test]
fn proof_removes_what_was_registered_without_it_whichever_is_written_first() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let squat = |id: &str| {
        let dirs = [fixture.dir("a")];
        state.executor(&app("a"), &executor(id), &dirs, 64, MANAGER, Proof::Unproven).wait()
    };
    assert!(squat("1") && squat("2"));
    // Two executors prove themselves at once: the second is written before the first has what was there removed.
    register(&state, "a", "3", &fixture.dir("a"));
    assert!(state.forget_unproven(&app("a")).wait());
    register(&state, "a", "1", &fixture.dir("a"));
    let (_state, recovered) = fixture.reopen(&state);
    let mut known: Vec<_> = recovered.executors.iter().map(|known| known.executor.as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, ["1", "3"]);
}

#[test]
fn an_application_that_came_back_keeps_its_executors() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "1", &fixture.dir("a"));
    assert!(state.forget_executors(&app("a"), || true).wait());
    assert_eq!(fixture.reopen(&state).1.executors.len(), 1);
}

#[test]
fn only_the_newest_attempt_is_taken_up_and_the_others_are_removed() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", &fixture.dir("a/blockmgr-1"));
    for attempt in [1, 3, 2] {
        state.registered(&app("a"), attempt, &fixture.merge_dirs(&["a/merge_manager"]), None);
        state.finalized(&app("a"), attempt, ShuffleId(0), ShuffleMergeId(attempt));
    }
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.merges.len(), 1);
    assert_eq!(recovered.merges[0].finalized, [(ShuffleId(0), ShuffleMergeId(3))]);
    let merger = Merger::new(MergeSettings::default(), Arc::new(MemoryStore::default()));
    assert_eq!(restore(&OnLane::here(), &state, recovered, &fixture.store(), Some(&merger)).merges, 1);
    assert_eq!(merger.local_dirs(&app("a")).unwrap(), [fixture.dir("a/merge_manager")]);
    drop(fixture.reopen(&state));
    assert_eq!(fixture.open().0.counters().records, 3, "an executor, an attempt, a merge");
}

#[test]
fn of_an_application_that_wants_no_recovery_nothing_is_written() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    fill(&fixture, &state);
    assert!(state.exempt(&app("a")).wait());
    fill(&fixture, &state);
    assert!(state.forget_secret(&app("a")).wait(), "whoever holds the secrets asks before it tells us");
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.secrets.len(), recovered.merges.len()), (1, 0, 0));
    assert_eq!(recovered.executors[0].app, app("b"));
    state.exempt_no_more(&app("a"));
    fill(&fixture, &state);
    assert_eq!(state.counters().records, 6);
}

#[test]
fn executors_whose_directories_are_gone_or_elsewhere_are_dropped() {
    let fixture = Fixture::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (state, _) = fixture.open();
    register(&state, "stays", "0", &fixture.dir("stays"));
    register(&state, "gone", "0", &fixture.dir("gone"));
    register(&state, "elsewhere", "0", elsewhere.path().to_str().unwrap());
    state.registered(&app("gone"), 1, &fixture.merge_dirs(&["merge_manager_1"]), None);
    std::fs::remove_dir(fixture.dir("gone")).unwrap();
    let (state, recovered) = fixture.reopen(&state);
    let store = fixture.store();
    let journal = Arc::clone(&state);
    let merger =
        Merger::new(MergeSettings::default(), Arc::new(MemoryStore::default())).with_journal(journal);
    let restored = restore(&OnLane::here(), &state, recovered, &store, Some(&merger));
    assert_eq!((restored.executors, restored.dropped, restored.merges), (1, 2, 0));
    assert_eq!(store.executors().proof(&app("stays")), Some(Proof::Proven));
    assert_eq!(store.executors().app_count(), 1);
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.merges.len()), (1, 0), "they are not asked about again");
}

#[test]
fn rotating_the_wrapping_key_keeps_the_store() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", "/d");
    state.close();
    LocalKeyFile::rotate(&fixture.path().join("keys")).unwrap();
    assert_eq!(fixture.open().1.executors.len(), 1);
}

#[test]
fn records_that_are_too_large_are_lost_and_counted() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let long = "x".repeat(5 << 20);
    assert!(!register(&state, "a", "0", &long));
    assert!(register(&state, "a", "1", "/d"));
    assert_eq!((state.counters().lost, state.counters().written), (1, 1));
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 1);
    state.close();
    assert!(!register(&state, "a", "2", "/d"), "nothing is written after the end");
}

#[test]
fn proof_wins_after_a_restart_too() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let dir = fixture.dir("a");
    for (id, proof) in [("0", Proof::Unproven), ("1", Proof::Proven), ("2", Proof::Unproven)] {
        assert!(state.executor(&app("a"), &executor(id), &[&dir], 64, MANAGER, proof).wait());
    }
    let (state, recovered) = fixture.reopen(&state);
    let store = fixture.store();
    let restored = restore(&OnLane::here(), &state, recovered, &store, None);
    assert_eq!((restored.executors, restored.dropped), (1, 2));
    assert_eq!(store.executors().proof(&app("a")), Some(Proof::Proven));
    assert_eq!(fixture.reopen(&state).1.executors.len(), 1);
}

#[test]
fn space_is_used_again_and_given_back_at_start() {
    let fixture = Fixture::new();
    let size = || std::fs::metadata(fixture.file()).unwrap().len();
    let (state, _) = fixture.open();
    for n in 0..300 {
        assert!(register(&state, "a", &(n % 10).to_string(), &"/d".repeat(1000)));
    }
    assert!(size() < 4 << 20, "{} bytes of 10 records", size());
    let long = "/d".repeat(1 << 20);
    let written: Vec<_> = (0..16)
        .map(|n| state.executor(&app("b"), &executor(&n.to_string()), &[&long], 1, "", Proof::Proven))
        .collect();
    assert!(written.into_iter().all(|answer| answer.wait()));
    assert!(state.forget_executors(&app("b"), || false).wait());
    let large = size();
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 10);
    assert!(size() < large / 4, "{large} bytes became {}", size());
}
