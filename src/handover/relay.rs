//! The other end for programs that cannot speak to Unix sockets, as Java below 16: standard input goes to the
//! socket, its answers come out of standard output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Why relaying ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Nobody answers there.
    #[error("cannot connect to {}: {source}; does the server run, with spark.sealed.handover.socket?", path.display())]
    Unreachable {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else listens there, and would get the secrets.
    #[error("{} is served by user {user}, whom secrets are not for: name it with --server-user if they are", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Who listens.
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
    let unreachable = |source| RelayError::Unreachable { path: path.to_owned(), source };
    let socket = UnixStream::connect(path).map_err(unreachable)?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(io::Error::from)?;
    let user = peer.uid.as_raw();
    let own = rustix::process::geteuid().as_raw();
    if user != own && user != 0 && !users.contains(&user) {
        return Err(RelayError::Foreign { path: path.to_owned(), user });
    }
    let ended = Arc::new(AtomicBool::new(false));
    let sending = (socket.try_clone()?, Arc::clone(&ended));
    // Not joined: it may wait for input for as long as it likes.
    thread::spawn(move || {
        let (mut to, ended) = sending;
        if copy(input, &mut to).is_ok() {
            ended.store(true, Ordering::Release);
        }
        // Where it is closed already, the other direction knows.
        to.shutdown(Shutdown::Write).ok();
    });
    copy(&socket, output)?;
    match ended.load(Ordering::Acquire) {
        true => Ok(()),
        false => Err(RelayError::Gone),
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
