//! Records that verify and make no sense: written by a later bug, or by somebody who has the key.

use proptest::prelude::*;

use super::*;
use crate::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use crate::stored::envelope::WrappedKey;
use crate::stored::sealed::segment::{MAX_SEGMENT, seal_record};

const PARTITION: MergedPartition =
    MergedPartition { shuffle: ShuffleId(0), merge: ShuffleMergeId(0), reduce: ReduceId(0) };
const SALT: Salt = Salt([1; 32]);

#[test]
fn records_that_agree_open() {
    let header = header().len() as u64;
    let index = open(&[good(NO_RECORD)], commit(0, &[good(NO_RECORD)])).unwrap();
    assert_eq!(index.chunks()[0].sealed(), header..header + 10 + 2 * OVERHEAD as u64);
    assert!(open(&[], commit(NO_RECORD, &[])).is_ok());
}

#[test]
fn every_field_of_a_commit_is_compared() {
    let records = [good(NO_RECORD)];
    let right = commit(0, &records);
    for wrong in [
        CommitRecord { previous: 1, ..right },
        CommitRecord { chunks: 2, ..right },
        CommitRecord { plain: 11, ..right },
        CommitRecord { data: right.data + 1, ..right },
        CommitRecord { index: right.index + 1, ..right },
        CommitRecord { meta: right.meta - 1, ..right },
    ] {
        let found = open(&records, wrong).map(|_| ()).unwrap_err();
        assert!(matches!(found, SealedError::Record { record: 1, .. }), "{found}");
    }
}

#[test]
fn positions_and_gaps_have_to_make_sense() {
    let right = good(NO_RECORD);
    let gaps = |gaps: &[(u32, u64)]| {
        gaps.iter().map(|(segment, skipped)| Gap { segment: *segment, skipped: *skipped }).collect()
    };
    for wrong in [
        ChunkRecord { plain_end: 9, ..right.clone() },
        ChunkRecord { plain_end: u64::MAX, ..right.clone() },
        ChunkRecord { sealed_end: 0, ..right.clone() },
        ChunkRecord { sealed_end: u64::MAX, ..right.clone() },
        ChunkRecord { segments: 3, ..right.clone() },
        ChunkRecord { segments: u32::MAX, ..right.clone() },
        ChunkRecord { meta_end: 0, ..right.clone() },
        ChunkRecord { meta_end: header().len() as u64 + 27, ..right.clone() },
        ChunkRecord { first: u64::MAX - 1, ..right.clone() },
        ChunkRecord { previous: 0, ..right.clone() },
        ChunkRecord { gaps: gaps(&[(0, 1)]), ..right.clone() },
        ChunkRecord { gaps: gaps(&[(1, 0)]), ..right.clone() },
        ChunkRecord { gaps: gaps(&[(2, 1)]), ..right.clone() },
        ChunkRecord { gaps: gaps(&[(1, 1), (1, 1)]), ..right.clone() },
        ChunkRecord { gaps: gaps(&[(1, u64::MAX)]), ..right },
    ] {
        let records = [wrong];
        let found = open(&records, commit(0, &records)).map(|_| ()).unwrap_err();
        assert!(matches!(found, SealedError::Record { record: 0, .. }), "{found}");
    }
}

#[test]
fn an_unknown_record_is_refused() {
    for bytes in [&b""[..], &[0], &[3; 45], &[2; 44], &[2; 46], &[1; 56]] {
        let found = Record::decode(bytes, 5).unwrap_err();
        assert!(matches!(found, SealedError::Record { record: 5, .. }), "{found}");
    }
    let mut record = good(NO_RECORD).encode();
    record[53..57].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(Record::decode(&record, 0).is_err(), "a count is checked before it allocates");
}

