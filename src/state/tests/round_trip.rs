//! What is written is there after a restart, and what was removed is not.

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Fixture, MANAGER, app, executor, lines, register};
use crate::disk::Proof;
use crate::keys::envelope::LocalKeyFile;
use crate::merge::Journal as _;
use crate::state::State;

fn wrapped() -> WrappedKey {
    WrappedKey { key_id: "key-7".into(), bytes: vec![9; 60].into() }
}

fn fill(fixture: &Fixture, state: &State) {
    let dirs = [fixture.dir("a/blockmgr-1"), fixture.dir("a/blockmgr-2")];
    assert!(state.executor(&app("a"), &executor("0"), &dirs, 64, MANAGER, Proof::Proven).wait());
    assert!(state.executor(&app("b"), &executor("7"), &[] as &[&str], -1, "", Proof::Unproven).wait());
    assert!(state.remember_secret(&app("a"), &AppSecret::new("open sesame".into())).wait());
    state.registered(&app("a"), 1, &fixture.merge_dirs(&["a/merge_manager_1"]), Some(&wrapped()));
    state.finalized(&app("a"), 1, ShuffleId(4), ShuffleMergeId(0)).detach();
    state.finalized(&app("a"), 1, ShuffleId(5), ShuffleMergeId(2)).wait();
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

    state.forget(&app("a")).detach();
    assert!(state.forget(&app("nobody")).wait());
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 1);
    assert_eq!(recovered.merges.len(), 1, "its files are there");
    assert!(recovered.merges[0].finalized.is_empty());
    state.over(&app("a"), 1);
    let (state, recovered) = fixture.reopen(&state);
    assert!(recovered.merges.is_empty());
    assert_eq!(state.counters().records, 1);
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
    state.forget(&app("a")).detach();
    register(&state, "a", "2", &fixture.dir("a"));
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 1);
    assert_eq!(recovered.executors[0].executor, executor("2"), "and none of those of before");
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
fn rotating_the_wrapping_key_keeps_the_store() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", "/d");
    state.close();
    LocalKeyFile::rotate(&OnLane::here(), &fixture.path().join("keys")).unwrap();
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
    assert!(state.forget(&app("b")).wait());
    let large = size();
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 10);
    assert!(size() < large / 4, "{large} bytes became {}", size());
}
