//! The state of merging that survives a restart, and the interface that stores it.
//!
//! | state | written | removed |
//! |---|---|---|
//! | an attempt of an application: its directories, its wrapped key | when its first executor registers | when it is over and its files are deleted |
//! | a finalized merge of a shuffle | before its partitions are closed; when a merge is removed | when a newer one begins, or with its attempt |
//! Nothing else survives. Open merges are forgotten. Only the files tell which partitions a finalized merge has. So a
//! removal of a shuffle that was finalized before a restart deletes none of them, as in Spark.
//!
//! Origin: the recovery store of RemoteBlockPushResolver, Spark 4.3.0.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use sealed_shuffle_protocol::ids::{AppId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;

use super::dirs::MergeDirs;
use crate::receipt::WriteReceipt;

/// Stores the state that survives a restart.
///
/// It is called under the lock that orders the events of an application, and waits for nothing: changes reach the disk in
/// the order of the calls, at some time. The driver is told of a finalized merge when its receipt says that it is there.
pub trait Journal: fmt::Debug + Send + Sync {
    /// An attempt of an application merges into these directories. `key` is the key of its files, if they are sealed.
    fn registered(&self, app: &AppId, attempt: i32, dirs: &MergeDirs, key: Option<&WrappedKey>);

    /// The attempt is over, with all its merges, and its files are deleted.
    fn over(&self, app: &AppId, attempt: i32);

    /// A merge is finalized: from now on its blocks come too late.
    fn finalized(&self, app: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId)
    -> WriteReceipt;

    /// A finalized merge has a successor.
    fn superseded(&self, app: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId);
}

/// The stored state of an application.
#[derive(Clone, Debug)]
pub struct StoredAttempt {
    /// The application.
    pub app: AppId,
    /// Its newest attempt.
    pub attempt: i32,
    /// The merge directories, as [`MergeDirs::texts`] gave them.
    pub dirs: Vec<String>,
    /// Number of sub-directories of each.
    pub sub_dirs: i32,
    /// The key of its files, so that new files need no new key.
    pub key: Option<WrappedKey>,
    /// The newest merge of each shuffle that was finalized.
    pub finalized: Vec<(ShuffleId, ShuffleMergeId)>,
}

/// A journal that may come late; until then nothing is stored.
#[derive(Debug, Default)]
pub(super) struct JournalPlace(OnceLock<Arc<dyn Journal>>);

impl JournalPlace {
    pub(super) fn set(&self, journal: Arc<dyn Journal>) {
        // The first one stays.
        _ = self.0.set(journal);
    }
}

impl Deref for JournalPlace {
    type Target = dyn Journal;

    fn deref(&self) -> &Self::Target {
        self.0.get().map_or(&Forgetful, |journal| &**journal)
    }
}

/// Stores nothing.
#[derive(Debug)]
pub(super) struct Forgetful;

impl Journal for Forgetful {
    fn registered(&self, _: &AppId, _: i32, _: &MergeDirs, _: Option<&WrappedKey>) {}

    fn over(&self, _: &AppId, _: i32) {}

    fn finalized(&self, _: &AppId, _: i32, _: ShuffleId, _: ShuffleMergeId) -> WriteReceipt {
        WriteReceipt::at_once(true)
    }

    fn superseded(&self, _: &AppId, _: i32, _: ShuffleId, _: ShuffleMergeId) {}
}
