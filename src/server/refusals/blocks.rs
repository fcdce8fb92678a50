//! What a peer reads of blocks that cannot be had and executors that are not registered.
//!
//! Texts that Spark has are Spark's to the letter (`ExternalShuffleBlockResolver`, `ShuffleIndexInformation`,
//! `FileSegmentManagedBuffer` and `LocalDirValidator`, Spark 4.3.0). Where Spark sends a header and then closes (a data
//! file that is missing or short), the text is ours, in Java's form.

use sealed_shuffle_transport::region::ShownPath;

use super::{illegal_argument, illegal_state, io, runtime, security};
use crate::disk::{DirRefusal, LookupError, RegisterError, RegisterRefusal};

impl LookupError {
    /// What the peer reads: the first line of a failure in Spark.
    pub fn spark_text(&self) -> String {
        match self {
            Self::NotRegistered { app, executor } => {
                let (app, executor) = (app.as_str(), executor.as_str());
                runtime(format_args!("Executor is not registered (appId={app}, execId={executor})"))
            }
            Self::NotRegisteredForDiagnosis { .. } => {
                r#"java.lang.NullPointerException: Cannot read field "localDirs" because "executor" is null"#
                    .into()
            }
            Self::NoDirectories { .. } => "java.lang.ArithmeticException: / by zero".into(),
            // A read that fails so is computed again. Closing the connection would have it tried again, with all else that
            // the connection carries.
            Self::Disk { why, .. } => io(why),
            Self::Index { source } => failed_to_open(source.path()),
            Self::IndexTooLarge { path, .. } | Self::Changing { path } => failed_to_open(path),
            Self::OutOfBounds { .. } => "java.lang.IndexOutOfBoundsException".into(),
            Self::NegativeLength { length, .. } => format!("count : {length} (expected: >= 0)"),
            Self::DamagedIndex { shuffle, map } => {
                io(format_args!("Index of shuffle_{shuffle}_{map}_0 is damaged"))
            }
            Self::Escapes { path } => runtime(format_args!(
                "Block file {} resolves outside the executor's registered local directories",
                path.as_str()
            )),
            Self::Data { source } => {
                io(format_args!("Data file is missing or unreadable: {}", source.path().as_str()))
            }
            Self::Mismatch { path, .. } => {
                io(format_args!("Data file does not match its index: {}", path.as_str()))
            }
        }
    }
}

impl RegisterError {
    /// What the peer reads.
    pub fn spark_text(&self) -> String {
        match self {
            Self::Dir(refused) => refused.spark_text(),
            Self::Refused(refused) => refused.spark_text(),
        }
    }
}

impl RegisterRefusal {
    /// What the peer reads. Whose a directory is, the log alone says.
    pub fn spark_text(&self) -> String {
        match self {
            Self::NeedsProof { app } => {
                security(format_args!("Client for null not authorized for application {}.", app.as_str()))
            }
            Self::Taken { dir, .. } => {
                illegal_argument(format_args!("localDirs entry belongs to another application: {dir}"))
            }
            Self::BeingCleared { dir } => {
                illegal_state(format_args!("localDirs entry is being cleared, register again: {dir}"))
            }
            Self::Ended { app } => illegal_state(format_args!("Application {} has ended", app.as_str())),
            Self::TooManyExecutors { .. } | Self::TooManyBytes { .. } => {
                illegal_state("Too many executors are registered")
            }
        }
    }
}

impl DirRefusal {
    /// What the peer reads: its own text as it stands, which is not harmless in a log.
    pub fn spark_text(&self) -> String {
        match self {
            Self::Empty => illegal_argument(self),
            Self::NotCanonicalizable { dir } => {
                illegal_argument(format_args!("localDirs entry could not be canonicalized: {dir}"))
            }
            Self::OtherApplication { dir, app } => illegal_argument(format_args!(
                "localDirs entry is not within application {}'s directory: {dir}",
                app.as_str()
            )),
            Self::Unanswered { dir } => {
                io(format_args!("localDirs entry cannot be looked at, since a disk does not answer: {dir}"))
            }
            Self::Locked(locked) => illegal_argument(format_args!(
                "localDirs entry cannot be read by the service: {} {}",
                locked.dir,
                locked.cause()
            )),
            Self::NotUnderRoot { dir } => illegal_argument(format_args!(
                "localDirs entry is not under any of the service's local directories: {dir}"
            )),
        }
    }
}

fn failed_to_open(path: &ShownPath) -> String {
    runtime(format_args!("Failed to open file: {}", path.as_str()))
}
