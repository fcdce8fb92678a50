//! Why the recovery store is not opened.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::keys::envelope::{KeyError, KeyErrorKind};

/// What stands between us and the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StateErrorKind {
    /// Directory or file are not as they must be: modes, a link, no regular file.
    Place,
    /// Another process has it open.
    Locked,
    /// Some other file.
    NotOurs,
    /// Written by a later release.
    NewerVersion,
    /// The node key is not the one that it was written under.
    WrongKey,
    /// Bytes were changed or lost.
    Damaged,
    /// The key service gives no node key.
    Key(KeyErrorKind),
    /// The disk, or the system.
    Io,
}

/// A store that is not opened: which file, what happened, and what to do. No name of an application is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the recovery store {} {reason}; {remedy}", path.display())]
pub struct StateError {
    kind: StateErrorKind,
    path: PathBuf,
    reason: String,
    remedy: Cow<'static, str>,
}

/// What helps where a store is lost.
pub(super) const START_ANEW: &str = "put it back from a copy, or move it away to start without it: executors that run are then unknown until they \
     register again, and their blocks are not served";

impl StateError {
    /// What kind it is.
    #[cfg(test)]
    pub(super) fn kind(&self) -> StateErrorKind {
        self.kind
    }

    /// Whether the next start fails too unless somebody changes something: exit code 78 rather than 1.
    pub fn is_configuration(&self) -> bool {
        match self.kind {
            StateErrorKind::Locked | StateErrorKind::Io => false,
            StateErrorKind::Key(kind) => kind != KeyErrorKind::Unavailable,
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
            KeyErrorKind::Unavailable => "start again when the key service answers",
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
