//! The client's end of the operator's port: at the server's socket where there is one, else over TCP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use sealed_shuffle_config::AdminToken;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Exit, Failure, http};

/// Time from connecting to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Length of the longest answer that is read.
const LONGEST: usize = 256 << 20;

/// A place at which a server may answer.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The socket of `spark.sealed.admin.socket`.
    Socket(PathBuf),
    /// `HOST:PORT` of `spark.sealed.admin.address`.
    Tcp(String),
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) place: Place,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as text for a person, in one line.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().replace(char::is_control, " ")
    }
}

/// Asks at the first of `places` at which somebody listens. A token goes over TCP only.
pub(super) fn ask(
    places: &[Place],
    method: &Method,
    path: &str,
    token: Option<&AdminToken>,
) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let mut nobody = Vec::new();
    for place in places {
        let asked = async {
            let connection = connect(place).await.map_err(Fault::NotConnected)?;
            say(connection, place, method, path, token).await
        };
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        match asked.unwrap_or_else(|_| Err(Fault::Broken("no answer in time".to_owned()))) {
            Ok(answer) => return Ok(answer),
            Err(Fault::NotConnected(error)) => nobody.push(unreachable(place, &error)),
            Err(Fault::Broken(reason)) => {
                nobody.push(format!("{place} does not answer: {reason}"));
                break;
            }
        }
    }
    Err(Failure::new(Exit::Unreachable, nobody.join("; ")))
}

/// Why there is no answer.
enum Fault {
    /// The next place may have one.
    NotConnected(io::Error),
    Broken(String),
}

type Connection = Box<dyn Both>;

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

async fn connect(place: &Place) -> io::Result<Connection> {
    Ok(match place {
        Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
        Place::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

async fn say(
    connection: Connection,
    place: &Place,
    method: &Method,
    path: &str,
    token: Option<&AdminToken>,
) -> Result<Answer, Fault> {
    let broken = |error: &dyn fmt::Display| Fault::Broken(error.to_string());
    let (host, token) = match place {
        Place::Socket(_) => ("localhost", None),
        Place::Tcp(address) => (&**address, token),
    };
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&token.authorization()).map_err(|error| broken(&error))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(&error))?;
    let (status, body) = http::exchange(connection, request, LONGEST).await.map_err(Fault::Broken)?;
    Ok(Answer { place: place.clone(), status, body })
}

fn unreachable(place: &Place, error: &io::Error) -> String {
    let remedy = match (place, error.kind()) {
        (Place::Socket(_), io::ErrorKind::PermissionDenied) => {
            "run this as root, as the server's user, or as one of spark.sealed.admin.users"
        }
        (Place::Socket(_), _) => {
            "does the server run, and is this its spark.sealed.admin.socket (or spark.sealed.state.dir)?"
        }
        (Place::Tcp(address), _) => {
            return format!(
                "nobody answers at {address}: {error}; does the server run with --admin {address}?"
            );
        }
    };
    format!("nobody answers at {place}: {error}; {remedy}")
}
