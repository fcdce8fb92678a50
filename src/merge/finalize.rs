//! The end of merging a shuffle: the driver is told of the merged blocks, and no more blocks are taken.
//!
//! Origin: `RemoteBlockPushResolver.finalizeShuffleMerge`, Spark 4.3.0.

use std::collections::HashMap;
use std::sync::Arc;

use sealed_shuffle_protocol::ids::ReduceId;
use sealed_shuffle_protocol::shuffle::{FinalizeShuffleMerge, MergeStatuses};
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::error::MergeError;
use super::merger::{App, Merger, Phase, Shuffle};
use super::partition::{Files, Partition};

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
        for (reduce, partition) in partitions {
            let mut state = partition.lock();
            if !matches!(state.files, Files::Open(_)) {
                state.close();
                continue;
            }
            // The files stay, whether or not the driver hears of them.
            kept.push(reduce);
            match state.finalize(on) {
                Ok(finalized) if finalized.merged.is_empty() => {}
                Ok(finalized) => {
                    statuses.bitmaps.push(finalized.merged.into());
                    statuses.reduces.push(reduce);
                    statuses.sizes.push(i64::try_from(finalized.len).unwrap_or(i64::MAX));
                }
                Err(error) => {
                    let partition = app.partition_id(shuffle, merge, reduce);
                    warn!(%partition, %error, "a merged partition cannot be finished: it is left out");
                }
            }
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
