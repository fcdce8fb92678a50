//! Unix sockets in the file system, whose peers the kernel names (`SO_PEERCRED` of unix(7)).
//!
//! The mode is set before anybody can connect. A file that lies at the path is removed only if it is a socket on
//! which nobody listens; a killed server leaves one. At the end the socket is removed only if nobody has replaced it.
//!
//! The hand-over and the operator's port stand on it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// The socket cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process listens at the path.
    #[error(
        "{} ({key}): another server listens there: stop it, or name another path",
        path.display()
    )]
    Taken {
        /// The configuration key of the path.
        key: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A file that is no socket lies at the path.
    #[error(
        "{} ({key}) is no socket: name a path at which nothing lies",
        path.display()
    )]
    NotASocket {
        /// The configuration key of the path.
        key: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// Any other error.
    #[error("cannot listen on {} ({key}): {source}", path.display())]
    Io {
        /// The configuration key of the path.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Whether the place of a socket is free.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Nobody may listen there.
    Free,
    /// A predecessor listens there, until [`LocalSocket::take_place`].
    Occupied,
}

/// A listening socket, and the users who may use it. It is removed when dropped.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    users: Vec<u32>,
    /// Where it lies, or is to lie.
    path: PathBuf,
    file: SocketFile,
}

impl LocalSocket {
    /// Makes a socket at `path` for our own user, root and `users`, and listens on it. `key` names the setting in errors.
    /// Must be called within a runtime.
    pub fn bind(key: &'static str, path: &Path, users: &[u32]) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { key, path: path.to_owned(), source };
        remove_stale(key, path)?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        // Nobody can connect before it listens.
        let mode = if users.is_empty() { 0o600 } else { 0o660 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let file = SocketFile::at(path).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, users: users.to_vec(), path: path.to_owned(), file })
    }

    /// Makes the directory of a socket, for our user alone, where there is none and the one above it is there.
    pub(crate) fn make_directory_of(key: &'static str, path: &Path) -> Result<(), SocketError> {
        match path.parent().filter(|directory| !directory.exists()) {
            None => Ok(()),
            Some(directory) => DirBuilder::new()
                .mode(0o700)
                .create(directory)
                .map_err(|source| SocketError::Io { key, path: path.to_owned(), source }),
        }
    }

    /// The same where somebody may still listen at `path`: it lies beside it under a name of its own then, and
    /// [`LocalSocket::take_place`] moves it there.
    pub fn bind_at(key: &'static str, path: &Path, users: &[u32], place: Place) -> Result<Self, SocketError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if place == Place::Free {
            return Self::bind(key, path, users);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // As short as may be: a path of a socket has few bytes.
        let name = format!(".{:x}{number:x}", std::process::id());
        let beside = Self::bind(key, &path.with_file_name(name), users)?;
        Ok(Self { path: path.to_owned(), ..beside })
    }

    /// Moves the socket to its place in one step: at every moment somebody listens there.
    pub fn take_place(&mut self) -> io::Result<()> {
        if self.file.path != self.path {
            fs::rename(&self.file.path, &self.path)?;
            self.file.path.clone_from(&self.path);
        }
        Ok(())
    }

    /// Where it lies, or is to lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a user may use it.
    pub(crate) fn admits(&self, user: u32) -> bool {
        let own = rustix::process::geteuid().as_raw();
        user == own || user == 0 || self.users.contains(&user)
    }

    /// Accepts connections until `stop` resolves. Each connection holds one of `places`; if none is free, the next peer
    /// waits in the backlog. `serve` gets the user of the peer as `peer_user` learns it.
    pub(crate) async fn accept_loop(
        &self,
        places: Arc<Semaphore>,
        stop: impl Future<Output = ()>,
        peer_user: impl Fn(&UnixStream) -> io::Result<u32>,
        mut serve: impl FnMut(UnixStream, u32, OwnedSemaphorePermit),
    ) {
        let path = self.path().display();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = self.accept(&places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => match peer_user(&stream) {
                    Ok(user) => serve(stream, user, place),
                    Err(error) => warn!(%path, %error, "cannot learn the user of a peer"),
                },
                Err(error) => {
                    warn!(%path, %error, "cannot accept a connection; waiting");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }
}

/// The effective user of the process that connected.
pub(crate) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}

/// The effective user at the other end of a socket that blocks, which nobody else may use meanwhile. The call must not come from a task
/// of a runtime.
///
/// The process there may have no number among those that we see, as in another container of our pod. rustix takes it for an error:
/// it reads a process id that is never 0.
pub(crate) fn user_at(socket: &net::UnixStream) -> io::Result<u32> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    socket.set_nonblocking(true)?;
    let user = UnixStream::from_std(socket.try_clone()?).and_then(|stream| peer_user(&stream));
    socket.set_nonblocking(false)?;
    user
}

fn remove_stale(key: &'static str, path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { key, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { key, path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => {}
        // A server listens there, and may be busy.
        Ok(()) | Err(Errno::AGAIN) => return Err(SocketError::Taken { key, path: path.to_owned() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "spark.sealed.some.socket";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn socket_is_for_its_users_and_gone_at_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let (own, shared) = (temp.path().join("own"), temp.path().join("shared"));
        let socket = LocalSocket::bind(KEY, &own, &[]).unwrap();
        let others = LocalSocket::bind(KEY, &shared, &[4711]).unwrap();
        assert_eq!((mode(&own), mode(&shared)), (0o600, 0o660));
        assert!(others.admits(4711) && others.admits(0) && !others.admits(4712) && !socket.admits(4711));
        drop((socket, others));
        assert!(!own.exists() && !shared.exists());
    }

    #[tokio::test]
    async fn socket_in_use_is_refused_and_a_stale_one_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let held = LocalSocket::bind(KEY, &path, &[]).unwrap();
        let taken = LocalSocket::bind(KEY, &path, &[]).unwrap_err();
        assert!(matches!(taken, SocketError::Taken { .. }) && taken.to_string().contains(KEY), "{taken}");
        drop(held);
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a killed server leaves it");
        drop(LocalSocket::bind(KEY, &path, &[]).unwrap());
        fs::write(&path, "not ours").unwrap();
        assert!(matches!(LocalSocket::bind(KEY, &path, &[]), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "not ours");
    }

    #[tokio::test]
    async fn socket_of_a_successor_takes_the_place_in_one_step_and_outlives_the_one_before() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let before = LocalSocket::bind(KEY, &path, &[]).unwrap();
        let mut after = LocalSocket::bind_at(KEY, &path, &[], Place::Occupied).unwrap();
        after.take_place().unwrap();
        drop(before);
        assert_eq!(knock(&path), Ok(()), "the successor listens there");
        drop(after);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn socket_that_replaced_ours_stays() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let socket = LocalSocket::bind(KEY, &path, &[]).unwrap();
        fs::rename(&path, temp.path().join("aside")).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
