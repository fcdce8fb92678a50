//! The client's end, for programs that cannot speak to Unix sockets, such as Java below 16. Standard input goes to
//! the socket, and the answers go to standard output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::local_socket::user_at;

/// The reason why relaying ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Nobody listens at the socket.
    #[error("cannot connect to {}: {source}; does the server run, with spark.sealed.handover.socket?", path.display())]
    Unreachable {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A user listens there who must not get the secrets.
    #[error("user {user} serves {}, and must not get secrets: allow that user with --server-user", path.display())]
    Foreign {
        /// The path of the socket.
        path: PathBuf,
        /// The user who listens.
        user: u32,
    },
    /// The server closed the connection.
    #[error("the server has gone")]
    Gone,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Copies `input` to the socket and answers to `output` until the input ends or the server goes. The server must run
/// as our user, root, or one of `users`.
pub fn relay(
    path: &Path,
    users: &[u32],
    input: impl Read + Send + 'static,
    output: impl Write,
) -> Result<(), RelayError> {
    let socket = connect(path, users)?;
    let ended = Arc::new(AtomicBool::new(false));
    let sending = (socket.try_clone()?, Arc::clone(&ended));
    // This thread is not joined: it may wait for input without end.
    thread::spawn(move || {
        let (mut to, ended) = sending;
        if copy(input, &mut to).is_ok() {
            ended.store(true, Ordering::Release);
        }
        // If this direction is closed already, the other one notices.
        to.shutdown(Shutdown::Write).ok();
    });
    copy(&socket, output)?;
    match ended.load(Ordering::Acquire) {
        true => Ok(()),
        false => Err(RelayError::Gone),
    }
}

/// Connects to the socket of a server that runs as our user, root, or one of `users`.
pub(super) fn connect(path: &Path, users: &[u32]) -> Result<UnixStream, RelayError> {
    let unreachable = |source| RelayError::Unreachable { path: path.to_owned(), source };
    let socket = UnixStream::connect(path).map_err(unreachable)?;
    let user = user_at(&socket)?;
    let own = rustix::process::geteuid().as_raw();
    match user != own && user != 0 && !users.contains(&user) {
        true => Err(RelayError::Foreign { path: path.to_owned(), user }),
        false => Ok(socket),
    }
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; 16 << 10]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        to.flush()?;
        buffer[..read].zeroize();
    }
}
