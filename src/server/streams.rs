//! The open streams of one connection.
//!
//! A stream belongs to the connection that opened it, so the table lives in the session and dies with
//! it. The rules are those of OneForOneStreamManager, Spark 4.3.0: chunks are taken in order,
//! each once; the stream is gone when its last chunk was handed out; a chunk that failed fails again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::shuffle::{
    FetchShuffleBlockChunks, FetchShuffleBlocks, MergedChunk, RddBlock, ReduceRange, ShuffleBlock,
};

use sealed_shuffle_transport::pot::{Account, Holding, UsedUp};

use crate::disk::MapOutput;
use crate::traces::Trace;

/// A stream that nobody asked for so long may be dropped where another one needs its room. Spark's client asks for all
/// chunks as soon as it has the stream's name.
const UNUSED: Duration = Duration::from_secs(60);

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
pub(super) enum ChunkPlan {
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

    fn chunk(&self, index: usize) -> Option<ChunkPlan> {
        match self {
            Self::Fetch(fetch) => Some(ChunkPlan::Shuffle(fetch.shuffle, fetch.chunk(index)?)),
            Self::Shuffle { shuffle, blocks } => {
                let block = blocks.get(index)?;
                Some(ChunkPlan::Shuffle(*shuffle, ReduceRange::single(block.map, block.reduce)))
            }
            Self::Rdd(blocks) => blocks.get(index).copied().map(ChunkPlan::Rdd),
            Self::FetchChunks(fetch) => {
                Some(ChunkPlan::Merged(fetch.shuffle, fetch.merge, fetch.chunk(index)?))
            }
            Self::Chunks { shuffle, merge, chunks } => {
                Some(ChunkPlan::Merged(*shuffle, *merge, *chunks.get(index)?))
            }
        }
    }
}

/// A map output that was found.
#[derive(Debug)]
pub(super) struct FoundOutput {
    pub(super) map: MapId,
    pub(super) output: Arc<MapOutput>,
    /// When its files were looked at last.
    pub(super) looked: Burst,
}

/// The requests that arrived together on one connection. Who asks for several at once knows nothing that happened between
/// them, so a file is looked at once for all of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Burst(u64);

impl Burst {
    /// What arrives from now on belongs to another one.
    pub(super) fn ended(&mut self) {
        self.0 = self.0.wrapping_add(1);
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
    pub(super) resolved: Option<FoundOutput>,
    /// When it was opened or asked last.
    last_use: Instant,
    /// Its part of what all open streams may hold.
    held: Option<Holding>,
    /// The request that opened it, where that is traced.
    pub(super) trace: Option<Arc<Trace>>,
}

impl Stream {
    pub(super) fn new(app: AppId, executor: ExecutorId, plan: Plan, now: Instant) -> Self {
        Self {
            app,
            executor,
            plan,
            expected: 0,
            next: 0,
            resolved: None,
            last_use: now,
            held: None,
            trace: None,
        }
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
    /// Streams of all connections of the application keep as many bytes in memory as is its share.
    UsedUp(UsedUp),
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    /// By their names, which are ours. Few are open at a time.
    open: BTreeMap<StreamId, Stream>,
    most: usize,
    /// Weight of all plans, and its bound: what one stream may hold is all that a connection may hold.
    weight: usize,
    most_weight: usize,
}

impl Streams {
    /// At most `most` streams, of at most `chunks` chunks together.
    pub(super) fn new(most: usize, chunks: usize) -> Self {
        // A chunk takes at most a map, a list and a partition.
        Self { open: BTreeMap::new(), most, weight: 0, most_weight: chunks.saturating_mul(3) }
    }

    /// Whether a chunk is still to be asked for. A stream with a chunk that failed stays open and can be asked for
    /// more, as in Spark; but a client asks once for each chunk, and those that it asked for are answered.
    pub(super) fn are_read_on(&self) -> bool {
        self.open.values().any(|stream| !stream.is_asked_for())
    }

    /// Opens a stream and names it; what it holds is on `account`. Where there is no room, streams go first that nobody has
    /// asked for long: a client of Spark asks for all chunks at once, and says nothing of a stream that it gave up.
    pub(super) fn open(
        &mut self,
        ids: &StreamIds,
        mut stream: Stream,
        account: &Account,
    ) -> Result<StreamId, StreamError> {
        let (weight, now) = (stream.plan.weight(), stream.last_use);
        let is_full = |streams: &Self| {
            streams.open.len() >= streams.most || streams.weight.saturating_add(weight) > streams.most_weight
        };
        if is_full(self) {
            self.drop_unused(now);
        }
        if self.open.len() >= self.most {
            return Err(StreamError::TooMany(self.most));
        }
        if is_full(self) {
            return Err(StreamError::TooHeavy(self.most_weight));
        }
        // Numbers take 8 bytes each at most.
        let bytes = (weight as u64).saturating_mul(8);
        let held = account.try_take(bytes).or_else(|_| {
            self.drop_unused(now);
            account.try_take(bytes)
        });
        stream.held = Some(held.map_err(StreamError::UsedUp)?);
        self.weight += weight;
        let id = ids.next();
        self.open.insert(id, stream);
        Ok(id)
    }

