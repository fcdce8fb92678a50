//! What a disk was told to write, in order.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One thing that a disk was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// To write these bytes there.
    Write {
        /// The place in the file.
        offset: u64,
        /// What is to be there.
        bytes: Vec<u8>,
    },
    /// To answer when all that it was told to write before is there for good.
    Flush,
}

/// All of it, of all files together; none while nobody asked for it.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Option<Vec<Told>>>);

impl Record {
    pub(crate) fn begin(&self) {
        *self.told() = Some(Vec::new());
    }

    pub(crate) fn add(&self, told: impl FnOnce() -> Told) {
        if let Some(all) = &mut *self.told() {
            all.push(told());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.told().as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn take(&self) -> Vec<Told> {
        self.told().take().unwrap_or_default()
    }

    fn told(&self) -> MutexGuard<'_, Option<Vec<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
