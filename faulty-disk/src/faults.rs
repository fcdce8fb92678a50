//! Which calls fail, and the calls that are held back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fuser::Errno;

/// A kind of call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    /// Finding a name, and asking for the room on the disk.
    LookUp,
    /// Looking at what a file is that was found or is open.
    Attributes,
    /// Opening a file, and making one.
    Open,
    /// Reading of a file.
    Read,
    /// Writing to a file, and cutting it.
    Write,
    /// Waiting until a file or a directory is on the disk.
    Fsync,
    /// Removing a file.
    Unlink,
    /// Reading the names in a directory.
    ReadDir,
    /// Closing a descriptor. The kernel tells whoever closes nothing of an error, but waits.
    Close,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LookUp,
        Self::Attributes,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Fsync,
        Self::Unlink,
        Self::ReadDir,
        Self::Close,
    ];
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It does not come back before the disk is healed.
    Hangs,
    /// It fails with this number of errno(3).
    Fails(i32),
}

/// Answers a call; with an error, it fails.
type Call = Box<dyn FnOnce(Option<Errno>) + Send>;

#[derive(Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    faults: HashMap<Operation, Fault>,
    held: Vec<Call>,
    met: HashMap<Operation, u64>,
}

impl Faults {
    pub(crate) fn set(&self, operation: Operation, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        let held = std::mem::take(&mut state.held);
        drop(state);
        held.into_iter().for_each(|call| call(None));
    }

    pub(crate) fn held(&self) -> usize {
        self.state().held.len()
    }

    pub(crate) fn met(&self, operation: Operation) -> u64 {
        self.state().met.get(&operation).copied().unwrap_or_default()
    }

    /// Lets a call through, fails it, or holds it back.
    pub(crate) fn pass(&self, operation: Operation, call: impl FnOnce(Option<Errno>) + Send + 'static) {
        let mut state = self.state();
        let fault = state.faults.get(&operation).copied();
        if fault.is_some() {
            *state.met.entry(operation).or_default() += 1;
        }
        match fault {
            Some(Fault::Hangs) => state.held.push(Box::new(call)),
            fault => {
                drop(state);
                call(fault.and_then(|fault| match fault {
                    Fault::Fails(errno) => Some(Errno::from_i32(errno)),
                    Fault::Hangs => None,
                }));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
