//! Removing blocks: the driver asks for it on unpersist (`rdd_*`) and when it cleans a shuffle of executors that are
//! gone (`.index` and `.data` by name).
//!
//! Origin: `ExternalShuffleBlockResolver.removeBlocks`, Spark 4.3.0 (ids are filtered since 3.5.9).

use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::OnLane;

use super::lookup_error::LookupError;
use super::open_error::OpenError;
use super::place::place;
use super::store::BlockStore;

/// What was removed.
#[derive(Debug, Default)]
pub struct Removal {
    /// Files that were there and are gone; the answer to the request.
    pub count: i32,
    /// Files that are there and could not be removed; not part of the answer. At most [`MOST_FAILURES`] of them.
    pub failures: Vec<OpenError>,
}

/// Failures that one [`Removal`] lists.
pub const MOST_FAILURES: usize = 16;

impl BlockStore {
    /// Removes the files with exactly these names. Names that are no plain file name are skipped, and so is what is
    /// not there.
    pub fn remove_blocks<S: AsRef<str>>(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Removal, LookupError> {
        let registration = self.registration(app, executor, Instant::now())?;
        let mut removed = Removal::default();
        for name in names {
            let name = name.as_ref();
            if !is_file_name(name) {
                continue;
            }
            let file = place(&registration, app, executor, name.to_owned())?;
            match self.roots().disk(file.dir).unlink(on, &file.parent, name) {
                Ok(()) => {
                    removed.count = removed.count.saturating_add(1);
                    self.drop_file(&file);
                }
                Err(failure) => match failure.at(file.shown()) {
                    OpenError::Missing { .. } => {}
                    error if removed.failures.len() < MOST_FAILURES => removed.failures.push(error),
                    _ => {}
                },
            }
        }
        Ok(removed)
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}
