use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_transport::seal::{Phase, Watcher as _};

use super::counters::TraceCounters;
use super::notes::{MOST_STRETCHES, Notes, Outcome};
use super::queue::{BATCH, MOST, MOST_OPEN, Queue};
use super::trace::Trace;

fn begin(queue: &Arc<Queue>) -> Option<Arc<Trace>> {
    Trace::begin(queue, "test", (Ipv4Addr::LOCALHOST, 1).into(), Channel::PLAINTEXT)
}

/// What is noted of a request to which `happens` this.
fn notes(happens: impl FnOnce(&Trace)) -> Notes {
    let queue = Arc::new(Queue::new(TraceCounters::default()));
    let trace = begin(&queue).unwrap();
    happens(&trace);
    drop(trace);
    queue.batch().remove(0)
}

#[test]
fn what_came_of_a_request_is_told_by_what_happened_to_it() {
    let outcome = |happens: fn(&Trace)| notes(happens).outcome();
    assert_eq!(outcome(|trace| trace.answers()), Outcome::Done);
    assert_eq!(outcome(|_| {}), Outcome::Cut, "nobody answered");
    assert_eq!(outcome(|trace| trace.fails("x")), Outcome::Failed);
    let opened = |trace: &Trace| {
        trace.opens(2);
        trace.answers();
        trace.hands_out(1, 10);
    };
    let (mut sent, mut all) = (notes(opened), notes(opened));
    assert_eq!(sent.outcome(), Outcome::Cut, "its bytes are not out");
    sent.sent = 10;
    assert_eq!(sent.outcome(), Outcome::Left, "one chunk was never asked for");
    (all.sent, all.chunks_asked) = (10, 2);
    assert_eq!(all.outcome(), Outcome::Done);
}

#[test]
fn longest_stretches_are_kept_in_their_order_and_all_count() {
    let began = Instant::now() + Duration::from_secs(1);
    let noted = notes(|trace| {
        for n in 0..3 * MOST_STRETCHES as u32 {
            // Every third one is long.
            let time = Duration::from_millis(if n % 3 == 2 { 10 } else { 1 });
            trace.was_in(Phase::Disk, began + n * Duration::from_millis(10), time);
        }
    });
    assert_eq!((noted.stretches.len(), noted.left_out), (MOST_STRETCHES, 2 * MOST_STRETCHES as u64));
    assert!(noted.stretches.iter().all(|stretch| stretch.time.as_millis() == 10), "{noted:#?}");
    assert!(noted.stretches.is_sorted_by_key(|stretch| stretch.after));
    assert_eq!(noted.times[Phase::Disk as usize].as_millis(), 12 * MOST_STRETCHES as u128);
}

#[test]
fn segment_that_was_wanted_before_the_request_came_counts_from_there() {
    let noted = notes(|trace| {
        let before = Instant::now() - Duration::from_secs(3600);
        trace.was_in(Phase::Queue, before, Duration::from_secs(10));
        trace.was_in(Phase::Queue, before, Duration::from_secs(3700));
    });
    assert_eq!(noted.stretches.len(), 1, "the first one was over: {noted:#?}");
    assert!(noted.stretches[0].after.is_zero());
    let time = noted.times[Phase::Queue as usize];
    assert!((99..=100).contains(&time.as_secs()), "{time:?}");
}

#[test]
fn words_of_a_peer_are_harmless_and_short() {
    let noted = notes(|trace| {
        trace.about(&sealed_shuffle_protocol::ids::AppId::new(format!("a\n{}", "é".repeat(10_000))));
        trace.fails("first\u{1b}[2J");
        trace.fails("second");
    });
    assert!(noted.app.is_some_and(|app| app.starts_with("a\\n") && app.chars().count() < 300));
    assert_eq!(noted.failure.as_deref(), Some("first\\u{1b}[2J"));
}

#[test]
fn traces_that_are_open_or_wait_have_a_bound_and_the_rest_is_counted() {
    let queue = Arc::new(Queue::new(TraceCounters::default()));
    let mut open: Vec<_> = (0..MOST_OPEN).map(|_| begin(&queue).unwrap()).collect();
    assert!(begin(&queue).is_none());
    assert_eq!(queue.counters().lost(), 1);
    open.clear();
    assert_eq!(queue.counters().lost(), 1 + (MOST_OPEN - MOST) as u64);
    assert!(begin(&queue).is_some(), "there is room again");
    let lost = queue.counters().lost();
    let batch = queue.batch();
    assert_eq!(batch.len(), BATCH);
    (0..BATCH / 2).for_each(|_| drop(begin(&queue)));
    queue.gives_back(batch);
    assert_eq!(queue.counters().lost(), lost + BATCH as u64 / 2, "the oldest, for which there is no room");
}
