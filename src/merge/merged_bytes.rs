//! The bytes of merged blocks that an application has on the disks, by merge: what its quota is measured by.
//!
//! ```text
//! a block begins ─► its length is held ─► it is merged ─► counted with its merge ─► the files of the merge are deleted
//!                                     └─► it is not: given back
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_transport::pot::Holding;

/// Those of one attempt of an application. Empty where there is no quota.
#[derive(Debug, Default)]
pub(super) struct MergedBytes(Mutex<HashMap<(ShuffleId, ShuffleMergeId), Holding>>);

impl MergedBytes {
    /// So many more are on the disks.
    pub(super) fn add(&self, shuffle: ShuffleId, merge: ShuffleMergeId, bytes: Holding) {
        let mut merges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match merges.entry((shuffle, merge)) {
            Entry::Occupied(mut known) => known.get_mut().join(bytes),
            Entry::Vacant(new) => _ = new.insert(bytes),
        }
    }

    /// The files of a merge are deleted.
    pub(super) fn forget(&self, shuffle: ShuffleId, merge: ShuffleMergeId) {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(shuffle, merge));
        drop(gone);
    }
}
