//! Reading a merged partition: which chunks there are, the chunks, and for whatever cannot be had, which original blocks
//! to fetch instead.
//!
//! ```text
//! status (of finalization) ── meta ──► bitmaps ── checked ──► chunks ──► MergedPart::Chunk
//!                              │           │                     │
//!                              └───────────┴─── map indexes ─────┴─────► MergedPart::FallBack
//! ```
//!
//! Invariant: every map index of the status comes in exactly one outcome, in a chunk or as one to fall back on, however
//! the merger fails or lies about its bitmaps. So rows are neither lost nor counted twice. A failure of a merger is never a
//! failure of the read. The rules are those of PushBasedFetchHelper and ShuffleBlockFetcherIterator, Spark 4.3.0, but
//! for this: Spark gives up the chunks that wait behind a failed one, here each has a try.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use sealed_shuffle_protocol::shuffle::{Bitmap, BlockId};
use thiserror::Error;

use super::{Address, Client, ClientError, Fetch, Merge, MergeStatus, MergedPartition};

/// An outcome of reading a merged partition.
#[derive(Debug)]
pub enum MergedPart {
    /// A chunk.
    Chunk(MergedChunk),
    /// Blocks that are to be fetched as they are, from where the map tasks ran.
    FallBack(FallBack),
}

/// Some blocks of a merged partition, one behind the other in an order that nobody knows.
#[derive(Clone, Debug)]
pub struct MergedChunk {
    /// Which chunk.
    pub chunk: i32,
    /// The map indexes whose blocks are in it. If its bytes turn out to be wrong, fetch these instead.
    pub maps: RoaringBitmap,
    /// The bytes.
    pub bytes: Bytes,
}

/// Blocks that cannot be had merged.
#[derive(Clone, Debug)]
pub struct FallBack {
    /// The chunk that they were in; `None` where they are in none that is known.
    pub chunk: Option<i32>,
    /// Their map indexes; never empty.
    pub maps: RoaringBitmap,
    /// Why.
    pub reason: FallBackReason,
}

/// Why blocks cannot be had merged.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FallBackReason {
    /// What the merger knows of the partition cannot be had.
    #[error("nothing is known of the merged partition: {0}")]
    Meta(Arc<ClientError>),
    /// The chunk cannot be had.
    #[error("the merged chunk cannot be fetched: {0}")]
    Chunk(Arc<ClientError>),
    /// The bitmap of the chunk names map indexes that the finalization did not: it is of another merge.
    #[error("the merged chunk holds blocks that the finalization did not tell of")]
    Unknown,
    /// The bitmap of the chunk names map indexes that an earlier chunk has too: rows would come twice.
    #[error("the merged chunk holds blocks that another chunk holds too")]
    Twice,
    /// The chunk holds blocks of map tasks that ran again since.
    #[error("the merged chunk holds blocks of map tasks that ran again since")]
    Stale,
    /// The fetch of the chunk ended without an outcome, which it should not.
    #[error("the merged chunk had no outcome")]
    Lost,
    /// The finalization told of them, and no chunk has them.
    #[error("no merged chunk holds them")]
    InNoChunk,
}

/// A merged partition as it is read: a stream of outcomes. Dropping it stops the read.
///
/// ```no_run
/// use sealed_shuffle_client::{Address, Client, ClientError, Merge, MergedPart, RoaringBitmap, ShuffleId, ShuffleMergeId};
///
/// # async fn read(client: Client, merger: Address) -> Result<(), ClientError> {
/// let merge = Merge { app_attempt: -1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };
/// for status in client.finalize_shuffle_merge(&merger, merge).await? {
///     // Map task 7 ran again since, so its merged rows are not used.
///     let mut read = client.read_merged(&merger, merge, &status).without(RoaringBitmap::from([7]));
///     while let Some(outcome) = read.next().await {
///         match outcome {
///             MergedPart::Chunk(chunk) => println!("{} bytes of {} map tasks", chunk.bytes.len(), chunk.maps.len()),
///             // These come from where the map tasks ran: see Client::fetch.
///             MergedPart::FallBack(blocks) => println!("{} blocks to fetch: {}", blocks.maps.len(), blocks.reason),
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MergedRead {
    client: Client,
    server: Address,
    partition: MergedPartition,
    stale: RoaringBitmap,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was asked. The map indexes that are expected.
    New(RoaringBitmap),
    Fetching {
        /// What is not fetched at all.
        refused: VecDeque<FallBack>,
        fetch: Option<Fetch>,
        /// The map indexes of each chunk that was asked for and has had no outcome.
        chunks: Vec<(i32, RoaringBitmap)>,
    },
}

