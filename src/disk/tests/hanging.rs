//! Calls of a disk that hang hold nothing that requests take.

use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use sealed_shuffle_faulty_disk::{Fault, FaultyDisk, Operation};
use sealed_shuffle_protocol::ids::{MapId, ReduceId};

use super::fixture::{Fixture, SHUFFLE, app, content, executor, on};
use crate::disk::{DiskLimits, Lookup};

/// Nothing here takes so long, unless it waits for the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// `None` where the machine cannot; it says why.
fn on_faulty_disk() -> Option<(FaultyDisk, Fixture)> {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    let (backing, root) = (base.join("backing"), base.join("root"));
    [&backing, &root].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    match FaultyDisk::mount(&backing, &root) {
        Ok(disk) => Some((disk, Fixture::beneath(root, temp, DiskLimits::default(), None))),
        Err(reason) => {
            println!("SKIPPED: {reason}");
            let required =
                std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
            assert!(!required, "{reason}");
            None
        }
    }
}

/// Runs `requests` on a thread of their own while the disk hangs; whether they ended by themselves.
fn ends(disk: &FaultyDisk, requests: impl FnOnce() + Send) -> bool {
    std::thread::scope(|scope| {
        let (done, heard) = channel();
        scope.spawn(move || {
            requests();
            done.send(()).ok();
        });
        let ended = heard.recv_timeout(PATIENCE).is_ok();
        // Whoever hangs goes on, so that the test ends.
        disk.heal();
        ended
    })
}

/// A sweep asks each open file whether it still has a name; requests find open files meanwhile.
#[test]
fn requests_do_not_wait_for_a_sweep_that_hangs() {
    let Some((disk, fixture)) = on_faulty_disk() else { return };
    fixture.write_example();
    let output = fixture.resolve(3).unwrap();
    assert_eq!(content(&output.block(&on(), ReduceId(0)).unwrap()), b"AAAA");
    disk.set(Operation::Attributes, Fault::Hangs);
    let store = &fixture.store;
    std::thread::scope(|scope| {
        scope.spawn(|| store.close_files(&on(), 0, Instant::now()));
        let deadline = Instant::now() + PATIENCE;
        while disk.held() == 0 {
            assert!(Instant::now() < deadline, "the sweep asks nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = disk.met(Operation::Attributes);
        let ended = ends(&disk, || {
            let found = store.resolve_now(&app(), &executor(), SHUFFLE, MapId(3));
            assert!(matches!(found, Ok(Lookup::Waits(_) | Lookup::Found(_))), "{found:?}");
            assert_eq!(store.counters().files_cached, 1);
            assert_eq!(disk.met(Operation::Attributes), before, "a request asks the disk");
        });
        assert!(ended, "a request waits for the sweep");
    });
}

/// What serves connections looks at open files.
#[test]
fn looking_at_an_open_file_asks_no_disk() {
    let Some((disk, fixture)) = on_faulty_disk() else { return };
    fixture.write_example();
    let (region, path) =
        (fixture.resolve(3).unwrap().block(&on(), ReduceId(2)).unwrap(), fixture.data_path(3));
    assert_eq!(content(&region), b"CCCCC");
    disk.set(Operation::Attributes, Fault::Hangs);
    let ended = ends(&disk, || {
        let found = fixture.store.resolve_now(&app(), &executor(), SHUFFLE, MapId(3));
        assert!(found.is_ok(), "{found:?}");
        region.file().unwrap().has_its_size();
    });
    assert!(ended, "it waits for the disk");
    // The control: the fault is met by whoever looks.
    disk.set(Operation::Attributes, Fault::Fails(5));
    assert!(fs::metadata(path).is_err());
    assert!(disk.met(Operation::Attributes) > 0);
}

/// Whoever has a file last closes it; that may be what serves connections.
#[test]
fn dropping_an_open_file_waits_for_no_disk() {
    let Some((disk, fixture)) = on_faulty_disk() else { return };
    fixture.write_example();
    let region = fixture.resolve(3).unwrap().block(&on(), ReduceId(2)).unwrap();
    fixture.store.forget(&app());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    disk.set(Operation::Close, Fault::Hangs);
    let ended = ends(&disk, || {
        runtime.block_on(async { tokio::spawn(async { drop(region) }).await.unwrap() });
        // The control: it is closed all the same, and that hangs.
        let deadline = Instant::now() + PATIENCE;
        while disk.met(Operation::Close) == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(ended, "it waits for the disk");
    assert_eq!(disk.met(Operation::Close), 1, "it was never closed");
}
