//! Blocks that say of themselves what they are, so that whatever comes back can be judged without knowing in which
//! order, or in which of several attempts, it was merged.

use std::collections::BTreeMap;

use bytes::Bytes;
use roaring::RoaringBitmap;
use sealed_shuffle_client::{Merge, MergedPartition, PushedBlock};
use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};

use crate::place::Reached;

/// In no byte on a disk.
pub(crate) const CANARY: &str = "CANARY-wren-in-the-bramble-";

/// An attempt to merge a shuffle of attempt 1 of the application.
pub(crate) fn merge(shuffle: i32) -> Merge {
    Merge { app_attempt: 1, shuffle: ShuffleId(shuffle), merge: ShuffleMergeId(0) }
}

pub(crate) fn partition(merge: Merge, reduce: i32) -> MergedPartition {
    MergedPartition { shuffle: merge.shuffle, merge: merge.merge, reduce: ReduceId(reduce) }
}

/// A block to push: its name, again and again, up to `len` bytes, but at least once.
pub(crate) fn block(merge: Merge, map: i32, reduce: i32, len: usize) -> PushedBlock {
    let body = Bytes::from(bytes(merge.shuffle.0, map, reduce, len)).into();
    PushedBlock { map_index: map, reduce: ReduceId(reduce), body }
}

fn bytes(shuffle: i32, map: i32, reduce: i32, len: usize) -> Vec<u8> {
    let name = format!("{CANARY}{shuffle}.{map}.{reduce}.{len}|");
    name.bytes().cycle().take(len.max(name.len())).collect()
}

/// The maps whose blocks a chunk is made of; panics where it is anything but whole blocks of its partition.
#[track_caller]
fn maps(partition: MergedPartition, chunk: &[u8]) -> RoaringBitmap {
    let (mut maps, mut rest) = (RoaringBitmap::new(), chunk);
    while !rest.is_empty() {
        let name = rest.split(|byte| *byte == b'|').next().and_then(|name| std::str::from_utf8(name).ok());
        let numbers = name.and_then(|name| name.strip_prefix(CANARY));
        let Some(numbers) = numbers else { panic!("wrong bytes in {partition:?}: {name:?}") };
        let numbers: Vec<i32> = numbers.split('.').map(|number| number.parse().unwrap()).collect();
        let [shuffle, map, reduce, len] = numbers[..] else { panic!("wrong bytes: {numbers:?}") };
        let expected = bytes(shuffle, map, reduce, usize::try_from(len).unwrap());
        assert!(rest.starts_with(&expected), "wrong bytes in {partition:?} where {name:?} begins");
        assert_eq!((ShuffleId(shuffle), ReduceId(reduce)), (partition.shuffle, partition.reduce));
        assert!(maps.insert(u32::try_from(map).unwrap()), "map {map} twice in {partition:?}");
        rest = &rest[expected.len()..];
    }
    maps
}

/// What a server gave for a partition. Nothing of it is wrong: it was looked at.
#[derive(Debug)]
pub(crate) enum Read {
    /// All of it.
    Whole { maps: RoaringBitmap, len: u64 },
    /// Not all of it, for these reasons.
    Refused(Vec<String>),
}

impl Read {
    #[track_caller]
    pub(crate) fn refused(self) -> Vec<String> {
        match self {
            Self::Refused(texts) => texts,
            Self::Whole { maps, .. } => panic!("it was served, with maps {maps:?}"),
        }
    }
}

/// Reads a partition: each chunk is whole blocks of the maps in its bitmap, or refused.
pub(crate) async fn read(from: &Reached, partition: MergedPartition) -> Read {
    let bitmaps = match from.client.merged_block_meta(&from.server, partition).await {
        Ok(bitmaps) => bitmaps,
        Err(error) => return Read::Refused(vec![error.to_string()]),
    };
    let mut of_chunk: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
    for (chunk, bitmap) in bitmaps.iter().enumerate() {
        let MergedPartition { shuffle, merge, reduce } = partition;
        of_chunk
            .insert(format!("shuffleChunk_{shuffle}_{merge}_{reduce}_{chunk}"), bitmap.as_roaring().clone());
    }
    let count = i32::try_from(bitmaps.len()).unwrap();
    let mut fetch = from.client.fetch_merged_chunks(&from.server, partition, 0..count);
    let (mut all, mut len, mut refused) = (RoaringBitmap::new(), 0, Vec::new());
    while let Some(outcome) = fetch.next().await {
        match outcome {
            Ok((block, bytes)) => {
                let found = maps(partition, &bytes);
                assert_eq!(of_chunk.remove(&block.to_string()), Some(found.clone()), "{block}");
                assert!(all.is_disjoint(&found), "a map in two chunks of {partition:?}");
                all |= found;
                len += bytes.len() as u64;
            }
            Err(error) => refused.push(error.error.to_string()),
        }
    }
    match refused.is_empty() {
        true => Read::Whole { maps: all, len },
        false => Read::Refused(refused),
    }
}
