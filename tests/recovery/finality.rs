//! A finalized partition is never replaced, and what was answered is written, whatever becomes of the recovery store: the
//! real binary, with an older store, without one, with a full state disk and with one that hangs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use sealed_shuffle_client::{Merge, MergeStatus};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::mounts::Mount;
use crate::place::{APP, Place, Reached, Served};

/// Nothing takes as long that waits for no disk, also on a busy machine.
const MOST: Duration = Duration::from_secs(15);

async fn push(to: &Reached, merge: Merge, map: i32) -> ReturnCode {
    to.client.push_block(&to.server, merge, block(merge, map, 0, 100)).await.unwrap()
}

async fn finalize(to: &Reached, merge: Merge) -> Vec<MergeStatus> {
    to.client.finalize_shuffle_merge(&to.server, merge).await.unwrap()
}

/// Maps 0 to 30 are merged, and the driver is told.
async fn announced(to: &Reached, merge: Merge) {
    for map in 0..31 {
        assert_eq!(push(to, merge, map).await, ReturnCode::Success);
    }
    let statuses = finalize(to, merge).await;
    assert_eq!(statuses[0].maps.as_roaring(), &RoaringBitmap::from_iter(0..31));
}

/// What was announced is served whole, before and after a push that comes too late.
async fn stays(to: &Reached, merge: Merge) {
    for _ in 0..2 {
        match read(to, partition(merge, 0)).await {
            Read::Whole { maps, .. } => assert_eq!(maps, RoaringBitmap::from_iter(0..31)),
            Read::Refused(texts) => panic!("{texts:?}"),
        }
        assert_eq!(push(to, merge, 31).await, ReturnCode::TooLateBlockPush);
    }
}

fn metric(place: &Place, sample: &str) -> Option<u64> {
    let mut socket = UnixStream::connect(place.state().join("admin.sock")).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    socket.read_to_string(&mut page).ok()?;
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn served(place: &Place, runtime: &Runtime, conf: &[&str]) -> Served {
    let server = place.serve(conf);
    place.hand_over();
    runtime.block_on(place.register(server.reach(), "1")).unwrap();
    server
}

#[test]
fn an_older_copy_of_the_store_replaces_no_finalized_partition() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    served(&place, &runtime, &[]).kill();
    let (store, copy) = (place.state().join("recovery.redb"), place.state().join("copy"));
    fs::copy(&store, &copy).unwrap();
    let server = place.serve(&[]);
    runtime.block_on(announced(&server.reach(), merge(0)));
    server.kill();
    fs::copy(&copy, &store).unwrap();
    let server = place.serve(&[]);
    runtime.block_on(stays(&server.reach(), merge(0)));
    server.kill();
    // It is remembered again.
    let server = place.serve(&[]);
    runtime.block_on(stays(&server.reach(), merge(0)));
    server.stop();
}

#[test]
fn a_registration_after_a_restart_without_the_store_replaces_no_finalized_partition() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let without = ["spark.shuffle.service.db.enabled=false"];
    for (first, then) in [(&without[..], &without[..]), (&[], &without)] {
        let shuffle = i32::from(first.is_empty());
        let server = served(&place, &runtime, first);
        runtime.block_on(announced(&server.reach(), merge(shuffle)));
        server.kill();
        let server = served(&place, &runtime, then);
        runtime.block_on(stays(&server.reach(), merge(shuffle)));
        server.kill();
    }
}

#[test]
fn a_full_state_disk_loses_no_registration_and_announces_no_merge() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let mount = match Mount::small(&place.state(), 16) {
        Ok(mount) => mount,
        Err(why) => return println!("not run: {why}"),
    };
    let server = served(&place, &runtime, &[]);
    let to = server.reach();
    runtime.block_on(announced(&to, merge(0)));
    let filler = mount.fill();
    runtime.block_on(async {
        let mut pushed = 0;
        // The store has some room of its own.
        for shuffle in 1..400 {
            let executor = format!("on-the-full-disk-{shuffle}");
            let began = Instant::now();
            place.register(to.clone(), &executor).await.unwrap();
            assert!(began.elapsed() < MOST, "{:?}", began.elapsed());
            if metric(&place, "sealed_shuffle_state_unwritten").is_none_or(|unwritten| unwritten == 0) {
                continue;
            }
            assert_eq!(push(&to, merge(shuffle), 7).await, ReturnCode::Success);
            assert!(finalize(&to, merge(shuffle)).await.is_empty(), "its end is not on the disk");
            pushed += 1;
            if pushed == 3 {
                return;
            }
        }
        panic!("the disk is not full");
    });
    let unwritten = metric(&place, "sealed_shuffle_state_unwritten").unwrap();
    assert!(unwritten >= 4, "{unwritten}");
    fs::remove_file(filler).unwrap();
    eventually("all is written", || metric(&place, "sealed_shuffle_state_unwritten") == Some(0));
    assert_eq!(metric(&place, "sealed_shuffle_state_changes_lost_total"), Some(0));
    server.kill();
    let server = place.serve(&[]);
    runtime.block_on(async {
        stays(&server.reach(), merge(0)).await;
        server.reach().plain("on-the-full-disk-1").await.unwrap();
        server.reach().plain("on-the-full-disk-3").await.unwrap();
    });
    let log = fs::read_to_string(place.log()).unwrap();
    let count = |words| log.matches(words).count();
    let begins = count("the recovery store cannot be written");
    assert!((1..5).contains(&begins), "one line each time: {log}");
    assert_eq!(count("the recovery store is written again"), begins, "{log}");
    server.stop();
}

