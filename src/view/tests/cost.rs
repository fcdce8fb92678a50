//! What a gigabyte costs that an executor reads: through the view, and beside it out of a plain copy in memory that has to be
//! written first. `cargo test --release --lib view::tests::cost -- --ignored --nocapture`, as root, on an idle machine.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_config::OutagePolicy;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{FinalizeShuffleMerge, PushBlockStream};
use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::lane::OnLane;
use tokio::runtime::Runtime;

use crate::disk::{BlockStore, DiskLimits, Proof, Roots};
use crate::keys::envelope::{EnvelopeKeys, KeyCalls, LocalKeyFile, RingSettings};
use crate::merge::{MergeSettings, Merger, PartitionId, PlainFile, SealedMerges};
use crate::sealed_files::{Fsync, SealedLimits, SealedStore};
use crate::view::stretch::Blocks;
use crate::view::{View, ViewMount};

const APP: &str = "application_1_2";
const BLOCK: usize = 512 << 10;
const BLOCKS: i32 = 2048;
const ROUNDS: usize = 3;

/// CPU time of this process and of its children that have ended.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

fn measured(what: &str, work: impl FnOnce()) {
    let (began, before) = (Instant::now(), cpu());
    work();
    let gigabytes = f64::from(BLOCKS) * BLOCK as f64 / 1e9;
    let [cpu, wall] = [cpu() - before, began.elapsed()].map(|time| time.as_secs_f64() / gigabytes);
    println!("{what:<40} {cpu:.2} s of CPU for a GB, {wall:.2} s");
}

/// As `DataInputStream`s do it that are wrapped by a buffer.
fn read(path: &Path) {
    let done = Command::new("dd")
        .arg(format!("if={}", path.display()))
        .args(["of=/dev/null", "bs=64k", "status=none"])
        .status();
    assert!(done.unwrap().success());
}

#[test]
#[ignore = "a measurement"]
fn of_a_gigabyte_through_the_view_and_as_a_copy() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    for sub in 0..64 {
        fs::create_dir_all(base.join(format!("root/d/merge_manager_1/{sub:02x}"))).unwrap();
    }
    let runtime = Runtime::new().unwrap();
    let blocks = Arc::new(BlockStore::new(Roots::open([base.join("root")]).unwrap(), DiskLimits::default()));
    let files = Arc::new(SealedStore::new(Arc::clone(blocks.roots()), SealedLimits::default()));
    let settings = RingSettings::new(OutagePolicy::Refuse, Duration::from_secs(10));
    let keys = Arc::new(LocalKeyFile::for_test(&base.join("keys")));
    let ring = EnvelopeKeys::new(keys, settings, KeyCalls::default());
    let (roots, handle) = (Arc::clone(blocks.roots()), runtime.handle().clone());
    let store = SealedMerges::new(files, roots, ring, handle, Fsync::Never);
    let merger = Arc::new(Merger::new(MergeSettings::default(), Arc::new(store)));
    let local = base.join("root/d/blockmgr-1").to_str().unwrap().to_owned();
    let (app, manager) = (AppId::new(APP), r#"x:{"mergeDir":"merge_manager_1","attemptId":"1"}"#);
    runtime.block_on(merger.prepare(&app, manager)).unwrap();
    let on = OnLane::here();
    blocks.register(&on, &app, &ExecutorId::new("1"), &[&local], 64, manager, Proof::Proven).unwrap();
    merger.register(&on, &app, [local.as_str()], 64, manager, &blocks).unwrap();
    let (shuffle, merge, reduce) = (ShuffleId(0), ShuffleMergeId(0), ReduceId(3));
    let bytes: Vec<u8> = (0..BLOCK).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for map in 0..BLOCKS {
        let app = app.clone();
        let push = PushBlockStream { app, app_attempt: 1, shuffle, merge, map_index: map, reduce, index: 0 };
        let mut push = merger.begin(&on, &push, 0).unwrap();
        push.data(&on, &[&bytes]).unwrap();
        push.complete(&on).unwrap();
    }
    let message = FinalizeShuffleMerge { app: app.clone(), app_attempt: 1, shuffle, merge };
    merger.finalize(&on, &message).unwrap();

    let mount = ViewMount::make(&on, &base.join("view"), &[], None).unwrap();
    mount.begin().unwrap();
    runtime.block_on(async {
        mount.show(View::new(Arc::clone(&merger), Arc::clone(&blocks), Duration::from_secs(10)));
    });
    mount.lead_here(&on);
    let partition = PartitionId { app: app.clone(), merged: MergedPartition { shuffle, merge, reduce } };
    let name = Kind::Data.file_name(&app, partition.merged);
    let seen = Path::new(&mount.dir_of(&app, 1)).join("0a").join(name);
    let copy = Path::new("/dev/shm").join(format!("sealed-shuffle-cost-{}", std::process::id()));
    for _ in 0..ROUNDS {
        // What the kernel has of the view is no reading of it.
        fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
        fs::read_dir(&base).unwrap().count();
        let sealed = base.join("root/d/merge_manager_1");
        Command::new("cp").args(["-r"]).arg(&sealed).arg("/dev/shm/sealed-shuffle-warm").status().unwrap();
        fs::remove_dir_all("/dev/shm/sealed-shuffle-warm").unwrap();
        measured("through the view", || read(&seen));
        measured("through the view, of the page cache", || read(&seen));
        measured("a copy in memory, written", || {
            let PlainFile::Blocks { reader, offsets } =
                merger.plain_file(&on, &partition, 1, Kind::Data).unwrap()
            else {
                panic!("it is the data file");
            };
            let (mut blocks, mut out) = (Blocks::new(reader, offsets), File::create(&copy).unwrap());
            let mut at = 0;
            while at < blocks.size() {
                blocks.ask(at, 256 << 10);
                blocks.read_blocking(&on).unwrap();
                out.write_all(blocks.bytes()).unwrap();
                at += blocks.bytes().len() as u64;
            }
        });
        measured("a copy in memory, read", || read(&copy));
        fs::remove_file(&copy).unwrap();
    }
    mount.end(&on);
}
