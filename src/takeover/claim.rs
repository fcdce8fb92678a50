//! The successor's end. Its process serves nobody yet, so it waits for each answer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_acceptconn;
use sealed_shuffle_transport::lane::OnLane;
use thiserror::Error;

use super::line::{self, Incoming};
use super::{CHECKING, GREETING, OPENING, fits, identity};
use crate::local_socket::user_at;

/// Why a server's place cannot be taken. It goes on as before.
#[derive(Debug, Error)]
pub(crate) enum ClaimError {
    /// It said why.
    #[error("the server at {} does not give its place away: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    /// Somebody else listens there.
    #[error("user {user} listens at {}: only a server of our own user or root is succeeded", path.display())]
    Foreign { path: PathBuf, user: u32 },
    /// Its records are not ours.
    #[error(
        "the server at {} keeps its records in another file than {}: name the same spark.sealed.state.dir",
        path.display(), ours.display()
    )]
    OtherRecords { path: PathBuf, ours: PathBuf },
    /// The conversation broke.
    #[error("cannot take over from the server at {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The place of a server that still serves, and its ports.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    stream: UnixStream,
    incoming: Incoming,
    service: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Claim {
    /// Asks the server that listens at `path` for its place; `records` is the file of our recovery store. `None` where
    /// nobody listens there.
    pub(crate) fn make(on: &OnLane, path: &Path, records: &Path) -> Result<Option<Self>, ClaimError> {
        let failed = |source| ClaimError::Io { path: path.to_owned(), source };
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let user = user_at(&stream).map_err(failed)?;
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            return Err(ClaimError::Foreign { path: path.to_owned(), user });
        }
        let incoming = Incoming::default();
        let mut claim = Self { path: path.to_owned(), stream, incoming, service: None, admin: None };
        claim.send(GREETING)?;
        let said = claim.next(OPENING)?;
        let words: Vec<&str> = said.split(' ').collect();
        let (has_admin, theirs) = match words[..] {
            ["ports", "service", "records", records] => (false, records),
            ["ports", "service", "admin", "records", records] => (true, records),
            _ => return Err(claim.broken(&said)),
        };
        if !identity(on, records).is_ok_and(|ours| ours == theirs) {
            return Err(ClaimError::OtherRecords { path: path.to_owned(), ours: records.to_owned() });
        }
        let mut descriptors = std::mem::take(&mut claim.incoming.descriptors).into_iter();
        let mut port = || descriptors.next().map(listener).transpose().map_err(failed);
        claim.service = port()?;
        claim.admin = if has_admin { port()? } else { None };
        Ok(Some(claim))
    }

    /// The service's port, where it is the wanted one; once.
    pub(crate) fn service(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        self.service.take_if(|port| port.local_addr().is_ok_and(|at| fits(at, wanted)))
    }

    /// The operator's port likewise.
    pub(crate) fn admin(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        self.admin.take_if(|port| port.local_addr().is_ok_and(|at| fits(at, wanted)))
    }

    /// Asks for the recovery store. The server accepts nobody from here on, until [`Claim::serve`], or until this is
    /// dropped.
    pub(crate) fn take_store(&mut self, _: &OnLane) -> Result<(), ClaimError> {
        self.send("store")?;
        self.expect("closed", CHECKING)
    }

    /// Says that we serve. From here on the other server does not.
    pub(crate) fn serve(&mut self, _: &OnLane) -> Result<(), ClaimError> {
        self.send("serving")?;
        self.expect("retired", OPENING)
    }

    /// Says that our sockets are in their places.
    pub(crate) fn placed(&self) -> Result<(), ClaimError> {
        self.send("placed")
    }

    fn expect(&mut self, wanted: &str, within: Duration) -> Result<(), ClaimError> {
        let said = self.next(within)?;
        match said == wanted {
            true => Ok(()),
            false => Err(self.broken(&said)),
        }
    }

    fn next(&mut self, within: Duration) -> Result<String, ClaimError> {
        let failed = |source| ClaimError::Io { path: self.path.clone(), source };
        self.stream.set_read_timeout(Some(within)).map_err(failed)?;
        let line = loop {
            if let Some(line) = self.incoming.line() {
                break line.map_err(failed)?;
            }
            match self.incoming.receive(&self.stream) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(failed(io::Error::other(format!("it was silent for {within:?}"))));
                }
                Err(error) => return Err(failed(error)),
            }
        };
        match line.strip_prefix("refused ") {
            Some(reason) => Err(ClaimError::Refused { path: self.path.clone(), reason: reason.to_owned() }),
            None => Ok(line),
        }
    }

    fn send(&self, line: &str) -> Result<(), ClaimError> {
        line::send(&self.stream, line, &[])
            .map_err(|source| ClaimError::Io { path: self.path.clone(), source })
    }

    fn broken(&self, said: &str) -> ClaimError {
        let source = io::Error::other(format!("it says {said:?}, which no release up to ours means"));
        ClaimError::Io { path: self.path.clone(), source }
    }
}

/// A descriptor that came along, as what it has to be.
fn listener(descriptor: OwnedFd) -> io::Result<TcpListener> {
    if !socket_acceptconn(&descriptor)? {
        return Err(io::Error::other("what it gave is no listening socket"));
    }
    let listener = TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