#[test]
fn a_segment_of_data_has_content_and_fits_its_chunk() {
    let records = [good(NO_RECORD)];
    let index = Arc::new(open(&records, commit(0, &records)).unwrap());
    let opener = ChunkOpener::new(index.clone(), 0).unwrap();
    let head = |plain: u32, counter: u64| {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&plain.to_be_bytes());
        head[4..].copy_from_slice(&counter.to_be_bytes());
        head
    };
    assert_eq!(opener.next_len(&head(4, 5)), Ok(4 + OVERHEAD));
    assert!(matches!(opener.next_len(&head(4, 6)), Err(SealedError::Replaced { found: 6, expected: 5, .. })));
    for plain in [0, 11, MAX_SEGMENT as u32, u32::MAX] {
        assert!(matches!(opener.next_len(&head(plain, 5)), Err(SealedError::Length { .. })), "{plain}");
    }
    assert!(ChunkOpener::new(index, 1).is_none());
}

proptest! {
    /// Whatever the numbers are: an answer, and openers that stay inside their chunk.
    #[test]
    fn any_numbers_get_an_answer(
        numbers in prop::collection::vec(prop_oneof![0..400_u64, any::<u64>()], 5),
        segments in prop_oneof![0..4_u32, any::<u32>()],
        gaps in prop::collection::vec((0..5_u32, prop_oneof![0..3_u64, any::<u64>()]), 0..3),
        segment in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let gaps = gaps.into_iter().map(|(segment, skipped)| Gap { segment, skipped }).collect();
        let &[plain_end, sealed_end, first, meta_end, meta_counter] = &numbers[..] else { unreachable!() };
        let record =
            ChunkRecord { previous: NO_RECORD, plain_end, sealed_end, segments, first, meta_end, meta_counter, gaps };
        prop_assert_eq!(Record::decode(&record.encode(), 0), Ok(Record::Chunk(record.clone())));
        let records = [record];
        if let Ok(index) = open(&records, commit(0, &records)) {
            prop_assert!(index.open_meta(&mut header_of(Kind::Meta, &header())).is_err());
            let mut opener = ChunkOpener::new(Arc::new(index), 0).unwrap();
            prop_assert!(opener.open(&mut segment.clone()).is_err());
        }
    }
}

/// One chunk of ten bytes in two segments.
fn good(previous: u64) -> ChunkRecord {
    let header = header().len() as u64;
    ChunkRecord {
        previous,
        plain_end: 10,
        sealed_end: header + 10 + 2 * OVERHEAD as u64,
        segments: 2,
        first: 5,
        meta_end: header + OVERHEAD as u64 + 4,
        meta_counter: 0,
        gaps: Box::new([Gap { segment: 1, skipped: 7 }]),
    }
}

/// The commit that goes with `records`.
fn commit(previous: u64, records: &[ChunkRecord]) -> CommitRecord {
    let begin = header().len() as u64;
    let sealed: usize = records.iter().map(|record| record.encode().len() + OVERHEAD).sum();
    let index = begin + (sealed + CommitRecord::LEN + OVERHEAD) as u64;
    let last = records.last();
    CommitRecord {
        previous,
        chunks: records.len() as u32,
        plain: last.map_or(0, |last| last.plain_end),
        data: last.map_or(begin, |last| last.sealed_end),
        index,
        meta: last.map_or(begin, |last| last.meta_end),
    }
}

fn open(records: &[ChunkRecord], commit: CommitRecord) -> Result<Index, SealedError> {
    let mut file = header();
    let key = FileKey::derive(&key(), &SALT, &file).expand();
    let encoded = records.iter().map(ChunkRecord::encode).chain([commit.encode()]);
    for (place, record) in (0..).zip(encoded) {
        file.extend(seal_record(&key, place, place, &record).unwrap());
    }
    Index::open(&mut file, PARTITION, 0, &context(), &self::key(), None)
}

fn header() -> Vec<u8> {
    let key = WrappedKey { key_id: "key".into(), bytes: Bytes::new() };
    Header::new(Kind::Index, SALT, PARTITION, 0, key, context()).encode().unwrap()
}

fn context() -> Context {
    Context::of(AppId::new("app"))
}

fn key() -> DataKey {
    DataKey::new([2; 32])
}
