//! The end of merging a shuffle: the driver is told of the merged blocks, and no more blocks are taken.
//!
//! Origin: `RemoteBlockPushResolver.finalizeShuffleMerge`, Spark 4.3.0.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{FinalizeShuffleMerge, MergeStatuses};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::error::MergeError;
use super::merger::{App, Merger, Phase, Shuffle};
use super::partition::{Files, Finalization, Partition};

impl Merger {
    /// Ends the merging of a shuffle. What is still arriving comes too late from here on. The partitions in the answer
    /// are in their order.
    pub fn finalize(&self, on: &OnLane, message: &FinalizeShuffleMerge) -> Result<MergeStatuses, MergeError> {
        let FinalizeShuffleMerge { shuffle, merge, .. } = *message;
        let app = self.attempt(&message.app, message.app_attempt, "FinalizeShuffleMerge")?;
        let mut statuses =
            MergeStatuses { shuffle, merge, bitmaps: Vec::new(), reduces: Vec::new(), sizes: Vec::new() };
        let Some(partitions) = self.end(&app, message)? else { return Ok(statuses) };
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_by_key(|(reduce, _)| *reduce);

        let mut kept = Vec::new();
        for (reduce, finished) in finish(on, &app, (shuffle, merge), partitions) {
            // The files stay, whether or not the driver hears of them.
            let left_out = |why: &dyn std::fmt::Display| {
                let partition = app.partition_id(shuffle, merge, reduce);
                warn!(%partition, "a merged partition cannot be finished: it is left out: {why}");
            };
            match finished {
                Finished::NoFiles => continue,
                Finished::Done(finalized) if finalized.merged.is_empty() => {}
                Finished::Done(finalized) => {
                    statuses.bitmaps.push(finalized.merged.into());
                    statuses.reduces.push(reduce);
                    statuses.sizes.push(i64::try_from(finalized.len).unwrap_or(i64::MAX));
                }
                Finished::Failed(error) => left_out(&error),
                Finished::Silent => left_out(&"its disk does not answer"),
            }
            kept.push(reduce);
        }
        info!(app = %app.id, %shuffle, %merge, partitions = statuses.reduces.len(), "finalized a merge");
        if let Some(known) = app.shuffles().get_mut(&shuffle)
            && known.merge == merge
            && let Phase::Finalized(reduces) = &mut known.phase
        {
            *reduces = kept;
        }
        Ok(statuses)
    }

    /// Marks the shuffle as finalized. Returns the partitions that were open, if there was a merge of this id.
    fn end(
        &self,
        app: &Arc<App>,
        message: &FinalizeShuffleMerge,
    ) -> Result<Option<HashMap<ReduceId, Arc<Partition>>>, MergeError> {
        let FinalizeShuffleMerge { shuffle, merge, .. } = *message;
        let mut shuffles = app.shuffles();
        let Some(known) = shuffles.get_mut(&shuffle) else {
            let place = app.accounts.shuffles.try_take(1).map_err(|used_up| {
                let why = used_up.to_string();
                MergeError::Finalize { app: app.id.clone(), shuffle, merge, why }
            })?;
            shuffles.insert(shuffle, Shuffle::finalized(place, merge));
            self.journal.finalized(&app.id, app.attempt, shuffle, merge);
            return Ok(None);
        };
        if merge < known.merge || matches!(known.phase, Phase::Finalized(_)) {
            return Err(MergeError::StaleFinalize { shuffle, merge });
        }
        let old = known.finalize(merge);
        self.journal.finalized(&app.id, app.attempt, shuffle, merge);
        if old.merge < merge {
            self.delete_later(app, shuffle, old);
            return Ok(None);
        }
        let Phase::Open(partitions) = old.phase else { return Ok(None) };
        Ok(Some(partitions))
    }
}

/// A finalization is answered within that: the driver waits 10 s (`spark.shuffle.push.results.timeout`).
const LONGEST: Duration = Duration::from_secs(8);

/// So long no partition may come to its end, or the disks of the rest are taken not to answer. Where each waits until it is
/// on the disk, that is [`LONGEST`].
const SILENCE: Duration = Duration::from_millis(1500);

/// What became of a partition.
enum Finished {
    /// It has none.
    NoFiles,
    Done(Finalization),
    Failed(io::Error),
    /// Nobody knows.
    Silent,
}

/// Partitions of one disk, and its lane.
type Group = (Option<Lane>, Vec<(ReduceId, Arc<Partition>)>);

/// Finishes the partitions of each disk on its lane, all disks at once, and waits for none of them very long. In the order
/// in which they are given.
fn finish(
    on: &OnLane,
    app: &Arc<App>,
    (shuffle, merge): (ShuffleId, ShuffleMergeId),
    partitions: Vec<(ReduceId, Arc<Partition>)>,
) -> Vec<(ReduceId, Finished)> {
    let reduces: Vec<ReduceId> = partitions.iter().map(|(reduce, _)| *reduce).collect();
    let mut groups: Vec<Group> = Vec::new();
    for (reduce, partition) in partitions {
        // A thread of no runtime may wait for any disk.
        let lane = Handle::try_current().ok();
        let lane = lane.and_then(|_| app.files.lane(&app.partition_id(shuffle, merge, reduce)));
        let is_same = |other: &Option<Lane>| match (other, &lane) {
            (Some(other), Some(lane)) => other.is(lane),
            (other, lane) => other.is_none() && lane.is_none(),
        };
        match groups.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, group)) => group.push((reduce, partition)),
            None => groups.push((lane, vec![(reduce, partition)])),
        }
    }
    let (finished, results) = mpsc::channel();
    for (lane, group) in groups {
        let finished = finished.clone();
        let work = move |on: &OnLane| {
            for (reduce, partition) in group {
                let done = finish_one(on, &partition);
                on.progress();
                // Nobody waits any more; the files are finished all the same.
                drop(finished.send((reduce, done)));
            }
        };
        match lane {
            Some(lane) => lane.send(work),
            None => work(on),
        }
    }
    drop(finished);
    let until = Instant::now() + LONGEST;
    let silence = if app.files.waits_for_disk() { LONGEST } else { SILENCE };
    let mut known = HashMap::new();
    while let Ok((reduce, done)) =
        results.recv_timeout(silence.min(until.saturating_duration_since(Instant::now())))
    {
        known.insert(reduce, done);
    }
    reduces.into_iter().map(|reduce| (reduce, known.remove(&reduce).unwrap_or(Finished::Silent))).collect()
}

fn finish_one(on: &OnLane, partition: &Partition) -> Finished {
    let mut state = partition.lock();
    if !matches!(state.files, Files::Open(_)) {
        state.close();
        return Finished::NoFiles;
    }
    match state.finalize(on) {
        Ok(finalized) => Finished::Done(finalized),
        Err(error) => Finished::Failed(error),
    }
}
