//! Removes a merged shuffle that the driver no longer needs (Spark 3.4 and later).
//!
//! Origin: `RemoteBlockPushResolver.removeShuffleMerge`, Spark 4.3.0.

use sealed_shuffle_protocol::ids::ShuffleMergeId;
use sealed_shuffle_protocol::shuffle::RemoveShuffleMerge;

use super::application::{Phase, Shuffle};
use super::error::MergeError;
use super::merger::Merger;

/// Stands for the current merge.
const CURRENT: ShuffleMergeId = ShuffleMergeId(-1);

impl Merger {
    /// Deletes the merged files of a shuffle; later pushes of it come too late.
    pub fn remove(&self, message: &RemoveShuffleMerge) -> Result<(), MergeError> {
        let RemoveShuffleMerge { shuffle, merge, .. } = *message;
        let app = self.attempt(&message.app, message.app_attempt, "RemoveShuffleMerge")?;
        let mut shuffles = app.shuffles();
        let Some(known) = shuffles.get_mut(&shuffle) else {
            // If the shuffle cannot be remembered, it has nothing to delete either.
            if merge != CURRENT
                && let Ok(place) = app.accounts.shuffles.try_take(1)
            {
                shuffles.insert(shuffle, Shuffle::finalized(place, merge));
                self.journal.finalized(&app.id, app.attempt, shuffle, merge).detach();
            }
            return Ok(());
        };
        let current = known.merge;
        if merge != CURRENT && merge < current {
            return Err(MergeError::StaleRemove { app: app.id.clone(), shuffle, merge, current });
        }
        let now = current.max(merge);
        let old = known.finalize(now);
        if matches!(old.phase, Phase::Finalized(_)) && current < now {
            self.journal.superseded(&app.id, app.attempt, shuffle, current);
        }
        self.journal.finalized(&app.id, app.attempt, shuffle, now).detach();
        self.delete_later(&app, shuffle, old);
        Ok(())
    }
}
