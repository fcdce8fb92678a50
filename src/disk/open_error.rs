//! Why a file could not be opened, with its path.

use rustix::io::Errno;
use sealed_shuffle_transport::region::ShownPath;

use crate::confined::OpenFailure;

impl OpenFailure {
    /// Adds the path, for log and peer.
    pub(super) fn at(self, path: ShownPath) -> OpenError {
        match self {
            Self::Escapes => OpenError::Escapes { path },
            Self::NotRegular(kind) => OpenError::NotRegular { path, kind },
            Self::NoAnswer => OpenError::NoAnswer { path },
            Self::Errno(Errno::NOENT | Errno::NOTDIR) => OpenError::Missing { path },
            Self::Errno(Errno::ACCESS | Errno::PERM) => OpenError::Denied { path, uid: our_uid() },
            Self::Errno(errno) => OpenError::Io { path, errno },
        }
    }
}

/// Why a file could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such file, or no such directory on the way.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: ShownPath,
    },
    /// The path has a symlink or leads out of its root.
    #[error("{path} goes through a symlink or leaves its root; files are served only by their plain path")]
    Escapes {
        /// The file.
        path: ShownPath,
    },
    /// A directory, fifo, socket or device.
    #[error("{path} is a {kind}, not a regular file")]
    NotRegular {
        /// The file.
        path: ShownPath,
        /// What it is.
        kind: &'static str,
    },
    /// No permission.
    #[error(
        "no permission to use {path} as uid {uid}; executors' directories have mode 0700, so this service must \
         run as the user that runs the executors"
    )]
    Denied {
        /// The file.
        path: ShownPath,
        /// The effective user id of this process.
        uid: u32,
    },
    /// Its disk.
    #[error("the disk of {path} does not answer, or is not there")]
    NoAnswer {
        /// The file.
        path: ShownPath,
    },
    /// Anything else the kernel said.
    #[error("cannot use {path}: {errno}")]
    Io {
        /// The file.
        path: ShownPath,
        /// What the kernel said.
        errno: Errno,
    },
}

impl OpenError {
    /// The file.
    pub fn path(&self) -> &ShownPath {
        match self {
            Self::Missing { path }
            | Self::Escapes { path }
            | Self::NotRegular { path, .. }
            | Self::Denied { path, .. }
            | Self::NoAnswer { path }
            | Self::Io { path, .. } => path,
        }
    }
}

/// The effective user id of this process.
pub(super) fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