    fn drop_unused(&mut self, now: Instant) {
        let is_unused = |stream: &Stream| now.saturating_duration_since(stream.last_use) >= UNUSED;
        let unused: Vec<StreamId> =
            self.open.iter().filter(|(_, stream)| is_unused(stream)).map(|(id, _)| *id).collect();
        unused.into_iter().for_each(|id| self.drop_one(id));
    }

    fn drop_one(&mut self, id: StreamId) {
        if let Some(stream) = self.open.remove(&id) {
            self.weight -= stream.plan.weight();
        }
    }

    /// The trace of the stream, where there is one.
    pub(super) fn trace(&self, id: StreamId) -> Option<&Arc<Trace>> {
        self.open.get(&id)?.trace.as_ref()
    }

    /// A chunk has failed: drops the stream if its remaining chunks can only fail, since each was asked for once.
    pub(super) fn drop_if_over(&mut self, id: StreamId) {
        if self.open.get(&id).is_some_and(Stream::is_asked_for) {
            self.drop_one(id);
        }
    }

    /// What chunk `index` of the stream is. The expected index moves on at once, the position only
    /// with [`Streams::took`], as in Spark.
    pub(super) fn ask(
        &mut self,
        id: StreamId,
        index: ChunkIndex,
        now: Instant,
    ) -> Result<(&mut Stream, ChunkPlan), StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown)?;
        stream.last_use = now;
        if index.0 != stream.expected {
            return Err(StreamError::OutOfOrder { got: index, expected: stream.expected });
        }
        let wanted = stream.plan.chunk(stream.next).ok_or(StreamError::BeyondEnd(index))?;
        stream.expected += 1;
        Ok((stream, wanted))
    }

    /// The chunk that was asked for last is on its way; the last one closes the stream, and so does the last that is asked
    /// for where one before it has failed.
    pub(super) fn took(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.next += 1;
            if stream.next >= stream.plan.len() || stream.is_asked_for() {
                self.drop_one(id);
            }
        }
    }
}

/// The names of streams, over all connections: with an unguessable start and then one by one, as Spark gives them since
/// 4.0.5.
#[derive(Debug)]
pub(super) struct StreamIds {
    next: AtomicI64,
}

impl StreamIds {
    pub(super) fn starting_at(random: [u8; 8]) -> Self {
        Self { next: AtomicI64::new(i64::from_be_bytes(random) & i64::MAX) }
    }

