//! No lane waits for another, and none waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealed_shuffle_protocol::ids::AppId;

use super::*;

#[tokio::test]
async fn no_more_work_runs_at_once_than_there_are_places() {
    let lane = Lane::new(2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work: Vec<_> = (0..8)
        .map(|_| {
            let (lane, now, most) = (lane.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let work = move |_: &OnLane| {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    most.load(Ordering::SeqCst)
                };
                lane.run(work).await.unwrap()
            })
        })
        .collect();
    for work in work {
        assert!(work.await.unwrap() <= 2);
    }
}

#[tokio::test]
async fn application_that_fills_a_shared_lane_leaves_a_place_for_another() {
    let lane = Lane::shared(8);
    let (a, b) = (Tenant::App(AppId::new("a")), Tenant::App(AppId::new("b")));
    let mut hung = Vec::new();
    for _ in 0..100 {
        let (free, hang) = std::sync::mpsc::channel::<()>();
        let (lane, a) = (lane.clone(), a.clone());
        hung.push((free, tokio::spawn(async move { lane.run_for(&a, move |_| hang.recv()).await })));
    }
    tokio::task::yield_now().await;
    assert_eq!(lane.run_for(&b, |_| 7).await.unwrap(), 7);
    assert_eq!(lane.places().figures().used, 7);
    for (free, work) in hung {
        drop(free);
        assert!(work.await.unwrap().unwrap().is_err());
    }
}

