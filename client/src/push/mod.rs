//! Pushing a map output to the mergers of its shuffle, as Spark's pusher does it.
//!
//! ```text
//! map output ── plan ──► requests, in random order ── schedule ──► sending (one task each) ──► connections
//!                                                        ▲                   │
//!                                    report ◄────────────┴── what became of each block
//! ```
//!
//! * A block goes to one merger by its partition; neighbours go together, up to `spark.shuffle.push.maxBlockBatchSize`;
//!   blocks above `spark.shuffle.push.maxBlockSizeToPush` and empty ones are not pushed.
//! * What is on its way is bounded by `spark.reducer.maxSizeInFlight`, `maxReqsInFlight` and
//!   `maxBlocksInFlightPerAddress`.
//! * An answer is final. That the merge is over, that it is stale or the attempt too old stops all pushing: what was
//!   not sent is not sent (Spark goes on where another request succeeds after that; here a stop is one).
//! * A merger that takes no connection is dropped; others go on. Broken connections are tried again.
//!
//! Pushing is done as well as can be and no better: what is not merged is fetched as it is. Sources: ShuffleBlockPusher,
//! OneForOneBlockPusher, RetryingBlockTransferor, ErrorHandler.BlockPushErrorHandler, Spark 4.3.0.

mod plan;
mod report;
mod schedule;
mod sending;

use std::fs::File;
use std::sync::Arc;

use sealed_shuffle_protocol::ids::ReduceId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::plan::merger_of;
pub use self::report::{BlockReport, PushOutcome, PushReport};

use self::plan::Plan;
use self::schedule::Schedule;
use self::sending::{Fact, Job};
use super::{Address, BlockBody, Client, Merge};

/// Outcomes that wait to be written down.
const FACTS: usize = 64;

/// The blocks of one map task.
///
/// ```no_run
/// use std::fs::File;
/// use std::sync::Arc;
///
/// use sealed_shuffle_client::{Address, Client, MapOutput, Merge, ShuffleId, ShuffleMergeId};
///
/// # async fn push(client: Client, mergers: Vec<Address>) -> std::io::Result<()> {
/// // -1: the application has no attempts, as outside of YARN.
/// let merge = Merge { app_attempt: -1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };
/// // The output of map partition 3 in three partitions, of which the second one is empty.
/// let data = Arc::new(File::open("/data/shuffle_0_3_0.data")?);
/// let output = MapOutput::of_file(merge, 3, &data, &[4096, 0, 512]);
/// let report = client.push(output, &mergers).await;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MapOutput {
    /// Where they are merged.
    pub merge: Merge,
    /// The map partition: not the task's id.
    pub map_index: i32,
    /// Partitions of the whole shuffle, by which mergers are chosen.
    pub partitions: u32,
    /// The blocks and their partitions. Neighbours are pushed together.
    pub blocks: Vec<(ReduceId, BlockBody)>,
}

impl MapOutput {
    /// All partitions of a data file as Spark writes it: one behind the other, `lens` bytes each.
    pub fn of_file(merge: Merge, map_index: i32, file: &Arc<File>, lens: &[u64]) -> Self {
        let mut offset = 0;
        let block = |(reduce, len): (i32, &u64)| {
            let body = BlockBody::file(Arc::clone(file), offset, *len);
            offset += len;
            (ReduceId(reduce), body)
        };
        let blocks = (0..).zip(lens).map(block).collect();
        Self { merge, map_index, partitions: u32::try_from(lens.len()).unwrap_or(u32::MAX), blocks }
    }
}

impl Client {
    /// Pushes a map output to the mergers of its shuffle and says what became of each block. `mergers` are those of the
    /// whole shuffle, in the order that every task has them in.
    ///
    /// Map outputs may be pushed at the same time, and share connections. Dropping it stops what was not sent; blocks
    /// that a connection has taken still go out.
    pub async fn push(&self, output: MapOutput, mergers: &[Address]) -> PushReport {
        let mut report = Report::new(&output);
        if mergers.is_empty() {
            return report.finish();
        }
        let Plan { requests, left_out } = Plan::of(&output, mergers.len(), self.settings());
        for (at, pushed) in left_out {
            report.0.blocks[at].pushed = pushed;
        }
        let mut schedule = Schedule::new(requests, self.settings());
        let (sender, mut facts) = mpsc::channel(FACTS);
        let stop = CancellationToken::new();
        let (client, merge, map_index) = (self.clone(), output.merge, output.map_index);
        drop(output);
        let job = Arc::new(Job { client, merge, map_index, facts: sender, stop: stop.clone() });
        // Aborted with this future, when the set is dropped.
        let mut tasks = JoinSet::new();
        loop {
            while let Some(request) = schedule.next() {
                let server = mergers[request.merger].clone();
                tasks.spawn(Arc::clone(&job).run(request, server));
            }
            if schedule.is_idle() {
                return report.finish();
            }
            tokio::select! {
                // A request ends behind all that it has told.
                biased;
                Some(fact) = facts.recv() => report.take(fact, &mut schedule, &stop),
                Some(done) = tasks.join_next() => {
                    schedule.request_done();
                    if let Err(lost) = done && lost.is_panic() {
                        std::panic::resume_unwind(lost.into_panic());
                    }
                }
            }
        }
    }
}

/// The report as it is written; what has had no outcome was not sent.
struct Report(PushReport);

impl Report {
    fn new(output: &MapOutput) -> Self {
        let block = |(reduce, body): &(ReduceId, BlockBody)| BlockReport {
            reduce: *reduce,
            len: body.len(),
            pushed: PushOutcome::Stopped,
        };
        Self(PushReport { blocks: output.blocks.iter().map(block).collect() })
    }

    /// Writes down what became of a block, and what follows from it for others.
    fn take(&mut self, fact: Fact, schedule: &mut Schedule, stop: &CancellationToken) {
        let Fact { merger, at, pushed } = fact;
        let block = &mut self.0.blocks[at];
        schedule.block_done(merger, block.len);
        if pushed.stops() {
            stop.cancel();
            schedule.stop();
        }
        if matches!(pushed, PushOutcome::Unreachable(_)) {
            for dropped in schedule.drop_merger(merger).into_iter().flat_map(|request| request.blocks) {
                self.0.blocks[dropped.at].pushed = pushed.clone();
            }
        }
        self.0.blocks[at].pushed = pushed;
    }

    fn finish(self) -> PushReport {
        self.0
    }
}