impl Client {
    /// Reads one merged partition from the merger that told of it in `status`, the answer to the finalization.
    ///
    /// Map indexes of tasks that ran again since the finalization belong in [`MergedRead::without`].
    pub fn read_merged(&self, server: &Address, merge: Merge, status: &MergeStatus) -> MergedRead {
        let Merge { shuffle, merge, .. } = merge;
        MergedRead {
            client: self.clone(),
            server: server.clone(),
            partition: MergedPartition { shuffle, merge, reduce: status.reduce },
            stale: RoaringBitmap::new(),
            state: State::New(status.maps.as_roaring().clone()),
        }
    }
}

impl MergedRead {
    /// Does not use chunks with blocks of these map indexes: their tasks ran again since, with other results perhaps.
    #[must_use]
    pub fn without(mut self, stale: RoaringBitmap) -> Self {
        self.stale = stale;
        self
    }

    /// The next outcome; `None` when every map index has been in one.
    ///
    /// Cancel safe: an outcome is handed out or comes again.
    pub async fn next(&mut self) -> Option<MergedPart> {
        if let State::New(expected) = &self.state {
            let meta = self.client.merged_block_meta(&self.server, self.partition).await;
            self.state = self.begin(expected, meta);
        }
        let State::Fetching { refused, fetch, chunks } = &mut self.state else { return None };
        if let Some(refused) = refused.pop_front() {
            return Some(MergedPart::FallBack(refused));
        }
        let Some(outcome) = fetch.as_mut()?.next().await else {
            let (chunk, maps) = chunks.pop()?;
            return Some(MergedPart::FallBack(FallBack {
                chunk: Some(chunk),
                maps,
                reason: FallBackReason::Lost,
            }));
        };
        let block = match &outcome {
            Ok((block, _)) => block,
            Err(error) => &error.block,
        };
        let BlockId::ShuffleChunk { chunk: of, .. } = block else {
            unreachable!("only chunks were asked for")
        };
        let at = chunks.iter().position(|(chunk, _)| chunk == of)?;
        let (chunk, maps) = chunks.swap_remove(at);
        Some(match outcome {
            Ok((_, bytes)) => MergedPart::Chunk(MergedChunk { chunk, maps, bytes }),
            Err(error) => {
                let reason = FallBackReason::Chunk(error.error);
                MergedPart::FallBack(FallBack { chunk: Some(chunk), maps, reason })
            }
        })
    }

    /// Sorts the chunks into those to fetch and those to fall back on.
    fn begin(&self, expected: &RoaringBitmap, meta: Result<Vec<Bitmap>, ClientError>) -> State {
        let Assignment { chunks, refused } = match meta {
            Ok(bitmaps) => sorted(expected, &self.stale, bitmaps),
            Err(error) => {
                let mut refused = VecDeque::new();
                let reason = FallBackReason::Meta(Arc::new(error));
                refuse(&mut refused, None, expected.clone(), reason);
                Assignment { chunks: Vec::new(), refused }
            }
        };
        let wanted = chunks.iter().map(|(chunk, _)| *chunk);
        let fetch = (!chunks.is_empty())
            .then(|| self.client.fetch_merged_chunks(&self.server, self.partition, wanted));
        State::Fetching { refused, fetch, chunks }
    }
}

struct Assignment {
    chunks: Vec<(i32, RoaringBitmap)>,
    refused: VecDeque<FallBack>,
}

/// Every expected map index ends in exactly one chunk or refusal.
fn sorted(expected: &RoaringBitmap, stale: &RoaringBitmap, bitmaps: Vec<Bitmap>) -> Assignment {
    let mut left = expected.clone();
    let mut sorted = Assignment { chunks: Vec::new(), refused: VecDeque::new() };
    for (chunk, bitmap) in (0..).zip(bitmaps) {
        let maps = bitmap.into_roaring();
        // A few bytes may stand for 2^32 numbers, which are not walked.
        let reason = if maps.len() > expected.len() || !maps.is_subset(expected) {
            Some(FallBackReason::Unknown)
        } else if !maps.is_subset(&left) {
            Some(FallBackReason::Twice)
        } else if !maps.is_disjoint(stale) {
            Some(FallBackReason::Stale)
        } else {
            None
        };
        let known = &maps & &left;
        left -= &known;
        match reason {
            None if known.is_empty() => {}
            None => sorted.chunks.push((chunk, known)),
            Some(reason) => refuse(&mut sorted.refused, Some(chunk), known, reason),
        }
    }
    refuse(&mut sorted.refused, None, left, FallBackReason::InNoChunk);
    sorted
}

