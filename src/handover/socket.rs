//! The socket in the file system.
//!
//! The mode is set before anybody can connect. A file that lies at the path is removed only if it is a socket on
//! which nobody listens; a killed server leaves one. At the end the socket is removed only if nobody has replaced it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;
use tokio::net::{UnixListener, UnixSocket};
use tracing::info;

use sealed_shuffle_config::HandoverConfig;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;

/// The socket cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process listens at the path.
    #[error(
        "{} (spark.sealed.handover.socket): another server listens there: stop it, or name another path",
        path.display()
    )]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// A file that is no socket lies at the path.
    #[error(
        "{} (spark.sealed.handover.socket) is no socket: name a path at which nothing lies",
        path.display()
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Any other error.
    #[error("cannot listen on {} (spark.sealed.handover.socket): {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// A listening socket, and the users who may use it. It is removed when dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    users: Vec<u32>,
    _file: SocketFile,
}

impl Socket {
    /// Makes the socket of a configuration and listens on it. Must be called within a runtime.
    pub fn bind(config: &HandoverConfig) -> Result<Self, SocketError> {
        let path = &config.socket;
        let failed = |source| SocketError::Io { path: path.clone(), source };
        remove_stale(path)?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        // Nobody can connect before it listens.
        let mode = if config.users.is_empty() { 0o600 } else { 0o660 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let file = SocketFile::at(path).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, users: config.users.clone(), _file: file })
    }

    /// Whether a user may hand applications over.
    pub(super) fn admits(&self, user: u32) -> bool {
        let own = rustix::process::geteuid().as_raw();
        user == own || user == 0 || self.users.contains(&user)
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => {}
        // A server listens there, and may be busy.
        Ok(()) | Err(Errno::AGAIN) => return Err(SocketError::Taken { path: path.to_owned() }),
        Err(errno) => return Err(failed(errno.into())),
    }
    info!(path = %path.display(), "removed a socket that nobody listens on");
    fs::remove_file(path).map_err(failed)
}

/// Connects without waiting.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// The identity of the socket's file.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // A socket that is left behind is stale for the next server, which removes it.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
