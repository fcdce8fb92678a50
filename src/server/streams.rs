//! The open streams of one connection.
//!
//! A stream belongs to the connection that opened it, so the table lives in the session and dies with
//! it. The rules are those of OneForOneStreamManager, Spark 4.3.0: chunks are taken in order,
//! each once; the stream is gone when its last chunk was handed out; a chunk that failed fails again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::shuffle::{
    FetchShuffleBlockChunks, FetchShuffleBlocks, MergedChunk, RddBlock, ReduceRange, ShuffleBlock,
};

use crate::disk::MapOutput;

/// What the chunks of a stream are.
#[derive(Debug)]
pub(super) enum Plan {
    /// By number, from FetchShuffleBlocks.
    Fetch(FetchShuffleBlocks),
    /// By name, from OpenBlocks.
    Shuffle { shuffle: ShuffleId, blocks: Vec<ShuffleBlock> },
    /// Disk-persisted RDD partitions, by name.
    Rdd(Vec<RddBlock>),
    /// Merged chunks by number, from FetchShuffleBlockChunks.
    FetchChunks(FetchShuffleBlockChunks),
    /// The same by name, from OpenBlocks.
    Chunks { shuffle: ShuffleId, merge: ShuffleMergeId, chunks: Vec<MergedChunk> },
}

/// One chunk, as far as the request says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A range of partitions of a map output.
    Shuffle(ShuffleId, ReduceRange),
    /// A whole RDD partition.
    Rdd(RddBlock),
    /// A chunk of a merged partition.
    Merged(ShuffleId, ShuffleMergeId, MergedChunk),
}

impl Plan {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fetch(fetch) => fetch.chunk_count(),
            Self::Shuffle { blocks, .. } => blocks.len(),
            Self::Rdd(blocks) => blocks.len(),
            Self::FetchChunks(fetch) => fetch.chunk_count(),
            Self::Chunks { chunks, .. } => chunks.len(),
        }
    }

    /// Numbers that the plan keeps in memory; at least one.
    fn weight(&self) -> usize {
        let numbers = match self {
            // With empty lists there are more maps than chunks.
            Self::Fetch(fetch) => fetch.maps.len() + fetch.reduces.len() + fetch.reduces.items().len(),
            Self::FetchChunks(fetch) => 2 * fetch.reduces.len() + fetch.chunk_count(),
            Self::Shuffle { .. } | Self::Rdd(_) | Self::Chunks { .. } => 2 * self.len(),
        };
        numbers.max(1)
    }

    fn chunk(&self, index: usize) -> Option<Wanted> {
        match self {
            Self::Fetch(fetch) => Some(Wanted::Shuffle(fetch.shuffle, fetch.chunk(index)?)),
            Self::Shuffle { shuffle, blocks } => {
                let block = blocks.get(index)?;
                Some(Wanted::Shuffle(*shuffle, ReduceRange::single(block.map, block.reduce)))
            }
            Self::Rdd(blocks) => blocks.get(index).copied().map(Wanted::Rdd),
            Self::FetchChunks(fetch) => Some(Wanted::Merged(fetch.shuffle, fetch.merge, fetch.chunk(index)?)),
            Self::Chunks { shuffle, merge, chunks } => {
                Some(Wanted::Merged(*shuffle, *merge, *chunks.get(index)?))
            }
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) app: AppId,
    pub(super) executor: ExecutorId,
    plan: Plan,
    /// The index that the next request must name.
    expected: i32,
    /// The chunk that the next request gets; stays behind `expected` once a chunk failed.
    next: usize,
    /// The map output that the last chunk came from: a request takes many partitions of one map.
    pub(super) resolved: Option<(MapId, Arc<MapOutput>)>,
    /// Its part of what all open streams may hold.
    held: Option<StreamBytes>,
}

impl Stream {
    pub(super) fn new(app: AppId, executor: ExecutorId, plan: Plan) -> Self {
        Self { app, executor, plan, expected: 0, next: 0, resolved: None, held: None }
    }

    /// Whether each of its chunks was asked for.
    fn is_asked_for(&self) -> bool {
        usize::try_from(self.expected).is_ok_and(|asked| asked >= self.plan.len())
    }
}

