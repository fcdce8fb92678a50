//! A disk that is full, or that does not answer: nobody waits for it, and nothing that is true is lost.

use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::fixture::{Fixture, MANAGER, app, executor, register};
use crate::disk::Proof;
use crate::merge::Journal as _;
use crate::state::State;
use crate::state::writer::GateState;

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn finalize(state: &State) -> crate::receipt::WriteReceipt {
    state.finalized(&app("a"), 1, ShuffleId(0), ShuffleMergeId(0))
}

#[test]
fn registrations_of_a_full_disk_are_written_as_soon_as_there_is_room() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    state.gate.set(GateState::Full);
    for n in 0..403 {
        assert!(!register(&state, "a", &n.to_string(), "/d"), "it is answered, and not on the disk");
    }
    assert!(!finalize(&state).wait(), "nobody is told that it is finalized");
    assert!(!state.remember_secret(&app("a"), &AppSecret::new("s".to_owned())).wait());
    let counters = state.counters();
    assert_eq!((counters.unwritten, counters.lost), (404, 1), "whoever brings a secret brings it again");
    state.forget_executor(&app("a"), &executor("402")).detach();
    state.gate.set(GateState::Open);
    eventually("they are written", || state.counters().unwritten == 0);
    assert!(register(&state, "a", "later", "/d"));
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!((recovered.executors.len(), recovered.secrets.len()), (403, 0));
}

#[test]
fn nobody_waits_for_a_disk_that_does_not_answer() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    state.gate.set(GateState::Hangs);
    // More than share a commit.
    let receipts: Vec<_> = (0..3000)
        .map(|n| state.executor(&app("a"), &executor(&n.to_string()), &["/d"], 64, MANAGER, Proof::Proven))
        .collect();
    assert!(!finalize(&state).wait_for(Duration::from_millis(50)));
    drop(receipts);
    state.is_late();
    state.gate.set(GateState::Open);
    eventually("all is written", || state.counters().written == 3001);
    assert_eq!(state.counters().unwritten, 0);
    let (_state, recovered) = fixture.reopen(&state);
    assert_eq!(recovered.executors.len(), 3000);
}
