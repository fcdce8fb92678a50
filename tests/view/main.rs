//! The view of sealed merged data, really mounted: what executors on the host read in it.
//!
//! A machine that mounts no FUSE, or where the test is not root, skips these tests, and says so.
#![allow(clippy::unwrap_used)]

mod host;
#[path = "../running/mod.rs"]
mod running;
#[path = "../serving/mod.rs"]
mod serving;
#[allow(dead_code)] // the tests of merging use the rest
#[path = "../merging/support.rs"]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle::{ByteCount, MergeConfig};
use sealed_shuffle_faulty_disk::{Fault, FaultyDisk, Operation};

use self::host::{Host, errno, is_skipped, mounts_below, path_in, read_as};
use self::running::{Running, eventually};

/// Three chunks and a bit.
const LENS: [usize; 5] = [60_000, 150_000, 90_000, 200_000, 5];

#[test]
fn executors_read_what_spark_would_have_written_and_the_disk_has_nothing_in_clear() {
    if is_skipped() {
        return;
    }
    let (mut sealed, mut plain) = (Host::new("sealed"), Host::new("plain"));
    let [ours, control] = [&mut sealed, &mut plain].map(|host| host.start(&[]));
    let all = sealed.merge(&ours, 0, &LENS);
    assert_eq!(plain.merge(&control, 0, &LENS), all);
    let (seen, lie) = (Host::told(&ours).unwrap(), Host::told(&control).unwrap());
    assert_eq!(seen.len(), 1, "{seen:?}");
    for kind in ["data", "index", "meta"] {
        let [view, file] = [&seen, &lie].map(|dirs| path_in(dirs, 0, kind));
        let expected = fs::read(&file).unwrap();
        assert_eq!(view.metadata().unwrap().size(), expected.len() as u64, "{kind}");
        assert!(fs::read(&view).unwrap() == expected, "{kind}");
    }
    assert!(fs::read(path_in(&seen, 0, "data")).unwrap() == all);
    assert!(!sealed.has_canary(), "merged data lies in clear on the disk");
    assert!(plain.has_canary(), "the control finds nothing either");
    let page = ours.admin_page("/metrics");
    assert!(page.contains("sealed_shuffle_merge_view_opened_total 4\n"), "{page}");
    // The view is for reading.
    let refused = File::options().write(true).open(path_in(&seen, 0, "data"));
    assert_eq!(errno(refused), Some(30), "EROFS");
}

#[test]
fn merged_data_is_read_by_the_user_of_its_application_and_by_no_other() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new("sealed");
    host.give_to(4711);
    let server = host.start(&[]);
    let all = host.merge(&server, 0, &LENS);
    let path = path_in(&Host::told(&server).unwrap(), 0, "data");
    // The other one comes first, and last: nothing that the kernel remembers lets him in.
    for (user, may) in [(4712, false), (4711, true), (4712, false), (0, true)] {
        let read = read_as(user, &path);
        let said = String::from_utf8_lossy(&read.stderr);
        assert_eq!(read.status.success(), may, "user {user}: {said}");
        match may {
            true => assert!(read.stdout == all),
            false => assert!(said.contains("Permission denied"), "user {user}: {said}"),
        }
    }
}

#[test]
fn killed_server_leaves_readers_an_error_and_its_successor_the_path() {
    if is_skipped() {
        return;
    }
    for keeper_goes_too in [false, true] {
        let mut host = Host::new("sealed");
        let mut server = host.start(&[]);
        let all = host.merge(&server, 0, &[400_000; 20]);
        let path = path_in(&Host::told(&server).unwrap(), 0, "data");
        let open = File::open(&path).unwrap();
        let mut bytes = [0; 100];
        open.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, all[..100]);
        let keeper = children(server.process.id());
        assert_eq!(keeper.len(), 1, "{keeper:?}");
        if keeper_goes_too {
            kill(keeper[0]);
        }
        server.process.kill().unwrap();
        server.wait();
        let read = open.read_exact_at(&mut bytes, all.len() as u64 - 100);
        assert!(errno(read).is_some(), "a reader of a dead server gets an error");
        assert!(errno(File::open(&path)).is_some());
        match keeper_goes_too {
            false => eventually("nothing is mounted any more", || mounts_below(&host.view()) == 0),
            true => {
                assert_eq!(mounts_below(&host.view()), 1, "the control: nobody has unmounted it");
                assert_eq!(errno(path.metadata()), Some(107), "ENOTCONN");
            }
        }
        drop(open);
        // Executors remember the path that they were told.
        let server = host.start(&[]);
        assert_eq!(mounts_below(&host.view()), 1, "{}", server.log());
        assert!(fs::read(&path).unwrap() == all);
    }
}

