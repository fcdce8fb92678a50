//! What an open partition holds, and that reading costs no allocation a segment.

use std::sync::Arc;

use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::stored::sealed::{
    ChunkOpener, Index, MAX_SEGMENT, OVERHEAD, PIECE, PartitionSealer,
};

use crate::support::{ATTEMPT, PARTITION, SALT, Writer, context, key, wrapped};

/// Of 10,000 open partitions, 5 MB.
const MOST: u64 = 512;

#[test]
fn an_open_partition_holds_a_few_hundred_bytes() {
    let (key, wrapped, context) = (key(), wrapped(), context("app-1"));
    let mut made = None;
    let allocated = allocation_counter::measure(|| {
        let (sealer, headers) =
            PartitionSealer::new(&key, &wrapped, &context, PARTITION, ATTEMPT, SALT).unwrap();
        drop(headers);
        made = Some(sealer);
    });
    let sealer = made.unwrap();
    let held = u64::try_from(allocated.bytes_current).unwrap() + size_of::<PartitionSealer>() as u64;
    assert_eq!(held, sealer.memory() as u64, "what it says of itself");
    assert!(held <= MOST, "{held}");
}

#[test]
fn chunks_are_not_remembered() {
    let mut writer = Writer::new();
    let before = writer.sealer.memory();
    for _ in 0..100 {
        writer.append(b"aborted");
        writer.sealer.abort();
        writer.block(&[b"block", b"block"]);
        writer.close_chunk(b"bits");
    }
    assert_eq!(writer.sealer.memory(), before);
}

#[test]
fn sealing_a_piece_allocates_nothing_that_stays() {
    let mut writer = Writer::new();
    let mut piece = Segment::with_capacity(MAX_SEGMENT);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..8 {
            piece.reset(PIECE);
            piece.advance(1000);
            writer.sealer.seal(&mut piece).unwrap();
            writer.sealer.commit();
        }
    });
    // The expanded key lives for one piece.
    assert_eq!(allocated.bytes_current, 0);
}

#[test]
fn opening_allocates_nothing_per_segment() {
    let mut writer = Writer::new();
    for n in 0..200 {
        if n % 3 == 0 {
            writer.append(&[0; 500]);
            writer.sealer.abort();
        }
        writer.block(&[&[1; 500]]);
    }
    writer.close_chunk(b"bits");
    let (mut files, _) = writer.finish();
    let index = Index::open(&mut files.index, PARTITION, ATTEMPT, &context("app-1"), &key(), None).unwrap();
    let mut opener = ChunkOpener::new(Arc::new(index), 0).unwrap();
    let mut at = usize::try_from(opener.position()).unwrap();
    let allocated = allocation_counter::measure(|| {
        while opener.sealed_left() > 0 {
            let len = opener.open(&mut files.data[at..]).unwrap().len();
            at += len + OVERHEAD;
        }
    });
    assert_eq!(allocated.count_total, 0);
    assert_eq!(at, files.data.len());
}
