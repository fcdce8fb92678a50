//! Why a root cannot be used.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::open_error::our_uid;

/// Why a root cannot be used. The start is refused where none can.
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
    /// Nobody knows: its disk does not answer.
    #[error("local directory {} does not answer; look at the kernel's log", path.display())]
    Silent {
        /// The directory.
        path: PathBuf,
    },
    /// None of several can be used.
    #[error("none of the local directories can be used:{}", list(errors))]
    NoneUsable {
        /// Why each of them cannot.
        errors: Vec<Self>,
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

fn list(errors: &[RootError]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

impl RootError {
    /// Why there is none at all, from what each of them says.
    pub(super) fn of_all(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            0 => Self::None,
            1 => errors.remove(0),
            _ => Self::NoneUsable { errors },
        }
    }

    /// Whether it stays so unless somebody changes the configuration or a permission. What is not there may come: a disk is
    /// mounted later, or a NodeManager makes the directory.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::None | Self::NotDirectory { .. } | Self::Denied { .. } | Self::NotUtf8 { .. } => true,
            Self::Missing { .. } | Self::Silent { .. } | Self::Io { .. } => false,
            Self::NoneUsable { errors } => errors.iter().all(Self::is_lasting),
        }
    }

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
