//! What was known before a restart is judged anew.

use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;

use super::super::{ApplicationLimits, Applications, Restoration};
use crate::disk::{BlockStore, Proof};
use crate::keys::{Secrets, Source};
use crate::merge::{Journal as _, MemoryStore, MergeSettings, Merger};
use crate::state::tests::fixture::{Fixture, MANAGER, app, executor, register};
use crate::state::{Recovery, State};
use crate::telemetry::Metrics;

fn no_secrets() -> Secrets {
    Secrets::from_source(Source::None)
}

/// Takes up what was recovered.
fn restore(
    state: &Arc<State>,
    recovered: Recovery,
    (store, merger, secrets): (&Arc<BlockStore>, Option<&Arc<Merger>>, Secrets),
) -> Restoration {
    let (limits, metrics) = (ApplicationLimits::default(), Arc::new(Metrics::new()));
    let state = Some(Arc::clone(state));
    let home = Applications::new(limits, secrets, Arc::clone(store), merger.cloned(), state, metrics);
    home.restore(&OnLane::here(), recovered)
}

#[test]
fn only_the_newest_attempt_is_taken_up_and_the_others_are_removed() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", &fixture.dir("a/blockmgr-1"));
    for attempt in [1, 3, 2] {
        state.registered(&app("a"), attempt, &fixture.merge_dirs(&["a/merge_manager"]), None);
        state.finalized(&app("a"), attempt, ShuffleId(0), ShuffleMergeId(attempt)).detach();
    }
    let (state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.merges.len(), 1);
    assert_eq!(recovered.merges[0].finalized, [(ShuffleId(0), ShuffleMergeId(3))]);
    let merger = Merger::new(MergeSettings::default(), Arc::new(MemoryStore::default()));
    let merger = Arc::new(merger.with_journal(Arc::clone(&state) as _));
    let store = Arc::new(fixture.store());
    assert_eq!(restore(&state, recovered, (&store, Some(&merger), no_secrets())).merges, 1);
    assert_eq!(merger.local_dirs(&app("a")).unwrap(), [fixture.dir("a/merge_manager")]);
    drop(fixture.reopen(&state));
    assert_eq!(fixture.open().0.counters().records, 3, "an executor, an attempt, a merge");
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
    let store = Arc::new(fixture.store());
    let journal = Arc::clone(&state);
    let merger = Merger::new(MergeSettings::default(), Arc::new(MemoryStore::default()));
    let merger = Arc::new(merger.with_journal(journal));
    let restored = restore(&state, recovered, (&store, Some(&merger), no_secrets()));
    assert_eq!((restored.executors, restored.dropped, restored.merges), (1, 2, 0));
    assert_eq!(store.executors().proof(&app("stays")), Some(Proof::Proven));
    assert_eq!(store.executors().app_count(), 1);
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.merges.len()), (1, 0), "they are not asked about again");
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
    let store = Arc::new(fixture.store());
    let restored = restore(&state, recovered, (&store, None, no_secrets()));
    assert_eq!((restored.executors, restored.dropped), (1, 2));
    assert_eq!(store.executors().proof(&app("a")), Some(Proof::Proven));
    assert_eq!(fixture.reopen(&state).1.executors.len(), 1);
}

#[test]
fn directories_belong_to_their_application_after_a_restart_too() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let dir = fixture.dir("a/blockmgr-1");
    // The name of the thief comes first in the store.
    for (id, proof) in [("A-thief", Proof::Unproven), ("owner", Proof::Proven)] {
        assert!(state.executor(&app(id), &executor("0"), &[&dir], 64, MANAGER, proof).wait());
    }
    state.registered(&app("owner"), 1, &fixture.merge_dirs(&["m/merge_manager"]), None);
    let (state, recovered) = fixture.reopen(&state);
    let store = Arc::new(fixture.store());
    let merger = Arc::new(Merger::new(MergeSettings::default(), Arc::new(MemoryStore::default())));
    let restored = restore(&state, recovered, (&store, Some(&merger), no_secrets()));
    assert_eq!((restored.executors, restored.dropped, restored.merges), (1, 1, 1));
    assert_eq!(store.executors().proof(&app("owner")), Some(Proof::Proven));
    let taking = |dir: &str| {
        let dirs = [fixture.dir(dir)];
        store.register(&OnLane::here(), &app("b"), &executor("0"), &dirs, 64, MANAGER, Proof::Proven)
    };
    assert!(taking("a/blockmgr-1/00").is_err());
    assert!(taking("m/merge_manager").is_err());
    taking("b/blockmgr-1").unwrap();
}

#[test]
fn secrets_are_taken_up_only_where_secrets_are_handed_over() {
    let fixture = Fixture::new();
    let store = Arc::new(fixture.store());
    let (state, _) = fixture.open();
    assert!(state.remember_secret(&app("application_1_1"), &AppSecret::new("open sesame".to_owned())).wait());
    state.close();

    let taking = || Secrets::handed_over_or(Source::None, Duration::ZERO);
    for (secrets, known) in [(taking(), 1), (no_secrets(), 0), (taking(), 0)] {
        let (state, recovered) = fixture.open();
        let restored = restore(&state, recovered, (&store, None, secrets.clone()));
        assert_eq!((restored.secrets, secrets.handed_over()), (known, known));
        state.close();
    }
}
