//! Why a root cannot be used.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::open_error::our_uid;

/// Why a root cannot be used. All of them refuse the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Nothing is configured.
    #[error("no local directories are configured; without them any path on this machine could be registered")]
    None,
    /// It is not there.
    #[error("local directory {} does not exist; create it or correct the configuration", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It is something else.
    #[error("local directory {} is not a directory", path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// We may not go in.
    #[error(
        "no permission to enter local directory {} as uid {uid}; run the service as the user that runs the \
         executors, or give that user access",
        path.display()
    )]
    Denied {
        /// The directory.
        path: PathBuf,
        /// The effective user id of this process.
        uid: u32,
    },
    /// Its canonical name is no text that an executor could send.
    #[error("the name of local directory {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The directory.
        path: PathBuf,
    },
    /// Anything else the kernel said.
    #[error("cannot open local directory {}: {errno}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

impl RootError {
    pub(super) fn from_errno(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOENT => Self::Missing { path },
            Errno::NOTDIR => Self::NotDirectory { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path, uid: our_uid() },
            errno => Self::Io { path, errno },
        }
    }
}
