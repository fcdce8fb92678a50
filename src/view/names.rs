//! What a path within the view stands for.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, MergedPartition};
use sealed_shuffle_protocol::stored::sealed::Kind;

use crate::merge::merged_partition;

/// An attempt of an application.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Attempt {
    /// The application.
    pub app: AppId,
    /// The number of the attempt.
    pub number: i32,
}

impl Attempt {
    /// The name of its directory. Later attempts merge partitions of the same names.
    pub fn dir_name(&self) -> String {
        format!("{}.{}", self.app.as_str(), self.number)
    }

    /// The attempt with a directory of this name.
    fn of_dir(name: &str) -> Option<Self> {
        let (app, number) = name.rsplit_once('.')?;
        let attempt = Self { app: AppId::new(app), number: number.parse().ok()? };
        (attempt.dir_name() == name).then_some(attempt)
    }
}

/// What is at a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Entry {
    /// The directory with all attempts.
    Root,
    /// The directory of an attempt.
    Attempt(Arc<Attempt>),
    /// One of its sub-directories. Executors count which one a file is in; any has all files.
    SubDir(Arc<Attempt>, u16),
    /// One of the three files of a partition.
    File {
        /// Whose it is.
        of: Arc<Attempt>,
        /// Tells it from one of the same name, of an application that ended and came again.
        life: u64,
        /// The partition.
        merged: MergedPartition,
        /// Which of its files.
        kind: Kind,
    },
}

impl Entry {
    /// The attempt that it is of; none for the root.
    pub fn attempt(&self) -> Option<&Arc<Attempt>> {
        match self {
            Self::Root => None,
            Self::Attempt(of) | Self::SubDir(of, _) | Self::File { of, .. } => Some(of),
        }
    }

    /// What `name` stands for in this directory, by its form alone; `life` is that of the attempt.
    pub fn child(&self, name: &str, life: u64) -> Option<Self> {
        match self {
            Self::Root => Some(Self::Attempt(Attempt::of_dir(name)?.into())),
            Self::Attempt(of) => {
                let number = u16::from_str_radix(name, 16).ok()?;
                (name == format!("{number:02x}")).then(|| Self::SubDir(Arc::clone(of), number))
            }
            Self::SubDir(of, _) => {
                let merged = merged_partition(&of.app, name)?;
                let kind = Kind::ALL.into_iter().find(|kind| name == kind.file_name(&of.app, merged))?;
                Some(Self::File { of: Arc::clone(of), life, merged, kind })
            }
            Self::File { .. } => None,
        }
    }
}
