//! The store as the journal of merging.

use sealed_shuffle_protocol::ids::{AppId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;

use super::State;
use super::change::Change;
use super::queue::Keep;
use super::record::{AttemptRecord, FinalizedRecord};
use crate::merge::{Journal, MergeDirs};
use crate::receipt::WriteReceipt;

/// Only the end of a merge is waited for: its answer announces what must be known after a kill. The rest is
/// committed in order, before whatever is waited for later; of it, a kill loses what the next start finds out by itself.
impl Journal for State {
    fn registered(&self, app: &AppId, attempt: i32, dirs: &MergeDirs, key: Option<&WrappedKey>) {
        if self.is_exempt(app) {
            return;
        }
        let text = AttemptRecord::encode(app, attempt, dirs.sub_dirs(), dirs.texts(), key);
        self.put(self.keys.attempt(app, attempt), text).detach();
    }

    fn over(&self, app: &AppId, attempt: i32) {
        let finalized = Change::DeleteAll { prefix: self.keys.finalized_of(app, attempt) };
        let changes = vec![Change::Delete { name: self.keys.attempt(app, attempt) }, finalized];
        self.queue.push(changes, Keep::UntilWritten).detach();
    }

    fn finalized(
        &self,
        app: &AppId,
        attempt: i32,
        shuffle: ShuffleId,
        merge: ShuffleMergeId,
    ) -> WriteReceipt {
        if self.is_exempt(app) {
            return WriteReceipt::at_once(true);
        }
        let text = FinalizedRecord::encode(app, attempt, shuffle, merge);
        self.put(self.keys.finalized(app, attempt, shuffle), text)
    }

    fn superseded(&self, app: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId) {
        let name = self.keys.finalized(app, attempt, shuffle);
        self.queue.push(vec![Change::DeleteMerge { name, merge }], Keep::UntilWritten).detach();
    }
}