#[test]
fn a_state_disk_that_hangs_holds_up_no_push_no_read_and_no_registration_for_long() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    // It ends after the disk is thawed, whatever fails before.
    let server;
    let mut mount = match Mount::freezable(&place.state()) {
        Ok(mount) => mount,
        Err(why) => return println!("not run: {why}"),
    };
    server = served(&place, &runtime, &[]);
    let to = server.reach();
    runtime.block_on(announced(&to, merge(0)));
    assert_eq!(runtime.block_on(push(&to, merge(1), 7)), ReturnCode::Success);
    mount.freeze();
    runtime.block_on(async {
        let began = Instant::now();
        let registering: Vec<_> =
            (0..20).map(|n| tokio::spawn(place.register(server.reach(), &format!("hung-{n}")))).collect();
        let (finalizing, other) = (server.reach(), server.reach());
        let finalizing = tokio::spawn(async move { finalize(&finalizing, merge(1)).await });
        // All that needs no new record goes on.
        let quick = Instant::now();
        for map in 0..20 {
            assert_eq!(push(&other, merge(2), map).await, ReturnCode::Success);
        }
        stays(&other, merge(0)).await;
        other.plain("1").await.unwrap();
        assert!(quick.elapsed() < MOST, "{:?}", quick.elapsed());
        for registered in registering {
            registered.await.unwrap().unwrap();
        }
        assert!(began.elapsed() < MOST, "{:?}", began.elapsed());
        assert!(finalizing.await.unwrap().is_empty(), "it is reported as not merged");
        assert_eq!(push(&to, merge(1), 8).await, ReturnCode::TooLateBlockPush);
    });
    assert!(metric(&place, "sealed_shuffle_state_unwritten").unwrap() >= 20);
    mount.thaw();
    eventually("all is written", || metric(&place, "sealed_shuffle_state_unwritten") == Some(0));
    server.kill();
    let server = place.serve(&[]);
    runtime.block_on(async {
        stays(&server.reach(), merge(0)).await;
        server.reach().plain("hung-19").await.unwrap();
    });
    server.stop();
}

#[test]
fn files_of_an_application_that_is_over_are_deleted_on_each_disk_and_after_a_restart() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let dir = place.merge_dir(APP);
    // One of its sub-directories lies on a disk that becomes read-only; all are one root to the server.
    let bad = dir.join("00");
    let mount = match Mount::small(&bad, 1) {
        Ok(mount) => mount,
        Err(why) => return println!("not run: {why}"),
    };
    let files = || {
        let subs = fs::read_dir(&dir).unwrap().map(|sub| sub.unwrap().path());
        subs.map(|sub| fs::read_dir(sub).unwrap().count()).sum::<usize>()
    };
    let server = served(&place, &runtime, &[]);
    let to = server.reach();
    runtime.block_on(async {
        for reduce in 0..8 {
            let block = block(merge(0), 1, reduce, 100);
            assert_eq!(to.client.push_block(&to.server, merge(0), block).await.unwrap(), ReturnCode::Success);
        }
        assert_eq!(finalize(&to, merge(0)).await.len(), 8);
    });
    let on_the_bad_disk = fs::read_dir(&bad).unwrap().count();
    assert!(on_the_bad_disk > 0 && files() > on_the_bad_disk);
    mount.read_only(true);
    place.end(APP);
    eventually("all others are deleted", || files() == on_the_bad_disk);
    assert_eq!(metric(&place, "sealed_shuffle_merge_deletions_waiting"), Some(1));
    server.kill();
    let server = place.serve(&[]);
    eventually("it is tried again", || metric(&place, "sealed_shuffle_merge_deletions_waiting") == Some(1));
    assert_eq!(files(), on_the_bad_disk);
    mount.read_only(false);
    eventually("all are deleted", || files() == 0);
    eventually("nothing is left to do", || {
        metric(&place, "sealed_shuffle_merge_deletions_waiting") == Some(0)
    });
    server.stop();
}
