//! As many partitions as a large shuffle has, all open at once.

use sealed_shuffle_transport::lane::OnLane;
use std::fs;

use super::fixture::{Blocks, Fixture};
use crate::sealed_files::{Fsync, SealedLimits};

const PARTITIONS: i32 = 10_000;
const HANDLES: usize = 64;
/// Of one open partition: 7 MB for all of them.
const MOST_MEMORY: usize = 700;

#[test]
fn ten_thousand_open_partitions_need_few_descriptors_and_little_memory() {
    let fixture = Fixture::with(SealedLimits { write_handles: HANDLES, ..SealedLimits::default() });
    let mut writers: Vec<_> = (0..PARTITIONS).map(|reduce| fixture.create(reduce)).collect();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests have some open too.
    assert!(descriptors() < 5000, "{}", descriptors());
    assert_eq!(fixture.store.handles().0, HANDLES);
    for round in 0..2 {
        for writer in &mut writers {
            writer.block(format!("block {round} of {}", writer.id()).as_bytes());
        }
    }
    assert!(fixture.store.handles().0 <= HANDLES);
    let memory = writers.iter().map(|writer| writer.memory()).max().unwrap();
    assert!(memory <= MOST_MEMORY, "{memory} bytes each");
    for (reduce, mut writer) in (0..).zip(writers) {
        writer.close_chunk(&OnLane::here(), b"bits").unwrap();
        writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
        if reduce % 1000 == 7 {
            let id = super::fixture::partition(reduce);
            let expected = format!("block 0 of {id}block 1 of {id}").into_bytes();
            assert_eq!(fixture.read(reduce).unwrap().0, [expected]);
        }
    }
    assert_eq!(fixture.store.handles().0, 0, "nothing is left open");
}

#[test]
fn a_dropped_writer_leaves_no_descriptor() {
    let fixture = Fixture::new();
    let writer = fixture.create(1);
    assert_eq!(fixture.store.handles().0, 1);
    drop(writer);
    assert_eq!(fixture.store.handles().0, 0);
}
