//! Ends a merge and tells the driver what was merged.
//!
//! ```text
//! end ─► the journal has it on the disk ─► the partitions of each disk are finished ─► statuses
//!            └─ it does not, in time ─► nobody is told that anything is merged
//! ```
//!
//! The driver is told of a partition when everything that keeps it from being replaced is durable: the journal's record,
//! and its files with their commit record. What is not finished in time is left out, and readers fetch the original
//! blocks. What is finished too late is told to nobody, and harms nobody.
//!
//! Origin: `RemoteBlockPushResolver.finalizeShuffleMerge`, Spark 4.3.0.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{Bitmap, FinalizeShuffleMerge, MergeStatuses};
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::application::{App, Phase, Shuffle};
use super::error::MergeError;
use super::merger::Merger;
use super::partition::{Files, Partition};
use crate::receipt::WriteReceipt;

/// A merge that has ended, and of whose end nobody was told yet.
#[derive(Debug)]
#[must_use = "the driver waits for its statuses"]
pub struct Ending {
    app: Arc<App>,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
    partitions: HashMap<ReduceId, Arc<Partition>>,
    recorded: Option<WriteReceipt>,
}

/// The partitions of it that lie on one disk.
#[derive(Debug)]
pub struct EndingStep {
    app: Arc<App>,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
    /// The number of the disk.
    pub disk: usize,
    recorded: bool,
    partitions: Vec<(ReduceId, Arc<Partition>)>,
}

/// A partition that is finished.
#[derive(Debug)]
pub struct Finished {
    reduce: ReduceId,
    maps: Bitmap,
    len: u64,
}

impl Merger {
    /// Ends the merging of a shuffle, as far as nothing is to be waited for. What is still arriving comes too late from
    /// here on.
    pub fn end(&self, message: &FinalizeShuffleMerge) -> Result<Ending, MergeError> {
        let FinalizeShuffleMerge { shuffle, merge, .. } = *message;
        let app = self.attempt(&message.app, message.app_attempt, "FinalizeShuffleMerge")?;
        let mut shuffles = app.shuffles();
        let mut partitions = HashMap::new();
        match shuffles.get_mut(&shuffle) {
            None => {
                let place = app.accounts.shuffles.try_take(1).map_err(|used_up| {
                    let why = used_up.to_string();
                    MergeError::Finalize { app: app.id.clone(), shuffle, merge, why }
                })?;
                shuffles.insert(shuffle, Shuffle::finalized(place, merge));
            }
            Some(known) if merge < known.merge || matches!(known.phase, Phase::Finalized(_)) => {
                return Err(MergeError::StaleFinalize { shuffle, merge });
            }
            Some(known) if known.merge < merge => {
                let old = known.finalize(merge);
                self.delete_later(&app, shuffle, old);
            }
            Some(known) => partitions = known.end(),
        }
        let recorded = Some(self.journal.finalized(&app.id, app.attempt, shuffle, merge));
        drop(shuffles);
        Ok(Ending { app, shuffle, merge, partitions, recorded })
    }

    /// Ends the merging of a shuffle on a thread that may wait for all disks. The partitions in the answer are in their
    /// order.
    pub fn finalize(&self, on: &OnLane, message: &FinalizeShuffleMerge) -> Result<MergeStatuses, MergeError> {
        let mut ending = self.end(message)?;
        let recorded = ending.recorded.take().is_some_and(|receipt| receipt.wait_for(RECORD_PATIENCE));
        let finished = ending.steps(recorded).into_iter().flat_map(|step| step.run(on)).collect();
        Ok(ending.statuses(finished))
    }
}

/// How long the journal is waited for. Spark's driver waits 10 s for the answers of all mergers
/// (`spark.shuffle.push.results.timeout`).
const RECORD_PATIENCE: Duration = Duration::from_secs(4);

impl Ending {
    /// Waits until the journal has it on the disk; false where that takes too long, or fails.
    pub async fn recorded(&mut self) -> bool {
        match self.recorded.take() {
            // There is nothing to tell.
            Some(receipt) if self.partitions.is_empty() => {
                receipt.detach();
                true
            }
            Some(receipt) => receipt.within(RECORD_PATIENCE).await,
            None => false,
        }
    }

    /// The partitions that are to be finished, by disk; to be closed as they are where the end is not `recorded`.
    pub fn steps(&mut self, recorded: bool) -> Vec<EndingStep> {
        let Self { shuffle, merge, .. } = *self;
        let partitions = std::mem::take(&mut self.partitions);
        if !recorded {
            warn!(
                app = %self.app.id, %shuffle, %merge, partitions = partitions.len(),
                "the end of a merge is not on the disk of the recovery store: it is reported as not merged"
            );
        }
        let mut disks: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (reduce, partition) in partitions {
            let name = self.app.partition_id(shuffle, merge, reduce).data_name();
            if let Some(dir) = self.app.dirs.dir_of(&name) {
                disks.entry(dir.disk_number()).or_default().push((reduce, partition));
            }
        }
        let step = |(disk, mut partitions): (_, Vec<(ReduceId, _)>)| {
            partitions.sort_by_key(|(reduce, _)| *reduce);
            EndingStep { app: Arc::clone(&self.app), shuffle, merge, disk, recorded, partitions }
        };
        disks.into_iter().map(step).collect()
    }

    /// The answer to the driver.
    pub fn statuses(self, mut finished: Vec<Finished>) -> MergeStatuses {
        let Self { app, shuffle, merge, .. } = self;
        finished.sort_by_key(|finished| finished.reduce);
        info!(app = %app.id, %shuffle, %merge, partitions = finished.len(), "finalized a merge");
        let mut statuses =
            MergeStatuses { shuffle, merge, bitmaps: Vec::new(), reduces: Vec::new(), sizes: Vec::new() };
        for Finished { reduce, maps, len } in finished {
            statuses.bitmaps.push(maps);
            statuses.reduces.push(reduce);
            statuses.sizes.push(i64::try_from(len).unwrap_or(i64::MAX));
        }
        statuses
    }
}

impl EndingStep {
    /// Finishes the files. Those that cannot be finished are left out.
    pub fn run(self, on: &OnLane) -> Vec<Finished> {
        let Self { app, shuffle, merge, recorded, partitions, .. } = self;
        let mut all = Vec::new();
        if !recorded {
            return all;
        }
        for (reduce, partition) in partitions {
            let mut state = partition.lock();
            if !matches!(state.files, Files::Open(_)) {
                continue;
            }
            match state.finalize(on) {
                Ok(finalized) if finalized.merged.is_empty() => {}
                Ok(finalized) => {
                    all.push(Finished { reduce, maps: finalized.merged.into(), len: finalized.len });
                }
                Err(error) => {
                    let partition = app.partition_id(shuffle, merge, reduce);
                    warn!(%partition, %error, "a merged partition cannot be finished: it is left out");
                }
            }
        }
        all
    }
}
