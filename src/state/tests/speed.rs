//! How fast it is, printed and not judged: `cargo test state::tests::speed -- --nocapture`.

use std::time::Instant;

use super::fixture::{Fixture, MANAGER, app, executor};
use crate::disk::Proof;

const EXECUTORS: usize = 10_000;

#[test]
fn ten_thousand_executors_are_found_again() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let began = Instant::now();
    let dirs: Vec<String> = (0..4).map(|n| format!("/data/disk-{n}/blockmgr-0f3c{n}")).collect();
    let written: Vec<_> = (0..EXECUTORS)
        .map(|n| {
            let id = executor(&n.to_string());
            state.executor(&app(&format!("app-{}", n % 50)), &id, &dirs, 64, MANAGER, Proof::Proven)
        })
        .collect();
    assert!(written.into_iter().all(|answer| answer.wait()));
    let (took, commits) = (began.elapsed(), state.counters().commits);
    println!("{EXECUTORS} executors at once: {took:?}, {commits} commits");

    let began = Instant::now();
    for n in 0..200 {
        let id = executor(&n.to_string());
        assert!(state.executor(&app("alone"), &id, &dirs, 64, MANAGER, Proof::Proven).wait());
    }
    println!("one after the other: {:?} each", began.elapsed() / 200);
    state.close();
    let size = std::fs::metadata(fixture.file()).unwrap().len();
    let began = Instant::now();
    let (_state, recovered) = fixture.open();
    println!("opened {size} bytes in {:?}", began.elapsed());
    assert_eq!(recovered.executors.len(), EXECUTORS + 200);
}