fn refuse(refused: &mut VecDeque<FallBack>, chunk: Option<i32>, maps: RoaringBitmap, reason: FallBackReason) {
    if !maps.is_empty() {
        refused.push_back(FallBack { chunk, maps, reason });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(maps: &[u32]) -> RoaringBitmap {
        maps.iter().copied().collect()
    }

    fn told(expected: &[u32], stale: &[u32], chunks: &[&[u32]]) -> (Vec<i32>, Vec<String>) {
        let bitmaps = chunks.iter().map(|maps| Bitmap::from(of(maps))).collect();
        let sorted = sorted(&of(expected), &of(stale), bitmaps);
        let refused = sorted.refused.into_iter().map(|one| {
            let of = one.chunk.map_or_else(|| "no chunk".to_owned(), |chunk| format!("chunk {chunk}"));
            format!("{of}: {:?}", one.maps.into_iter().collect::<Vec<u32>>())
        });
        (sorted.chunks.into_iter().map(|(chunk, _)| chunk).collect(), refused.collect())
    }

    #[test]
    fn chunks_of_what_was_told_are_fetched() {
        assert_eq!(told(&[0, 1, 2, 5], &[], &[&[0, 5], &[1, 2]]), (vec![0, 1], vec![]));
    }

    #[test]
    fn a_map_index_in_no_chunk_is_fallen_back_on() {
        assert_eq!(told(&[0, 1, 2], &[], &[&[0]]), (vec![0], vec!["no chunk: [1, 2]".to_owned()]));
        assert_eq!(told(&[0, 1], &[], &[]), (vec![], vec!["no chunk: [0, 1]".to_owned()]));
    }

    #[test]
    fn a_map_index_in_two_chunks_is_used_once() {
        let chunks: [&[u32]; 2] = [&[0, 1], &[1, 2]];
        assert_eq!(told(&[0, 1, 2], &[], &chunks), (vec![0], vec!["chunk 1: [2]".to_owned()]));
    }

    #[test]
    fn a_chunk_with_unknown_map_indexes_is_not_used() {
        let chunks: [&[u32]; 2] = [&[0, 9], &[1]];
        assert_eq!(told(&[0, 1], &[], &chunks), (vec![1], vec!["chunk 0: [0]".to_owned()]));
    }

    #[test]
    fn a_chunk_of_a_task_that_ran_again_is_not_used() {
        let chunks: [&[u32]; 2] = [&[0, 1], &[2]];
        assert_eq!(told(&[0, 1, 2], &[1], &chunks), (vec![1], vec!["chunk 0: [0, 1]".to_owned()]));
    }

    #[test]
    fn a_bitmap_of_all_numbers_costs_nothing() {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..=u32::MAX);
        let sorted = sorted(&of(&[3]), &of(&[]), vec![Bitmap::from(all); 100]);
        assert!(sorted.chunks.is_empty());
        assert_eq!(sorted.refused.len(), 1);
    }

    proptest! {
        #[test]
        fn every_expected_map_index_has_exactly_one_outcome(
            expected in prop::collection::vec(0_u32..40, 0..40),
            stale in prop::collection::vec(0_u32..40, 0..3),
            chunks in prop::collection::vec(prop::collection::vec(0_u32..50, 0..8), 0..12),
        ) {
            let bitmaps = chunks.iter().map(|maps| Bitmap::from(of(maps))).collect();
            let sorted = sorted(&of(&expected), &of(&stale), bitmaps);
            let outcomes = sorted.chunks.iter().map(|(_, maps)| maps);
            let outcomes = outcomes.chain(sorted.refused.iter().map(|one| &one.maps));
            let mut seen: Vec<u32> = outcomes.flatten().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, of(&expected).into_iter().collect::<Vec<_>>());
            for (chunk, maps) in &sorted.chunks {
                prop_assert_eq!(maps, &of(&chunks[usize::try_from(*chunk).unwrap()]), "a chunk is whole");
            }
        }
    }
}
