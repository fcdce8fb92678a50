//! Whose turn it is, without sockets.

use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;

use super::*;

const SEGMENT: u64 = 256 << 10;

type Asked<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

fn app(name: &str) -> Tenant {
    Tenant::App(AppId::new(name))
}

fn poll<T>(wait: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Poll<T> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A connection of `line` that asks for a turn.
fn ask(line: &Line) -> Asked<'_> {
    Box::pin(line.turn())
}

fn at_once(line: &Line) -> Turn {
    match poll(&mut ask(line)) {
        Poll::Ready(turn) => turn,
        Poll::Pending => panic!("it waits"),
    }
}

fn waits(line: &Line) -> bool {
    poll(&mut ask(line)).is_pending()
}

fn bell_of(line: &Line) -> Arc<Doorbell> {
    Arc::new(Doorbell::new(line.clone()))
}

fn rings(bell: &Arc<Doorbell>) {
    bell.wakes(Waker::noop());
    bell.arm();
    bell.wake_by_ref();
}

#[test]
fn a_turn_is_free_where_nobody_else_wants_one() {
    let turns = Turns::new(2);
    let a = turns.line(&app("a"));
    for _ in 0..100 {
        let both = [at_once(&a), at_once(&a)];
        assert!(waits(&a));
        a.sent(SEGMENT);
        drop(both);
    }
    assert_eq!(turns.figures(), PotFigures { total: 2, ..PotFigures::default() });
}

#[test]
fn one_connection_sends_as_much_as_many_of_another_tenant() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    let first = at_once(&a);
    let mut many: VecDeque<Asked<'_>> = (0..32).map(|_| ask(&a)).collect();
    let mut one = ask(&b);
    for wait in many.iter_mut().chain([&mut one]) {
        assert!(poll(wait).is_pending());
    }
    a.sent(SEGMENT);
    drop(first);
    let mut sent = [0_u32; 2];
    for _ in 0..100 {
        if let Poll::Ready(turn) = poll(&mut one) {
            b.sent(SEGMENT);
            sent[1] += 1;
            drop(turn);
            one = ask(&b);
            assert!(poll(&mut one).is_pending());
            continue;
        }
        let turns = many.iter_mut().enumerate().find_map(|(at, wait)| match poll(wait) {
            Poll::Ready(turn) => Some((at, turn)),
            Poll::Pending => None,
        });
        let (at, turn) = turns.unwrap();
        a.sent(SEGMENT);
        sent[0] += 1;
        drop(turn);
        drop(many.remove(at));
        let mut again = ask(&a);
        assert!(poll(&mut again).is_pending());
        many.push_back(again);
    }
    assert!(sent[0].abs_diff(sent[1]) <= 2, "{sent:?}");
}

#[test]
fn one_that_was_woken_goes_before_those_that_have_sent_more() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    let bell = bell_of(&b);
    drop(at_once(&a));
    a.sent(SEGMENT);
    rings(&bell);
    let mut held_up = ask(&a);
    assert!(poll(&mut held_up).is_pending(), "a turn is free, and the other one will want it");
    bell.answer();
    assert!(poll(&mut held_up).is_ready(), "it was polled, and wanted none");

    a.sent(SEGMENT);
    rings(&bell);
    let mut held_up = ask(&a);
    assert!(poll(&mut held_up).is_pending());
    // It is polled and takes its turn before the line is served by its end.
    let turn = {
        let mut asks = ask(&b);
        let Poll::Ready(turn) = poll(&mut asks) else { panic!("it waits") };
        turn
    };
    bell.answer();
    assert!(poll(&mut held_up).is_pending());
    b.sent(SEGMENT);
    drop(turn);
    assert!(poll(&mut held_up).is_ready());
}

#[test]
fn whoever_is_woken_holds_up_nobody_that_has_sent_less_nor_a_second_processor() {
    let turns = Turns::new(2);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    let bell = bell_of(&b);
    drop([at_once(&a), at_once(&b)]);
    b.sent(SEGMENT);
    rings(&bell);
    drop([at_once(&a), at_once(&a)]);
    a.sent(10 * SEGMENT);
    let turn = at_once(&a);
    assert!(waits(&a), "the other turn is for the one that was woken");
    bell.answer();
    drop(turn);
}