    fn next(&self) -> StreamId {
        StreamId(self.next.fetch_add(1, Ordering::Relaxed) & i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::ids::ReduceId;
    use sealed_shuffle_transport::pot::{Pot, Tenant};

    use super::super::refusals::Refusal;
    use super::*;

    fn two_chunks() -> Stream {
        let block = |reduce| ShuffleBlock { map: MapId(3), reduce: ReduceId(reduce) };
        let plan = Plan::Shuffle { shuffle: ShuffleId(0), blocks: vec![block(0), block(1)] };
        Stream::new(AppId::new("app-1"), ExecutorId::new("1"), plan, Instant::now())
    }

    fn account() -> Account {
        Pot::new("test", 1 << 30).account(&Tenant::Own)
    }

    fn ids() -> StreamIds {
        StreamIds::starting_at([0; 8])
    }

    fn opened() -> (Streams, StreamId) {
        let mut streams = Streams::new(2, 8);
        let id = streams.open(&StreamIds::starting_at([0xff; 8]), two_chunks(), &account()).unwrap();
        (streams, id)
    }

    fn text<T>(result: Result<T, StreamError>) -> String {
        Refusal::Stream(result.err().unwrap()).text()
    }

    #[test]
    fn chunks_are_taken_in_order_and_the_last_closes_the_stream() {
        let (mut streams, id) = opened();
        assert_eq!(
            text(streams.ask(id, ChunkIndex(1), Instant::now())),
            "java.lang.IllegalStateException: Received out-of-order chunk index 1 (expected 0)"
        );
        for index in [0, 1] {
            streams.ask(id, ChunkIndex(index), Instant::now()).unwrap();
            streams.took(id);
        }
        assert_eq!(
            text(streams.ask(id, ChunkIndex(2), Instant::now())),
            "java.lang.IllegalArgumentException: Unknown stream ID."
        );
    }

    #[test]
    fn chunk_that_failed_is_what_the_next_index_gets_again() {
        let (mut streams, id) = opened();
        streams.ask(id, ChunkIndex(0), Instant::now()).unwrap();
        let (_, wanted) = streams.ask(id, ChunkIndex(1), Instant::now()).unwrap();
        assert!(
            matches!(wanted, ChunkPlan::Shuffle(_, ReduceRange { start: ReduceId(0), .. })),
            "{wanted:?}"
        );
    }

    #[test]
    fn stream_ids_are_never_negative() {
        let ids = StreamIds::starting_at([0xff; 8]);
        assert!((0..3).all(|_| ids.next().0 >= 0));
    }

    #[test]
    fn streams_of_a_connection_share_one_bound_of_memory() {
        let ids = ids();
        let mut streams = Streams::new(100, 4);
        let open: Vec<_> = (0..3).map(|_| streams.open(&ids, two_chunks(), &account()).unwrap()).collect();
        assert!(
            text(streams.open(&ids, two_chunks(), &account()))
                .contains("spark.sealed.limits.chunks-per-stream")
        );
        for index in [0, 1] {
            streams.ask(open[0], ChunkIndex(index), Instant::now()).unwrap();
            streams.took(open[0]);
        }
        streams.open(&ids, two_chunks(), &account()).unwrap();

        let maps_without_partitions = Plan::Fetch(FetchShuffleBlocks {
            app: AppId::new("app-1"),
            executor: ExecutorId::new("1"),
            shuffle: ShuffleId(0),
            maps: vec![MapId(0); 100],
            reduces: (0..100).map(|_| []).collect(),
            batch: false,
        });
        let stream =
            Stream::new(AppId::new("app-1"), ExecutorId::new("1"), maps_without_partitions, Instant::now());
        assert!(matches!(streams.open(&ids, stream, &account()), Err(StreamError::TooHeavy(_))));
    }

    #[test]
    fn refuses_more_streams_than_the_limit() {
        let (mut streams, _) = opened();
        let ids = ids();
        streams.open(&ids, two_chunks(), &account()).unwrap();
        assert!(
            text(streams.open(&ids, two_chunks(), &account()))
                .contains("spark.sealed.limits.streams-per-connection")
        );
    }

    #[test]
    fn streams_of_an_application_share_its_memory_and_leave_some_to_others() {
        let bytes = two_chunks().plan.weight() as u64 * 8;
        let pot = Pot::new("test", 9 * bytes);
        let (a, b) = (pot.account(&Tenant::App(AppId::new("a"))), pot.account(&Tenant::App(AppId::new("b"))));
        let (ids, mut connections) = (ids(), [Streams::new(100, 100), Streams::new(100, 100)]);
        let open: Vec<_> = (0..8).map(|n| connections[n % 2].open(&ids, two_chunks(), &a).unwrap()).collect();
        let [here, there] = &mut connections;
        assert!(matches!(there.open(&ids, two_chunks(), &a), Err(StreamError::UsedUp(_))));
        Streams::new(100, 100).open(&ids, two_chunks(), &b).unwrap();
        for index in [0, 1] {
            here.ask(open[0], ChunkIndex(index), Instant::now()).unwrap();
            here.took(open[0]);
        }
        there.open(&ids, two_chunks(), &a).unwrap();
    }

    #[test]
    fn stream_whose_chunk_failed_is_over_when_each_was_asked_for() {
        let (mut streams, id) = opened();
        streams.ask(id, ChunkIndex(0), Instant::now()).unwrap();
        streams.drop_if_over(id);
        assert_eq!(streams.open.len(), 1, "the second chunk was not asked for");
        streams.ask(id, ChunkIndex(1), Instant::now()).unwrap();
        streams.drop_if_over(id);
        assert_eq!((streams.open.len(), streams.weight), (0, 0));
    }

    #[test]
    fn stream_that_nobody_asked_for_long_gives_way_to_another() {
        let (mut streams, old) = opened();
        let (ids, now) = (ids(), Instant::now());
        let young = streams.open(&ids, two_chunks(), &account()).unwrap();
        assert!(matches!(streams.open(&ids, two_chunks(), &account()), Err(StreamError::TooMany(2))));
        streams.ask(young, ChunkIndex(0), now + UNUSED).unwrap();
        let mut late = two_chunks();
        late.last_use = now + UNUSED + UNUSED / 2;
        streams.open(&ids, late, &account()).unwrap();
        assert!(!streams.open.contains_key(&old) && streams.open.contains_key(&young));
    }
}
