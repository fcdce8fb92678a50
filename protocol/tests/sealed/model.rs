//! Any sequence of blocks, aborts, failed writes and chunks: what was committed comes back, and nothing else.

use bytes::Bytes;
use proptest::prelude::*;
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::stored::sealed::{
    Kind, MAX_GAPS, MAX_PIECE, MAX_SEGMENT, OVERHEAD, PIECE, Progress, SealedError,
};

use crate::support::{Content, Writer, small, small_content};

#[derive(Clone, Debug)]
enum Step {
    /// A block in pieces.
    Block(Vec<usize>),
    /// A block of which all pieces are written, and the last only so far.
    Aborted(Vec<usize>, usize),
    /// Ends a chunk.
    Close,
    /// Ends a chunk, and a write fails: of the bitmap, or of the record.
    FailedClose(bool),
    /// A reader looks in between.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let pieces = || prop::collection::vec(prop_oneof![1..40_usize, 1..2000_usize], 1..4);
    prop_oneof![
        4 => pieces().prop_map(Step::Block),
        3 => (pieces(), 0..3000_usize).prop_map(|(pieces, torn)| Step::Aborted(pieces, torn)),
        2 => Just(Step::Close),
        1 => any::<bool>().prop_map(Step::FailedClose),
        1 => Just(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_was_committed_comes_back(steps in prop::collection::vec(step(), 0..24), pick in any::<prop::sample::Index>()) {
        let mut writer = Writer::new();
        let mut model = Content::default();
        let (mut open, mut meta, mut fill) = (Vec::new(), Vec::new(), 0_u8);
        for (n, step) in steps.iter().enumerate() {
            let bitmap = [n as u8; 5];
            match step {
                Step::Block(pieces) => {
                    for len in pieces {
                        fill = fill.wrapping_add(1);
                        writer.append(&vec![fill; *len]);
                        open.extend(vec![fill; *len]);
                    }
                    writer.sealer.commit();
                }
                Step::Aborted(pieces, torn) => {
                    let (last, whole) = pieces.split_last().unwrap();
                    whole.iter().for_each(|len| writer.append(&vec![0xee; *len]));
                    writer.append_torn(&vec![0xdd; *last], *torn);
                    writer.sealer.abort();
                }
                Step::Close => {
                    writer.close_chunk(&bitmap);
                    model.chunks.push(std::mem::take(&mut open));
                    meta.extend(bitmap);
                }
                Step::FailedClose(record) => _ = writer.write_chunk(b"failed", *record),
                Step::Read => {
                    let seen = writer.files.read(Some(&writer.sealer.progress())).unwrap();
                    prop_assert_eq!(&seen, &Content { meta: Bytes::from(meta.clone()), ..model.clone() });
                }
            }
        }
        model.meta = meta.into();
        let (files, history) = writer.finish();
        prop_assert_eq!(files.read(None).unwrap(), model);

        // Whatever stood in a file once and does not any more is recognized when it is put back.
        let gone = |(kind, at, bytes): &&(Kind, u64, Vec<u8>)| {
            let at = usize::try_from(*at).unwrap();
            files.clone().of(*kind).get(at..at + bytes.len()).is_some_and(|now| now != bytes)
        };
        for (kind, at, bytes) in history.iter().filter(gone) {
            let mut replayed = files.clone();
            replayed.write(*kind, *at, bytes);
            prop_assert!(replayed.read(None).is_err(), "{kind} at {at}");
        }
        // And so is a flipped bit.
        for kind in Kind::ALL {
            let mut flipped = files.clone();
            let bit = pick.index(flipped.len_of(kind) * 8);
            flipped.of(kind)[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(flipped.read(None).is_err(), "{kind} bit {bit}");
        }
    }
}

#[test]
fn reads_what_it_wrote() {
    assert_eq!(small().0.read(None).unwrap(), small_content());
}

#[test]
fn a_partition_without_chunks_is_finalized_all_the_same() {
    let (files, _) = Writer::new().finish();
    assert_eq!(files.read(None).unwrap(), Content::default());
}

#[test]
fn blocks_in_no_chunk_are_cut_off_at_the_end() {
    let mut writer = Writer::new();
    writer.block(&[b"kept"]);
    writer.close_chunk(b"bits");
    writer.block(&[b"in no chunk"]);
    writer.append(b"in no block");
    let (files, _) = writer.finish();
    assert_eq!(files.read(None).unwrap().chunks, [b"kept"]);
}

#[test]
fn a_piece_may_fill_a_segment_and_no_more() {
    let mut writer = Writer::new();
    writer.block(&[&vec![7; MAX_PIECE]]);
    writer.close_chunk(b"");
    assert_eq!(writer.finish().0.read(None).unwrap().chunks, [vec![7; MAX_PIECE]]);

    let mut long = Segment::with_capacity(MAX_SEGMENT + 1);
    long.reset(PIECE);
    long.advance(MAX_PIECE + 1);
    let error = Writer::new().sealer.seal(&mut long).unwrap_err();
    assert_eq!(error, SealedError::TooLong { bytes: MAX_PIECE as u64 + 1, most: MAX_PIECE as u64 });
}

#[test]
fn seals_only_what_is_laid_out_as_a_piece() {
    let mut writer = Writer::new();
    let mut other = Segment::with_capacity(64);
    other.put(b"laid out bare");
    assert_eq!(writer.sealer.seal(&mut other), Err(SealedError::Layout));
    other.reset(PIECE);
    assert_eq!(writer.sealer.seal(&mut other), Err(SealedError::Layout), "nothing to seal");
    other.put(b"text");
    writer.sealer.seal(&mut other).unwrap();
    assert_eq!(writer.sealer.seal(&mut other), Err(SealedError::Layout), "sealed twice");
}

#[test]
fn counters_never_come_back() {
    let mut writer = Writer::new();
    for n in 0..6 {
        writer.append(b"one");
        writer.append(b"two");
        match n % 3 {
            0 => writer.sealer.commit(),
            _ => writer.sealer.abort(),
        }
        if n == 3 {
            writer.write_chunk(b"failed", true);
            writer.close_chunk(b"bits");
        }
    }
    for kind in Kind::ALL {
        let counters: Vec<_> = writer
            .history
            .iter()
            .filter(|entry| entry.0 == kind)
            .map(|entry| entry.2[4..12].to_vec())
            .collect();
        assert!(counters.is_sorted_by(|one, next| one < next), "{kind}: {counters:?}");
    }
}

#[test]
fn a_chunk_ends_between_blocks() {
    let mut writer = Writer::new();
    writer.append(b"half a block");
    assert_eq!(writer.sealer.seal_chunk(b"").unwrap_err(), SealedError::BlockOpen);
    writer.sealer.commit();
    writer.close_chunk(b"");
}

#[test]
fn a_chunk_is_closed_as_it_was_sealed_or_not_at_all() {
    let mut writer = Writer::new();
    writer.block(&[b"one"]);
    let stale = writer.write_chunk(b"bits", true);
    writer.block(&[b"two"]);
    assert_eq!(writer.sealer.chunk_written(&stale), Err(SealedError::ChunkChanged));
    writer.close_chunk(b"bits");
    assert_eq!(writer.finish().0.read(None).unwrap().chunks, [b"onetwo"]);
}

#[test]
fn aborts_fill_a_chunk_and_closing_it_makes_room() {
    let mut writer = Writer::new();
    writer.block(&[b"x"]);
    let mut full = None;
    for n in 0..=MAX_GAPS {
        let mut piece = Segment::with_capacity(64);
        let mut seal = |writer: &mut Writer| {
            piece.reset(PIECE);
            piece.put(b"x");
            writer.sealer.seal(&mut piece).map(|at| (at, piece.sealed().to_vec()))
        };
        seal(&mut writer).map(|_| ()).unwrap_or_default();
        writer.sealer.abort();
        match seal(&mut writer) {
            Ok((at, sealed)) => writer.files.write(Kind::Data, at, &sealed),
            Err(error) => full = Some((n, error)),
        }
        writer.sealer.commit();
        assert_eq!(writer.sealer.is_chunk_full(), n + 1 >= MAX_GAPS / 2, "{n}");
    }
    assert_eq!(full, Some((MAX_GAPS, SealedError::ChunkFull(MAX_GAPS))));
    writer.close_chunk(b"bits");
    assert!(!writer.sealer.is_chunk_full());
    writer.block(&[b"y"]);
    writer.close_chunk(b"bits");
    let content = writer.finish().0.read(None).unwrap();
    assert_eq!(content.chunks, [vec![b'x'; MAX_GAPS + 1], vec![b'y']]);
}

#[test]
fn lengths_follow_from_the_blocks() {
    let mut writer = Writer::new();
    let begin = writer.files.data.len() as u64;
    writer.block(&[b"12345", b"67"]);
    assert_eq!((writer.sealer.len(), writer.sealer.open_chunk_len()), (7, 7));
    writer.close_chunk(b"b");
    assert_eq!((writer.sealer.len(), writer.sealer.open_chunk_len()), (7, 0));
    let Progress { chunks, plain, data, .. } = writer.sealer.progress();
    assert_eq!((chunks, plain, data), (1, 7, begin + 7 + 2 * OVERHEAD as u64));
}
