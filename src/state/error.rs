//! The errors of opening the recovery store.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::keys::envelope::{KeyError, KeyErrorKind};

/// The kind of a failure to open the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StateErrorKind {
    /// The directory or the file has a wrong mode, is a link, or is no regular file.
    Place,
    /// Another process has the file open.
    Locked,
    /// The file is no recovery store.
    NotOurs,
    /// A later release wrote the file.
    NewerVersion,
    /// The file was written under another node key.
    WrongKey,
    /// Bytes were changed or lost.
    Damaged,
    /// The key service gives no node key.
    Key(KeyErrorKind),
    /// The disk or the system failed.
    Io,
}

/// A failure to open the store: the file, the reason and the remedy. It names no application.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the recovery store {} {reason}; {remedy}", path.display())]
pub struct StateError {
    kind: StateErrorKind,
    path: PathBuf,
    reason: String,
    remedy: Cow<'static, str>,
}

/// The remedy for a store that is lost.
pub(super) const START_ANEW: &str = "put it back from a copy, or move it away to start without it: executors that run are then unknown until they \
     register again, and their blocks are not served";

impl StateError {
    /// The kind of the failure.
    #[cfg(test)]
    pub(super) fn kind(&self) -> StateErrorKind {
        self.kind
    }

    /// Whether another process has the store open.
    pub fn is_locked(&self) -> bool {
        self.kind == StateErrorKind::Locked
    }

    /// Whether it may pass that the key service does not give the node key.
    pub fn awaits_key(&self) -> bool {
        matches!(self.kind, StateErrorKind::Key(kind) if kind.may_pass())
    }

    /// Whether the next start fails, too, unless somebody changes something. The exit code is 78 then, and 1 otherwise.
    pub fn is_configuration(&self) -> bool {
        match self.kind {
            StateErrorKind::Locked | StateErrorKind::Io => false,
            StateErrorKind::Key(kind) => !kind.may_pass(),
            StateErrorKind::Place
            | StateErrorKind::NotOurs
            | StateErrorKind::NewerVersion
            | StateErrorKind::WrongKey
            | StateErrorKind::Damaged => true,
        }
    }

    pub(super) fn new(
        kind: StateErrorKind,
        path: &Path,
        reason: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, path: path.to_owned(), reason: reason.into(), remedy: remedy.into() }
    }

    pub(super) fn place(path: &Path, reason: impl Into<String>, remedy: &'static str) -> Self {
        Self::new(StateErrorKind::Place, path, reason, remedy)
    }

    pub(super) fn damaged(path: &Path, what: impl fmt::Display) -> Self {
        Self::new(StateErrorKind::Damaged, path, format!("is damaged: {what}"), START_ANEW)
    }

    pub(super) fn wrong_key(path: &Path) -> Self {
        Self::new(
            StateErrorKind::WrongKey,
            path,
            "was written under another node key than the key service gives for it, or its header was changed",
            "name the key service that it was made with (spark.sealed.keys.*), or move it away to start without it",
        )
    }

    pub(super) fn key(path: &Path, error: KeyError) -> Self {
        let remedy = match error.kind() {
            kind if kind.may_pass() => "it opens when the key service gives it",
            _ => {
                "the key service and spark.sealed.cluster.name, spark.sealed.node.id must be what they were when it \
                 was made; move it away to start without it"
            }
        };
        Self::new(StateErrorKind::Key(error.kind()), path, format!("waits for its key: {error}"), remedy)
    }

    pub(super) fn io(path: &Path, doing: &str, error: &dyn fmt::Display) -> Self {
        Self::new(
            StateErrorKind::Io,
            path,
            format!("cannot be {doing}: {error}"),
            "look at the disk and its space, and at the owner of the directory (spark.sealed.state.dir)",
        )
    }

    pub(super) fn locked(path: &Path) -> Self {
        Self::new(
            StateErrorKind::Locked,
            path,
            "is open in another process",
            "stop the other server, or give each its own spark.sealed.state.dir",
        )
    }

    pub(super) fn vanished(path: &Path) -> Self {
        Self::new(StateErrorKind::Io, path, "vanished while it was opened", "start again")
    }
}
