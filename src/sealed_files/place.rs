//! Where the files of a partition lie, and what they are bound to.

use sealed_shuffle_protocol::ids::MergedPartition;
use sealed_shuffle_protocol::stored::envelope::Context;
use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::region::ShownPath;

use super::error::StoredError;
use crate::disk::LocalDir;
use crate::disk::own::OwnFile;

/// The merged files of one attempt of an application: their directories, and the context of its data key. One for all
/// partitions.
#[derive(Debug)]
pub struct MergedFiles {
    context: Context,
    attempt: i32,
    dirs: Box<[LocalDir]>,
    sub_dirs: i32,
}

impl MergedFiles {
    /// Files below `dirs`, in as many sub-directories of each as executors registered; `context` names the
    /// application, of which this is an attempt.
    pub fn new(context: Context, attempt: i32, dirs: impl Into<Box<[LocalDir]>>, sub_dirs: i32) -> Self {
        Self { context, attempt, dirs: dirs.into(), sub_dirs }
    }

    /// What the files are bound to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The attempt of the application.
    pub fn attempt(&self) -> i32 {
        self.attempt
    }

    /// The directories.
    pub fn dirs(&self) -> &[LocalDir] {
        &self.dirs
    }

    /// Path of one file of a partition as Spark would print it, for texts that a peer reads.
    pub fn shown(&self, partition: MergedPartition, kind: Kind) -> Result<ShownPath, StoredError> {
        Ok(self.file(partition, kind)?.shown())
    }

    /// An error that names one file of a partition; or why it has no place.
    pub(super) fn failed(
        &self,
        partition: MergedPartition,
        kind: Kind,
        error: impl FnOnce(ShownPath) -> StoredError,
    ) -> StoredError {
        self.shown(partition, kind).map_or_else(|nowhere| nowhere, error)
    }

    pub(super) fn file(&self, partition: MergedPartition, kind: Kind) -> Result<OwnFile<'_>, StoredError> {
        let app = &self.context.app;
        let nowhere = || StoredError::NoDirectories { app: app.to_string(), partition };
        OwnFile::place(&self.dirs, self.sub_dirs, kind.file_name(app, partition)).ok_or_else(nowhere)
    }
}
