//! Many pushes at once, from as many threads: every block is merged whole and once, or not at all.

use std::sync::Barrier;
use std::thread;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shuffle::{Bitmap, ReturnCode};
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, Fixture, block};

const THREADS: i32 = 6;
const BLOCKS: i32 = 120;
const PARTITIONS: i32 = 3;

/// The bytes of a map task's block tell the task; two bytes in a row are never of the same task.
fn content(map: i32) -> Vec<u8> {
    let len = usize::try_from(map % 23).unwrap();
    map.to_be_bytes().repeat(len + 1)
}

/// Pushes a block in small pieces, again and again until no other push is in its way. Every seventh try is lost
/// midway.
fn push(fixture: &Fixture, map: i32, reduce: i32) {
    let bytes = content(map);
    for attempt in 0.. {
        let mut push = fixture.started(block(0, 0, map, reduce));
        let is_lost = attempt == 0 && map % 7 == 0;
        let given = if is_lost { bytes.len() / 2 } else { bytes.len() };
        for piece in bytes[..given].chunks(5) {
            push.data(&OnLane::here(), &[piece]).unwrap();
            if map % 5 == 0 {
                thread::yield_now();
            }
        }
        if is_lost {
            continue;
        }
        match push.complete(&OnLane::here()).unwrap().code {
            ReturnCode::Success => return,
            ReturnCode::BlockAppendCollisionDetected => thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
}

fn map_of(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes[..4].try_into().unwrap())
}

#[test]
fn blocks_of_many_threads_are_merged_whole_and_once() {
    let fixture = Fixture::new();
    let start = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (fixture, start) = (&fixture, &start);
            scope.spawn(move || {
                start.wait();
                // Each block is pushed by two threads, as speculative tasks do.
                for map in (0..BLOCKS).filter(|map| map % THREADS / 2 == number / 2) {
                    (0..PARTITIONS).for_each(|reduce| push(fixture, map, reduce));
                }
            });
        }
    });
    assert_eq!(fixture.merger.counters().deferred_bytes, 0);
    let statuses = fixture.finalize(0, 0).unwrap();
    let all: Bitmap = (0..BLOCKS.unsigned_abs()).collect();
    assert_eq!(statuses.bitmaps, vec![all; usize::try_from(PARTITIONS).unwrap()]);
    for reduce in 0..PARTITIONS {
        let meta = fixture.meta(0, 0, reduce).unwrap();
        let maps = Bitmap::decode_all(meta.bitmaps).unwrap();
        for (chunk, maps) in (0..).zip(maps) {
            let bytes = fixture.chunk(0, 0, reduce, chunk).unwrap();
            let mut rest = &bytes[..];
            let mut found = Vec::new();
            while !rest.is_empty() {
                let map = map_of(rest);
                let expected = content(map);
                assert_eq!(rest[..expected.len()], expected, "block {map} of chunk {chunk}");
                rest = &rest[expected.len()..];
                found.push(map.unsigned_abs());
            }
            assert_eq!(u64::try_from(found.len()).unwrap(), maps.len());
            assert_eq!(found.into_iter().collect::<Bitmap>(), maps);
        }
    }
}

#[test]
fn finalization_among_pushes_reports_just_what_is_merged() {
    for _ in 0..20 {
        let fixture = Fixture::new();
        let start = Barrier::new(4);
        let statuses = thread::scope(|scope| {
            for number in 0..3 {
                let (fixture, start) = (&fixture, &start);
                scope.spawn(move || {
                    start.wait();
                    for map in 0..40 {
                        let mut push = fixture.started(block(0, 0, 3 * map + number, 0));
                        push.data(&OnLane::here(), &[&content(3 * map + number)]).unwrap();
                        push.complete(&OnLane::here()).unwrap();
                    }
                });
            }
            start.wait();
            fixture.finalize(0, 0).unwrap()
        });
        let told: u64 = statuses.bitmaps.iter().map(Bitmap::len).sum();
        let size: i64 = statuses.sizes.iter().sum();
        let (mut maps, mut bytes) = (0, 0);
        if let Ok(meta) = fixture.meta(0, 0, 0) {
            maps = Bitmap::decode_all(meta.bitmaps).unwrap().iter().map(Bitmap::len).sum();
            bytes = (0..meta.chunks).map(|chunk| fixture.chunk(0, 0, 0, chunk).unwrap().len()).sum();
        }
        assert_eq!((maps, i64::try_from(bytes).unwrap()), (told, size));
    }
}

#[test]
fn a_long_deletion_keeps_one_thread_however_many_ask_for_it() {
    let fixture = Fixture::new();
    fixture.started(block(0, 0, 1, 0)).complete(&OnLane::here()).unwrap();
    assert!(fixture.merger.forget(&AppId::new(APP)));
    let deleting = fixture.merger.chores.take_turn(0).unwrap();
    fixture.merger.clean_up_disk(&OnLane::here(), 0);
    assert_eq!(fixture.merger.due_chores(), [0], "who deletes finds it, or the next call does");
    drop(deleting);
    fixture.merger.clean_up_disk(&OnLane::here(), 0);
    assert_eq!(fixture.merger.due_chores(), [0; 0]);
    assert!(fixture.store.paths().is_empty());
}
