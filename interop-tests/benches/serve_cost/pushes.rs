//! Pushing as a load: every block of a shuffle once, and its finalization.
//!
//! A partition is pushed over one connection, so that no two blocks of one meet: a block that waits for another one is
//! copied, or refused, and which of them depends on the weather. So every block is merged, which is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;
use sealed_shuffle_client::{Address, Client, Merge, MergedPartition, PushedBlock};
use sealed_shuffle_interop_tests::oracle::content;
use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::task::JoinSet;

use crate::words::Words;

/// Blocks that are on their way on one connection.
const AHEAD: usize = 8;

/// A shuffle that is to be pushed.
pub(crate) struct Pushes {
    server: Address,
    merge: Merge,
    maps: i32,
    /// Of each partition, what every map task has of it.
    blocks: Vec<Bytes>,
}

impl Pushes {
    pub(crate) fn new(words: &Words, server: Address) -> Self {
        let shuffle = ShuffleId(words.number("shuffle"));
        let merge = Merge { app_attempt: 1, shuffle, merge: ShuffleMergeId(0) };
        let (reduces, block): (u64, usize) = (words.number("reduces"), words.number("block"));
        let blocks = (0..reduces).map(|reduce| Bytes::from(content(reduce, block))).collect();
        Self { server, merge, maps: words.number("maps"), blocks }
    }

    /// Pushes all of it and finalizes; the bytes that were merged.
    pub(crate) async fn push(&self, clients: &[Client]) -> u64 {
        let mut lanes = JoinSet::new();
        for (at, client) in clients.iter().enumerate() {
            let own = (0..).map(ReduceId).zip(self.blocks.iter().cloned()).skip(at).step_by(clients.len());
            let own: Arc<Vec<_>> = Arc::new(own.collect());
            let next = Arc::new(AtomicI32::new(0));
            for _ in 0..AHEAD {
                let lane = Lane {
                    client: client.clone(),
                    server: self.server.clone(),
                    merge: self.merge,
                    maps: self.maps,
                    blocks: Arc::clone(&own),
                    next: Arc::clone(&next),
                };
                lanes.spawn(lane.run());
            }
        }
        lanes.join_all().await;
        let statuses = clients[0].finalize_shuffle_merge(&self.server, self.merge).await;
        let merged = statuses.expect("the merge is finalized").iter().map(|status| status.size).sum();
        let maps = u64::from(self.maps.unsigned_abs());
        let pushed = maps * self.blocks.iter().map(|block| block.len() as u64).sum::<u64>();
        assert_eq!(merged, pushed, "every block is merged");
        merged
    }

    /// Has the service delete it.
    pub(crate) async fn remove(&self, client: &Client) {
        let removed = client.remove_shuffle_merge(&self.server, self.merge).await;
        removed.expect("the request goes out");
        // Nobody answers it, but what comes behind it on the same connection.
        let Merge { shuffle, merge, .. } = self.merge;
        let partition = MergedPartition { shuffle, merge, reduce: ReduceId(0) };
        drop(client.merged_block_meta(&self.server, partition).await);
    }
}

/// One of those that push over a connection.
struct Lane {
    client: Client,
    server: Address,
    merge: Merge,
    maps: i32,
    /// The partitions of this connection.
    blocks: Arc<Vec<(ReduceId, Bytes)>>,
    /// Counts blocks: all partitions of one map, then of the next.
    next: Arc<AtomicI32>,
}

impl Lane {
    async fn run(self) {
        let partitions = i32::try_from(self.blocks.len()).expect("partitions are few");
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            // A connection without partitions has nothing to do.
            let (Some(map_index), Some(place)) = (at.checked_div(partitions), at.checked_rem(partitions))
            else {
                return;
            };
            if map_index >= self.maps {
                return;
            }
            let (reduce, body) = &self.blocks[usize::try_from(place).expect("it is not negative")];
            let block = PushedBlock { map_index, reduce: *reduce, body: body.clone().into() };
            let code = self.client.push_block(&self.server, self.merge, block).await;
            assert_eq!(code.expect("the service takes the block"), ReturnCode::Success);
        }
    }
}
