//! Removing blocks: the driver asks for it on unpersist (`rdd_*`) and when it cleans a shuffle of executors that are
//! gone (`.index` and `.data` by name).
//!
//! Names are taken a batch at a time, and the files of each disk are removed on its own lane.
//!
//! Names of other shapes are skipped, so that nobody removes what Spark does not: a merged file, say, or a file that is
//! being written. Spark skips only names that are no file name.
//!
//! Origin: `ExternalShuffleBlockResolver.removeBlocks` and `validateBlockId`, Spark 3.5.9 and 4.3.0; the names that come
//! are those of `BlockManagerMasterEndpoint.removeRdd` and `removeShuffle`.

use std::sync::Arc;
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::{Lane, OnLane};

use super::block_store::BlockStore;
use super::executors::Registration;
use super::lookup_error::LookupError;
use super::open_error::OpenError;
use super::place::place;

/// Names that are taken at once, so that a long list costs no memory and holds up nobody.
pub const BATCH: usize = 1024;

/// The files of one batch that lie on one disk.
#[derive(Debug)]
pub struct RemovalStep {
    app: AppId,
    executor: ExecutorId,
    registration: Arc<Registration>,
    lane: Lane,
    names: Vec<String>,
}

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
    /// How the files with exactly these names are removed: a step for each disk. Names that Spark does not remove are
    /// skipped. Give it at most [`BATCH`] names at once.
    pub fn removal_steps<S: Into<String> + AsRef<str>>(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Vec<RemovalStep>, LookupError> {
        let registration = self.registration(app, executor, Instant::now())?;
        let mut steps: Vec<RemovalStep> = Vec::new();
        for name in names {
            if !is_removable(name.as_ref()) {
                continue;
            }
            let name = name.into();
            let lane = self.roots().disk(place(&registration, app, executor, name.clone())?.dir).lane();
            match steps.iter_mut().find(|step| step.lane.is(lane)) {
                Some(step) => step.names.push(name),
                None => steps.push(RemovalStep {
                    app: app.clone(),
                    executor: executor.clone(),
                    registration: Arc::clone(&registration),
                    lane: lane.clone(),
                    names: vec![name],
                }),
            }
        }
        Ok(steps)
    }
}

impl RemovalStep {
    /// The lane of its disk: [`RemovalStep::run`] runs there.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Removes the files. What is not there is skipped.
    pub fn run(self, on: &OnLane, store: &BlockStore) -> Result<Removal, LookupError> {
        let mut removed = Removal::default();
        for name in self.names {
            let file = place(&self.registration, &self.app, &self.executor, name.clone())?;
            match store.roots().disk(file.dir).unlink(on, &file.parent, &name) {
                Ok(()) => {
                    removed.count += 1;
                    store.drop_file(&file);
                }
                Err(failure) => match failure.at(file.shown()) {
                    OpenError::Missing { .. } => {}
                    error => removed.failed(error),
                },
            }
        }
        Ok(removed)
    }
}

impl Removal {
    /// Adds what another step has removed.
    pub fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        other.failures.into_iter().for_each(|error| self.failed(error));
    }

    fn failed(&mut self, error: OpenError) {
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(error);
        }
    }
}

/// `rdd_R_P`, or `shuffle_S_M_R` with `.index`, `.data` or `.checksum.ALGORITHM`.
fn is_removable(name: &str) -> bool {
    if let Some(ids) = name.strip_prefix("rdd_") {
        return are_numbers(ids, 2);
    }
    let Some((ids, kind)) = name.strip_prefix("shuffle_").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_kind = matches!(kind, "index" | "data") || kind.strip_prefix("checksum.").is_some_and(is_word);
    is_kind && are_numbers(ids, 3)
}

/// Whether these are so many decimal numbers between underscores.
fn are_numbers(ids: &str, count: usize) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ids.split('_').count() == count && ids.split('_').all(is_number)
}
