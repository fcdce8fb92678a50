//! Which message opens which blocks, and which chunk is which block.
//!
//! | block ids | message |
//! |---|---|
//! | `shuffle_S_M_R` and ranges of one shuffle | FetchShuffleBlocks |
//! | `shuffleChunk_…` of one merge | FetchShuffleBlockChunks |
//! | everything else; with `spark.shuffle.useOldFetchProtocol` everything | OpenBlocks |
//!
//! The choice is that of OneForOneBlockFetcher, Spark 4.3.0, which refuses a request whose ids are not of
//! one shuffle; here such a list is cut into requests, since a shuffle service decides the kind of a whole
//! request by its first id. Blocks of one map task lie together in a request, so chunks come in another order
//! than the ids were given in.

use std::collections::HashMap;

use bytes::Bytes;
use sealed_shuffle_protocol::codec::EncodeError;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{
    BlockId, BlockTransferMessage, FetchShuffleBlockChunks, FetchShuffleBlocks, Lists, OpenBlocks,
    SHUFFLE_PUSH_MERGER, Strings,
};

use super::ClientError;

/// Blocks that one message can open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Group {
    /// Single partitions of one shuffle.
    Single(ShuffleId),
    /// Ranges of partitions of one shuffle.
    Batch(ShuffleId),
    /// Chunks of merged partitions.
    Chunks(ShuffleId, ShuffleMergeId),
    /// Shuffle blocks in the old message.
    Old(ShuffleId),
    Rdd,
    Other,
}

impl Group {
    fn of(block: &BlockId, old_protocol: bool) -> Result<Self, ClientError> {
        Ok(match block {
            BlockId::Shuffle { shuffle, .. } if old_protocol => Self::Old(*shuffle),
            BlockId::ShuffleBatch { .. } if old_protocol => {
                return Err(ClientError::BatchInOldProtocol(block.clone()));
            }
            BlockId::Shuffle { shuffle, .. } => Self::Single(*shuffle),
            BlockId::ShuffleBatch { shuffle, .. } => Self::Batch(*shuffle),
            BlockId::ShuffleChunk { shuffle, merge, .. } if !old_protocol => Self::Chunks(*shuffle, *merge),
            BlockId::Rdd { .. } => Self::Rdd,
            _ => Self::Other,
        })
    }
}

/// The blocks of one request, in the order of their chunks.
#[derive(Clone, Debug)]
pub(super) struct Request {
    group: Group,
    pub(super) blocks: Vec<BlockId>,
}

/// Cuts a list of blocks into requests of at most `most` blocks each; what cannot be asked for comes back.
pub(super) fn cut(
    blocks: Vec<BlockId>,
    most: usize,
    old_protocol: bool,
) -> (Vec<Request>, Vec<(BlockId, ClientError)>) {
    let mut requests: Vec<Request> = Vec::new();
    let mut refused = Vec::new();
    let mut open: HashMap<Group, usize> = HashMap::new();
    for block in blocks {
        let group = match Group::of(&block, old_protocol) {
            Ok(group) => group,
            Err(error) => {
                refused.push((block, error));
                continue;
            }
        };
        match open.get(&group) {
            Some(&at) if requests[at].blocks.len() < most => requests[at].blocks.push(block),
            _ => {
                open.insert(group, requests.len());
                requests.push(Request { group, blocks: vec![block] });
            }
        }
    }
    for request in &mut requests {
        request.order();
    }
    (requests, refused)
}

impl Request {
    /// The same kind of request for other blocks of the same group.
    pub(super) fn with(&self, blocks: Vec<BlockId>) -> Self {
        let mut request = Self { group: self.group, blocks };
        request.order();
        request
    }

    /// Brings the blocks into the order of their chunks: what a message groups lies together, groups in
    /// order of first appearance.
    fn order(&mut self) {
        let mut first: HashMap<i64, usize> = HashMap::new();
        for block in &self.blocks {
            let next = first.len();
            if let Some(key) = grouped_by(block) {
                first.entry(key).or_insert(next);
            }
        }
        match self.group {
            // One chunk for each range: nothing is grouped.
            Group::Single(_) | Group::Chunks(..) => {
                self.blocks.sort_by_key(|block| grouped_by(block).and_then(|key| first.get(&key)).copied());
            }
            Group::Batch(_) | Group::Old(_) | Group::Rdd | Group::Other => {}
        }
    }

    /// The message that opens a stream of just these blocks, one chunk each.
    pub(super) fn encode(&self, app: &AppId, executor: &ExecutorId) -> Result<Bytes, EncodeError> {
        self.message(app.clone(), executor.clone())?.encode()
    }

