//! Removal of blocks by the driver.

use crate::ids::{AppId, ExecutorId};
use crate::shuffle::Strings;

fields! {
    /// Deletes files of an executor by name.
    RemoveBlocks {
        /// The application.
        app: AppId,
        /// The executor that wrote them.
        executor: ExecutorId,
        /// `rdd_*` names, or `shuffle_*` names with `.index` or `.data`.
        blocks: Strings,
    }
}

fields! {
    /// How many files are gone.
    BlocksRemoved {
        /// The count.
        count: i32,
    }
}