/// A stream that cannot be opened, or a chunk request that cannot be served.
#[derive(Debug)]
pub(super) enum StreamError {
    /// Never opened here, read to its end, or somebody else's.
    Unknown,
    /// Chunks are taken in order.
    OutOfOrder { got: ChunkIndex, expected: i32 },
    /// A stream without chunks.
    BeyondEnd(ChunkIndex),
    /// More streams than a connection may hold (`spark.sealed.limits.streams-per-connection`).
    TooMany(usize),
    /// Streams that together keep more numbers in memory than a connection may.
    TooHeavy(usize),
    /// Streams of all connections that together keep more bytes in memory than the server may.
    NoMemory(u64),
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    open: HashMap<StreamId, Stream>,
    most: usize,
    /// Weight of all plans, and its bound: what one stream may hold is all that a connection may hold.
    weight: usize,
    most_weight: usize,
}

impl Streams {
    /// At most `most` streams, of at most `chunks` chunks together.
    pub(super) fn new(most: usize, chunks: usize) -> Self {
        // A chunk takes at most a map, a list and a partition.
        Self { open: HashMap::new(), most, weight: 0, most_weight: chunks.saturating_mul(3) }
    }

    /// Whether a chunk is still to be asked for. A stream with a chunk that failed stays open and can be asked for
    /// more, as in Spark; but a client asks once for each chunk, and those that it asked for are answered.
    pub(super) fn are_read_on(&self) -> bool {
        self.open.values().any(|stream| !stream.is_asked_for())
    }

    /// Opens a stream and names it.
    pub(super) fn open(&mut self, ids: &StreamIds, mut stream: Stream) -> Result<StreamId, StreamError> {
        if self.open.len() >= self.most {
            return Err(StreamError::TooMany(self.most));
        }
        let weight = self.weight.saturating_add(stream.plan.weight());
        if weight > self.most_weight {
            return Err(StreamError::TooHeavy(self.most_weight));
        }
        stream.held = Some(ids.hold(stream.plan.weight())?);
        self.weight = weight;
        let id = ids.next();
        self.open.insert(id, stream);
        Ok(id)
    }

    /// What chunk `index` of the stream is. The expected index moves on at once, the position only
    /// with [`Streams::took`], as in Spark.
    pub(super) fn ask(
        &mut self,
        id: StreamId,
        index: ChunkIndex,
    ) -> Result<(&mut Stream, Wanted), StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown)?;
        if index.0 != stream.expected {
            return Err(StreamError::OutOfOrder { got: index, expected: stream.expected });
        }
        let wanted = stream.plan.chunk(stream.next).ok_or(StreamError::BeyondEnd(index))?;
        stream.expected += 1;
        Ok((stream, wanted))
    }

    /// The chunk that was asked for last is on its way; the last one closes the stream.
    pub(super) fn took(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.next += 1;
            if stream.next >= stream.plan.len() {
                self.weight -= stream.plan.weight();
                self.open.remove(&id);
            }
        }
    }
}

/// What the streams of all connections share: names, with an unguessable start and then one by one, as Spark
/// gives them since 4.0.5; and the memory that they may hold together.
#[derive(Debug)]
pub(super) struct StreamIds {
    next: AtomicI64,
    held: Arc<AtomicU64>,
    most: u64,
}

/// Bytes that a stream holds, until dropped.
#[derive(Debug)]
struct StreamBytes {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl StreamIds {
    /// Streams may hold `most` bytes together.
    pub(super) fn starting_at(random: [u8; 8], most: u64) -> Self {
        let next = AtomicI64::new(i64::from_be_bytes(random) & i64::MAX);
        Self { next, held: Arc::default(), most }
    }

    fn next(&self) -> StreamId {
        StreamId(self.next.fetch_add(1, Ordering::Relaxed) & i64::MAX)
    }

    /// Takes the memory of a plan of `weight` numbers, 8 bytes each at most.
    fn hold(&self, weight: usize) -> Result<StreamBytes, StreamError> {
        let bytes = (weight as u64).saturating_mul(8);
        let held = StreamBytes { all: Arc::clone(&self.held), bytes };
        if self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.most {
            return Err(StreamError::NoMemory(self.most));
        }
        Ok(held)
    }
}

impl Drop for StreamBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::ids::ReduceId;