    fn message(&self, app: AppId, executor: ExecutorId) -> Result<BlockTransferMessage, EncodeError> {
        match self.group {
            Group::Single(shuffle) => {
                let (maps, reduces) = self.nested(|block| match block {
                    BlockId::Shuffle { map, reduce, .. } => Some((*map, *reduce)),
                    _ => None,
                });
                Ok(FetchShuffleBlocks { app, executor, shuffle, maps, reduces, batch: false }.into())
            }
            Group::Batch(shuffle) => {
                let mut maps: Vec<MapId> = Vec::new();
                let mut reduces = Lists::new();
                for block in &self.blocks {
                    if let BlockId::ShuffleBatch { map, start, end, .. } = block {
                        maps.push(*map);
                        reduces.push([*start, *end]);
                    }
                }
                Ok(FetchShuffleBlocks { app, executor, shuffle, maps, reduces, batch: true }.into())
            }
            Group::Chunks(shuffle, merge) => {
                let (reduces, chunks): (Vec<ReduceId>, _) = self.nested(|block| match block {
                    BlockId::ShuffleChunk { reduce, chunk, .. } => Some((*reduce, *chunk)),
                    _ => None,
                });
                let executor = ExecutorId::new(SHUFFLE_PUSH_MERGER);
                Ok(FetchShuffleBlockChunks { app, executor, shuffle, merge, reduces, chunks }.into())
            }
            Group::Old(_) | Group::Rdd | Group::Other => {
                let blocks = Strings::try_from_iter(self.blocks.iter().map(BlockId::to_string))?;
                Ok(OpenBlocks { app, executor, blocks }.into())
            }
        }
    }

    /// Adjacent blocks of one key become one list.
    fn nested<K: Copy + PartialEq, V>(
        &self,
        parts: impl Fn(&BlockId) -> Option<(K, V)>,
    ) -> (Vec<K>, Lists<V>) {
        let mut keys: Vec<K> = Vec::new();
        let mut lists = Lists::new();
        let mut list = Vec::new();
        for (key, value) in self.blocks.iter().filter_map(parts) {
            if keys.last() != Some(&key) {
                if !keys.is_empty() {
                    lists.push(std::mem::take(&mut list));
                }
                keys.push(key);
            }
            list.push(value);
        }
        if !keys.is_empty() {
            lists.push(list);
        }
        (keys, lists)
    }
}

/// What a message groups blocks by.
fn grouped_by(block: &BlockId) -> Option<i64> {
    match block {
        BlockId::Shuffle { map, .. } => Some(map.0),
        BlockId::ShuffleChunk { reduce, .. } => Some(i64::from(reduce.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<BlockId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn names(request: &Request) -> Vec<String> {
        request.blocks.iter().map(BlockId::to_string).collect()
    }

    fn only(blocks: &[&str], old: bool) -> Request {
        let (mut requests, refused) = cut(ids(blocks), 100, old);
        assert!(refused.is_empty() && requests.len() == 1);
        requests.remove(0)
    }

    /// The bytes of OneForOneBlockFetcher, Spark 4.3.0, for the same ids.
    #[test]
    fn blocks_of_one_map_lie_together() {
        let request = only(&["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_4_2", "shuffle_0_3_2"], false);
        assert_eq!(names(&request), ["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_3_2", "shuffle_0_4_2"]);
        let bytes = request.encode(&AppId::new("app-1"), &ExecutorId::new("1")).unwrap();
        let spark = "09000000056170702d310000000131000000000000000200000000000000030000000000000004\
                     0000000200000003000000000000000100000002000000010000000200";
        assert_eq!(hex(&bytes), spark);
    }

    #[test]
    fn ranges_are_a_batch_in_the_order_given() {
        let request = only(&["shuffle_0_3_0_4", "shuffle_0_4_1_3"], false);
        let bytes = request.encode(&AppId::new("app-1"), &ExecutorId::new("1")).unwrap();
        let spark = "09000000056170702d310000000131000000000000000200000000000000030000000000000004\
                     0000000200000002000000000000000400000002000000010000000301";
        assert_eq!(hex(&bytes), spark);
    }

    #[test]
    fn the_old_protocol_opens_by_name() {
        let request = only(&["shuffle_0_3_0", "shuffle_0_4_2"], true);
        let bytes = request.encode(&AppId::new("app-1"), &ExecutorId::new("1")).unwrap();
        let spark = "00000000056170702d310000000131000000020000000d73687566666c655f305f335f30\
                     0000000d73687566666c655f305f345f32";
        assert_eq!(hex(&bytes), spark);
        let (_, refused) = cut(ids(&["shuffle_0_3_0_4"]), 100, true);
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn a_mixed_list_is_cut_by_kind_shuffle_and_number() {
        let mixed =
            ["rdd_1_2", "shuffle_0_1_0", "shuffle_1_1_0", "broadcast_3", "shuffle_0_1_0_2", "rdd_1_3"];
        let (requests, _) = cut(ids(&mixed), 100, false);
        let cut_names: Vec<_> = requests.iter().map(names).collect();
        assert_eq!(cut_names[0], ["rdd_1_2", "rdd_1_3"]);
        assert_eq!(cut_names.len(), 5);
        let (requests, _) = cut(ids(&["rdd_0_0", "rdd_0_1", "rdd_0_2"]), 2, false);
        assert_eq!(requests.iter().map(|request| request.blocks.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_block_given_twice_is_two_chunks() {
        let request = only(&["shuffle_0_1_0", "shuffle_0_2_0", "shuffle_0_1_0"], false);
        assert_eq!(names(&request), ["shuffle_0_1_0", "shuffle_0_1_0", "shuffle_0_2_0"]);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
