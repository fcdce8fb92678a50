//! Removing blocks: the driver asks for it on unpersist (`rdd_*`) and when it cleans a shuffle of executors that are
//! gone (`.index` and `.data` by name).
//!
//! Names are taken a batch at a time, and the files of each disk are removed on its own lane.
//!
//! Origin: `ExternalShuffleBlockResolver.removeBlocks`, Spark 4.3.0 (ids are filtered since 3.5.9).

use std::sync::Arc;
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::{Lane, OnLane};

use super::executors::Registration;
use super::lookup_error::LookupError;
use super::open_error::OpenError;
use super::place::place;
use super::store::BlockStore;

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
    /// How the files with exactly these names are removed: a step for each disk. Names that are no plain file name are
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
            if !is_file_name(name.as_ref()) {
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

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}