#[test]
fn view_ends_with_its_server_and_lasts_through_a_takeover() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new("sealed");
    let mut server = host.start(&[]);
    let all = host.merge(&server, 0, &LENS);
    let path = path_in(&Host::told(&server).unwrap(), 0, "data");
    for _ in 0..3 {
        let successor = host.start(&["--takeover"]);
        assert!(server.wait().success(), "{}", server.log());
        server = successor;
        assert!(fs::read(&path).unwrap() == all, "{}", server.log());
        eventually("the predecessor's mount is gone", || mounts_below(&host.view()) == 1);
        let told = Host::told(&server).unwrap();
        assert_eq!(path_in(&told, 0, "data"), path);
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success(), "{}", server.log());
    let warned = |line: &str| line.contains(" WARN ") && line.contains("view");
    assert!(!server.log().lines().any(warned), "{}", server.log());
    assert_eq!(mounts_below(&host.view()), 0);
    assert_eq!(errno(File::open(&path)), Some(2), "ENOENT, which Spark falls back on");
}

#[test]
fn disk_that_hangs_is_an_error_for_the_reader() {
    if is_skipped() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (view, backing) = (temp.path().join("view"), temp.path().join("backing"));
    fs::create_dir(&backing).unwrap();
    let mut disk = None;
    let running = Running::start_on_disk(|config| {
        let root = config.roots.paths[0].clone();
        for sub in 0..64 {
            fs::create_dir_all(backing.join(format!("merging-1/merge_manager_1/{sub:02x}"))).unwrap();
        }
        disk = Some(FaultyDisk::mount(&backing, &root).unwrap());
        config.disk_timeout = Duration::from_secs(1);
        config.merging = Some(MergeConfig {
            min_chunk: ByteCount::kib(100),
            view_dir: Some(view.clone()),
            ..MergeConfig::default()
        });
    });
    let disk = disk.unwrap();
    let merging = support::Merging { server: running, mode: running::GCM };
    let mut peer = merging.peer();
    peer.rpc(&merging.register(1)).unwrap();
    for map in 0..8 {
        assert_eq!(support::push(&mut peer, support::block(0, 0, map, 3), &[7; 300_000]), "ok");
    }
    support::finalize(&mut peer, 0, 0).unwrap();
    let dir = view.join(format!("current/{}.1", support::APP)).display().to_string();
    let path = path_in(&[dir], 0, "data");
    let open = File::open(&path).unwrap();
    let mut bytes = [0; 100];
    open.read_exact_at(&mut bytes, 0).unwrap();
    disk.set(Operation::Read, Fault::Hangs);
    // Test and file system have threads of their own: this one would hang for good if nobody gave up.
    let read = thread::spawn(move || open.read_exact_at(&mut bytes, 2_300_000)).join().unwrap();
    assert_eq!(errno(read), Some(5), "EIO");
    assert!(disk.met(Operation::Read) > 0, "the control: the disk was not asked");
    disk.heal();
    eventually("it is read again", || fs::read(&path).is_ok_and(|read| read == [7; 2_400_000]));
    merging.server.drained();
    assert_eq!(mounts_below(&view), 0);
}

#[test]
fn view_that_cannot_be_mounted_is_an_error_at_start() {
    let host = Host::new("sealed");
    let within = format!("spark.sealed.merge.view.dir={}", host.root().join("view").display());
    // What comes last counts.
    let ended = host.command(&[]).arg("--conf").arg(&within).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("spark.sealed.merge.view.dir") && said.contains("local directory"), "{said}");
}

fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(Path::new("/proc").join(process.to_string()).join("task")).unwrap();
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let all: Vec<String> = tasks.map(|task| of(task.unwrap())).collect();
    all.iter().flat_map(|line| line.split_whitespace()).map(|id| id.parse().unwrap()).collect()
}

fn kill(process: u32) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::KILL).unwrap();
}
