//! The ways in which a disk fails, by the names that they have in tables.

use crate::{Fault, FaultyDisk, Operation};

/// A way in which a disk fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Calls of a kind do not come back.
    Hangs(Operation),
    /// Each call fails with `EIO`.
    Errors,
    /// Nothing more can be written.
    Full,
    /// It is mounted for reading only.
    ReadOnly,
    /// It is not mounted any more.
    Unmounted,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Hangs(Operation::LookUp),
        Self::Hangs(Operation::Attributes),
        Self::Hangs(Operation::Open),
        Self::Hangs(Operation::Read),
        Self::Hangs(Operation::Write),
        Self::Hangs(Operation::Fsync),
        Self::Hangs(Operation::Unlink),
        Self::Hangs(Operation::ReadDir),
        Self::Hangs(Operation::Close),
        Self::Errors,
        Self::Full,
        Self::ReadOnly,
        Self::Unmounted,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hangs(Operation::LookUp) => "look-up hangs",
            Self::Hangs(Operation::Attributes) => "a look at attributes hangs",
            Self::Hangs(Operation::Open) => "open hangs",
            Self::Hangs(Operation::Read) => "read hangs",
            Self::Hangs(Operation::Write) => "write hangs",
            Self::Hangs(Operation::Fsync) => "fsync hangs",
            Self::Hangs(Operation::Unlink) => "unlink hangs",
            Self::Hangs(Operation::ReadDir) => "readdir hangs",
            Self::Hangs(Operation::Close) => "close hangs",
            Self::Errors => "all calls fail with EIO",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Unmounted => "unmounted",
        }
    }

    /// The kinds of calls that it meets; none where it is not one of [`Fault`].
    pub fn operations(self) -> &'static [Operation] {
        match self {
            // Who cannot be looked up cannot be looked at either.
            Self::Hangs(Operation::LookUp) => &[Operation::LookUp, Operation::Attributes],
            Self::Hangs(operation) => {
                let at = Operation::ALL.iter().position(|other| *other == operation);
                at.map_or(&[], |at| &Operation::ALL[at..=at])
            }
            Self::Errors => &Operation::ALL,
            Self::Full | Self::ReadOnly | Self::Unmounted => &[],
        }
    }

    /// Has it begin on a disk, as far as its calls are concerned.
    pub fn begin(self, disk: &FaultyDisk) {
        let fault = if self == Self::Errors { Fault::Fails(5) } else { Fault::Hangs };
        self.operations().iter().for_each(|operation| disk.set(*operation, fault));
    }
}