#[tokio::test]
async fn lane_whose_places_hang_holds_up_no_other() {
    let (dead, alive) = (Lane::new(1), Lane::new(1));
    let (free, hang) = std::sync::mpsc::channel::<()>();
    let hangs = tokio::spawn({
        let dead = dead.clone();
        async move { dead.run(move |_| hang.recv()).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(alive.run(|_| 7).await.unwrap(), 7);
    drop(free);
    assert!(hangs.await.unwrap().unwrap().is_err());
}

#[tokio::test]
#[should_panic(expected = "must not wait for a disk")]
async fn thread_of_a_runtime_gets_no_token() {
    OnLane::here();
}

#[test]
fn thread_of_no_runtime_gets_one() {
    assert_eq!(format!("{:?}", OnLane::here()), "OnLane");
}

/// Work that hangs until what is returned with it is dropped.
fn hang() -> (std::sync::mpsc::Sender<()>, impl FnOnce(&OnLane) + Send + 'static) {
    let (free, hang) = std::sync::mpsc::channel::<()>();
    (free, move |_: &OnLane| hang.recv().unwrap_or_default())
}

const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn work_that_hangs_is_given_up_and_its_place_goes_to_others() {
    let lane = Lane::new(1).with_patience(SHORT);
    let (free, hung) = hang();
    assert!(matches!(lane.run(hung).await, Err(LaneError::Silent { waited }) if waited == SHORT));
    assert_eq!(lane.run(|_| 7).await.unwrap(), 7, "its place is free");
    let figures = lane.calls(Instant::now());
    assert_eq!((figures.given_up, figures.running, figures.used_up), (1, 0, true));
    assert!(figures.overdue.is_some());
    // No further one can be given up: it keeps its place, and others are told after their patience.
    let (free_too, hung) = hang();
    assert!(matches!(lane.run(hung).await, Err(LaneError::Silent { .. })));
    assert!(matches!(lane.run(|_| 7).await, Err(LaneError::Silent { .. })));
    drop((free, free_too));
    while lane.calls(Instant::now()) != CallFigures::default() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(lane.run(|_| 7).await.unwrap(), 7);
    assert_eq!(lane.places().used(), 0);
}

#[tokio::test]
async fn work_that_nobody_waits_for_is_given_up_too_unless_it_moves() {
    let lane = Lane::new(2).with_patience(SHORT);
    let (free, hung) = hang();
    lane.send(hung);
    let (stop, go_on) = std::sync::mpsc::channel::<()>();
    lane.send(move |on| {
        while go_on.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            on.progress();
            std::thread::yield_now();
        }
    });
    while lane.calls(Instant::now()).longest <= SHORT || lane.calls(Instant::now()).running < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lane.give_up_overdue(Instant::now());
    assert_eq!(lane.calls(Instant::now()).given_up, 1);
    drop((free, stop));
}

#[tokio::test]
async fn lane_that_is_shut_tells_everybody_at_once() {
    let lane = Lane::new(1);
    let (free, hung) = hang();
    let hangs = tokio::spawn({
        let lane = lane.clone();
        async move { lane.run(hung).await }
    });
    while lane.calls(Instant::now()).running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lane.shut("it is gone");
    assert_eq!(hangs.await.unwrap().unwrap_err().to_string(), "it is gone");
    assert_eq!(lane.run(|_| 7).await.unwrap_err().to_string(), "it is gone");
    lane.open();
    assert_eq!(lane.run(|_| 7).await.unwrap(), 7, "the place of what hangs was given up");
    drop(free);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_one_lane_waits_for_another_no_longer_than_it_says() {
    let (one, other) = (Lane::new(1), Lane::new(1));
    let (free, hung) = hang();
    other.send(hung);
    while other.calls(Instant::now()).running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let of_one = one.clone();
    let asked = one.run(move |on| {
        assert!(on.is_of(&of_one));
        let at_once = of_one.ask(on, SHORT, |_| std::thread::current().id()).unwrap();
        (at_once == std::thread::current().id(), other.ask(on, SHORT, |_| ()))
    });
    let (at_once, waited) = asked.await.unwrap();
    assert!(at_once && matches!(waited, Err(LaneError::Silent { .. })), "{waited:?}");
    drop(free);
}

#[test]
fn errors_of_the_device_count_until_a_byte_moves() {
    let lane = Lane::new(1);
    for errno in [Errno::IO, Errno::NOENT, Errno::UCLEAN] {
        lane.failed(errno);
    }
    assert_eq!(lane.trouble().device, 2);
    lane.moved_bytes();
    assert_eq!(lane.trouble().device, 0);
    lane.failed(Errno::DQUOT);
    lane.failed(Errno::ROFS);
    assert!(lane.trouble().no_space.is_some() && lane.trouble().read_only.is_some());
}

/// Waits when it is dropped, until it may end; says where it was dropped.
struct Closing {
    may: std::sync::mpsc::Receiver<()>,
    dropped: std::sync::mpsc::Sender<std::thread::ThreadId>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        // It ends as well when nobody can say so any more.
        self.may.recv().ok();
        self.dropped.send(std::thread::current().id()).ok();
    }
}

/// One of a lane, with the means to let it end, and to hear of it.
fn closing(
    lane: &Lane,
) -> (Resident<Closing>, std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<std::thread::ThreadId>) {
    let (let_end, may) = std::sync::mpsc::channel();
    let (dropped, heard) = std::sync::mpsc::channel();
    (Resident::new(Closing { may, dropped }, lane.clone()), let_end, heard)
}

#[tokio::test]
async fn what_is_of_a_lane_is_dropped_there_and_nobody_waits_for_it() {
    let here = std::thread::current().id();
    let (lane, other) = (Lane::new(2), Lane::new(2));
    let (first, let_first_end, first_dropped) = closing(&lane);
    let (second, let_second_end, second_dropped) = closing(&lane);
    // Were it dropped here, this would never end.
    drop(first);
    // Nor does another lane wait for it.
    other.run(move |_| drop(second)).await.unwrap();
    assert!(first_dropped.try_recv().is_err() && second_dropped.try_recv().is_err());
    // One thread at a time: a disk whose closes hang keeps its other places.
    tokio::task::yield_now().await;
    assert_eq!(lane.run(|_| 7).await.unwrap(), 7);
    assert_eq!(lane.leaving(), 1);
    let_first_end.send(()).unwrap();
    let_second_end.send(()).unwrap();
    let heard = tokio::task::spawn_blocking(move || (first_dropped.recv(), second_dropped.recv()));
    let (first, second) = heard.await.unwrap();
    assert!(first.unwrap() != here && second.unwrap() != here);
}

#[tokio::test]
async fn what_is_dropped_on_its_own_lane_is_dropped_at_once() {
    let lane = Lane::new(1);
    let (resident, let_end, dropped) = closing(&lane);
    let_end.send(()).unwrap();
    let ran = lane.run(move |_| {
        drop(resident);
        (std::thread::current().id(), dropped.try_recv().unwrap())
    });
    let (thread, dropped) = ran.await.unwrap();
    assert_eq!(thread, dropped);
}

#[tokio::test]
async fn lane_that_is_shut_closes_what_it_has() {
    let lane = Lane::new(1);
    let (resident, let_end, dropped) = closing(&lane);
    lane.shut("gone");
    let_end.send(()).unwrap();
    drop(resident);
    tokio::task::spawn_blocking(move || dropped.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_that_hangs_is_a_call_that_does_not_come_back() {
    let lane = Lane::new(2).with_patience(Duration::from_millis(10));
    let (resident, let_end, _dropped) = closing(&lane);
    drop(resident);
    while lane.calls(Instant::now()).overdue.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lane.give_up_overdue(Instant::now());
    assert_eq!(lane.calls(Instant::now()).given_up, 1);
    let_end.send(()).unwrap();
}