    use super::super::refusals::Refusal;
    use super::*;

    fn two_chunks() -> Stream {
        let block = |reduce| ShuffleBlock { map: MapId(3), reduce: ReduceId(reduce) };
        let plan = Plan::Shuffle { shuffle: ShuffleId(0), blocks: vec![block(0), block(1)] };
        Stream::new(AppId::new("app-1"), ExecutorId::new("1"), plan)
    }

    fn opened() -> (Streams, StreamId) {
        let mut streams = Streams::new(2, 8);
        let id = streams.open(&StreamIds::starting_at([0xff; 8], u64::MAX), two_chunks()).unwrap();
        (streams, id)
    }

    fn text<T>(result: Result<T, StreamError>) -> String {
        Refusal::Stream(result.err().unwrap()).text()
    }

    #[test]
    fn chunks_are_taken_in_order_and_the_last_closes_the_stream() {
        let (mut streams, id) = opened();
        assert_eq!(
            text(streams.ask(id, ChunkIndex(1))),
            "java.lang.IllegalStateException: Received out-of-order chunk index 1 (expected 0)"
        );
        for index in [0, 1] {
            streams.ask(id, ChunkIndex(index)).unwrap();
            streams.took(id);
        }
        assert_eq!(
            text(streams.ask(id, ChunkIndex(2))),
            "java.lang.IllegalArgumentException: Unknown stream ID."
        );
    }

    #[test]
    fn chunk_that_failed_is_what_the_next_index_gets_again() {
        let (mut streams, id) = opened();
        streams.ask(id, ChunkIndex(0)).unwrap();
        let (_, wanted) = streams.ask(id, ChunkIndex(1)).unwrap();
        assert!(matches!(wanted, Wanted::Shuffle(_, ReduceRange { start: ReduceId(0), .. })), "{wanted:?}");
    }

    #[test]
    fn stream_ids_are_never_negative() {
        let ids = StreamIds::starting_at([0xff; 8], u64::MAX);
        assert!((0..3).all(|_| ids.next().0 >= 0));
    }

    #[test]
    fn streams_of_a_connection_share_one_bound_of_memory() {
        let ids = StreamIds::starting_at([0; 8], u64::MAX);
        let mut streams = Streams::new(100, 4);
        let open: Vec<_> = (0..3).map(|_| streams.open(&ids, two_chunks()).unwrap()).collect();
        assert!(text(streams.open(&ids, two_chunks())).contains("spark.sealed.limits.chunks-per-stream"));
        for index in [0, 1] {
            streams.ask(open[0], ChunkIndex(index)).unwrap();
            streams.took(open[0]);
        }
        streams.open(&ids, two_chunks()).unwrap();

        let maps_without_partitions = Plan::Fetch(FetchShuffleBlocks {
            app: AppId::new("app-1"),
            executor: ExecutorId::new("1"),
            shuffle: ShuffleId(0),
            maps: vec![MapId(0); 100],
            reduces: (0..100).map(|_| []).collect(),
            batch: false,
        });
        let stream = Stream::new(AppId::new("app-1"), ExecutorId::new("1"), maps_without_partitions);
        assert!(matches!(streams.open(&ids, stream), Err(StreamError::TooHeavy(_))));
    }

    #[test]
    fn refuses_more_streams_than_the_limit() {
        let (mut streams, _) = opened();
        let ids = StreamIds::starting_at([0; 8], u64::MAX);
        streams.open(&ids, two_chunks()).unwrap();
        assert!(
            text(streams.open(&ids, two_chunks())).contains("spark.sealed.limits.streams-per-connection")
        );
    }

    #[test]
    fn streams_of_all_connections_share_one_bound_of_memory() {
        let ids = StreamIds::starting_at([0; 8], two_chunks().plan.weight() as u64 * 8);
        let (mut here, mut there) = (Streams::new(2, 100), Streams::new(2, 100));
        let id = here.open(&ids, two_chunks()).unwrap();
        assert!(text(there.open(&ids, two_chunks())).contains("spark.sealed.memory.budget"));
        for index in [0, 1] {
            here.ask(id, ChunkIndex(index)).unwrap();
            here.took(id);
        }
        there.open(&ids, two_chunks()).unwrap();
    }
}