#[test]
fn whoever_is_woken_again_and_again_and_sends_nothing_comes_after_others() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    let bells: Vec<_> = (0..100).map(|_| bell_of(&b)).collect();
    drop(at_once(&a));
    a.sent(SEGMENT);
    for bell in &bells {
        rings(bell);
    }
    let mut held_up = ask(&a);
    let mut polled = 0;
    // As many as there are, and again and again.
    while poll(&mut held_up).is_pending() {
        bells[polled % 100].answer();
        rings(&bells[polled % 100]);
        polled += 1;
        assert!(polled < 1000, "nobody else is served");
    }
    assert_eq!(polled as u64, SEGMENT / RING);
}

#[test]
fn silence_earns_nothing() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    for _ in 0..1000 {
        drop(at_once(&a));
        a.sent(SEGMENT);
    }
    // The other one begins where this one is, and not at nothing.
    drop(at_once(&b));
    b.sent(2 * SEGMENT);
    let first = at_once(&a);
    let (mut mine, mut others) = (ask(&a), ask(&b));
    assert!(poll(&mut others).is_pending() && poll(&mut mine).is_pending());
    drop(first);
    assert!(poll(&mut mine).is_ready());
}

#[test]
fn a_wait_that_is_dropped_takes_nothing() {
    let turns = Turns::new(1);
    let a = turns.line(&app("a"));
    let first = at_once(&a);
    let mut second = ask(&a);
    let mut third = ask(&a);
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    // Served before it looks, and dropped.
    drop(first);
    drop(second);
    assert!(poll(&mut third).is_ready());
    drop(third);
    assert_eq!(turns.figures(), PotFigures { total: 1, ..PotFigures::default() });
}

#[test]
fn a_connection_that_is_gone_is_not_waited_for() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    let bell = bell_of(&b);
    drop(at_once(&a));
    a.sent(SEGMENT);
    rings(&bell);
    let mut held_up = ask(&a);
    assert!(poll(&mut held_up).is_pending());
    bell.moves_to(a.clone());
    assert!(poll(&mut held_up).is_ready());
    drop((held_up, bell, b));
    let state = turns.inner.state();
    assert_eq!(state.lines.len(), 1, "a line lasts as long as somebody has it");
}

#[test]
fn a_bell_that_nobody_waits_at_wakes_and_counts_nothing() {
    let turns = Turns::new(1);
    let (a, b) = (turns.line(&app("a")), turns.line(&app("b")));
    drop(at_once(&a));
    a.sent(SEGMENT);
    let bell = bell_of(&b);
    bell.wake_by_ref();
    rings(&bell);
    bell.wake_by_ref();
    bell.answer();
    bell.wake_by_ref();
    drop(at_once(&a));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_socket_that_is_ready_before_the_bell_is_armed_wakes_its_connection() {
    let turns = Turns::new(1);
    let bell = bell_of(&turns.line(&app("a")));
    let task = Arc::new(Task::default());
    bell.wakes(&Waker::from(Arc::clone(&task)));
    bell.wake_by_ref();
    bell.arm();
    assert_eq!(task.0.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_application_is_sent_no_more_than_its_quota_over_all_its_connections() {
    const RATE: u64 = 4 << 20;
    let turns = Turns::with_quota(2, Some(RATE));
    let (a, b, own) = (turns.line(&app("a")), turns.line(&app("b")), turns.line(&Tenant::Own));
    let began = tokio::time::Instant::now();
    let sends = |line: Line, times: u64| async move {
        for _ in 0..times {
            let _passage = line.pass().await;
            drop(line.turn().await);
            line.sent(SEGMENT);
        }
        tokio::time::Instant::now()
    };
    let own_sent = sends(own, 1000).await;
    assert_eq!(own_sent, began, "it has none");
    let connections: Vec<_> = (0..8).map(|_| tokio::spawn(sends(a.clone(), 16))).collect();
    let other = tokio::spawn(sends(b, 16));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let figures = turns.figures();
    assert_eq!((figures.quota, figures.at_quota), (Some(RATE), 2));
    assert!(figures.reached_quota > 0);
    let mut last = began;
    for connection in connections {
        last = last.max(connection.await.unwrap());
    }
    // 32 MiB at 4 MiB a second; the first segment goes at once.
    let took = (last - began).as_secs_f64();
    assert!((7.8..8.1).contains(&took), "{took}");
    let took = (other.await.unwrap() - began).as_secs_f64();
    assert!(took < 1.1, "{took}");
}
