//! The client's end of the operator's port: at the server's socket where there is one, else over TCP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use sealed_shuffle_config::{AdminPlaces, AdminToken, ProcessEnvironment};
use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{ConfigArgs, Exit, Failure, http};

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

/// Which running server is asked.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServerArgs {
    /// The server's admin port; without it, the socket, and then spark.sealed.admin.address
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,

    /// The server's socket; without it, spark.sealed.admin.socket
    #[arg(long, value_name = "PATH", conflicts_with = "admin")]
    socket: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,
}

impl ServerArgs {
    /// Where the configuration of the server comes from.
    pub(super) fn config(&self) -> ConfigArgs {
        self.config.clone()
    }

    /// The server, to ask it something.
    pub(super) fn find(self) -> Result<RunningServer, Failure> {
        // A place that was named needs no configuration.
        let configured = match (&self.admin, &self.socket) {
            (None, None) => Some(AdminPlaces::from_sources(&self.config.sources(), &ProcessEnvironment)?),
            _ => None,
        };
        let places = places(self.socket, self.admin, configured.as_ref(), Absence::IsRefused)?;
        Ok(RunningServer { places, token: None })
    }

    /// The server, to change something there; over TCP with the token of `token_file` or of the configuration.
    pub(super) fn find_to_change(self, token_file: Option<PathBuf>) -> Result<RunningServer, Failure> {
        self.found_to_change(token_file, Absence::IsRefused)
    }

    /// The same where the socket may be missing: the call says then that nobody is there.
    pub(super) fn find_if_there(self, token_file: Option<PathBuf>) -> Result<RunningServer, Failure> {
        self.found_to_change(token_file, Absence::IsLeft)
    }

    fn found_to_change(
        self,
        token_file: Option<PathBuf>,
        absence: Absence,
    ) -> Result<RunningServer, Failure> {
        let configured = match (&self.admin, &self.socket, &token_file) {
            (None, None, _) | (_, _, None) => {
                Some(AdminPlaces::from_sources(&self.config.sources(), &ProcessEnvironment)?)
            }
            _ => None,
        };
        let places = places(self.socket, self.admin, configured.as_ref(), absence)?;
        let token = match token_file.or_else(|| configured.and_then(|configured| configured.token_file)) {
            Some(file) => match AdminToken::read(&ProcessEnvironment, &file) {
                Ok(token) => Some(token),
                // The socket wants no token, and the file may be the server's alone.
                Err(_) if matches!(&places[..], [Place::Socket(_), ..]) => None,
                Err(reason) => {
                    let text =
                        format!("{} (--token-file, spark.sealed.admin.token-file): {reason}", file.display());
                    return Err(Failure::new(Exit::Config, text));
                }
            },
            None => None,
        };
        Ok(RunningServer { places, token })
    }
}

/// What a configured socket means that is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Absence {
    IsRefused,
    /// It is left to the call.
    IsLeft,
}

fn places(
    socket: Option<PathBuf>,
    admin: Option<String>,
    configured: Option<&AdminPlaces>,
    absence: Absence,
) -> Result<Vec<Place>, Failure> {
    match (socket, admin) {
        (Some(path), _) => Ok(vec![Place::Socket(path)]),
        (_, Some(address)) => Ok(vec![Place::Tcp(address)]),
        (None, None) => of_configuration(configured, absence),
    }
}

/// The socket where there is one, and then the address.
fn of_configuration(configured: Option<&AdminPlaces>, absence: Absence) -> Result<Vec<Place>, Failure> {
    let socket = configured.and_then(|configured| configured.socket.as_ref());
    let address = configured.and_then(|configured| configured.address);
    let is_missing =
        |path: &PathBuf| path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let is_taken = |path: &&PathBuf| absence == Absence::IsLeft || !is_missing(path);
    let there = socket.filter(is_taken).cloned().map(Place::Socket);
    let places: Vec<_> = there.into_iter().chain(address.map(Place::from)).collect();
    if !places.is_empty() {
        return Ok(places);
    }
    let socket = match socket {
        Some(path) => {
            let (path, keys) = (path.display(), "spark.sealed.admin.socket, spark.sealed.state.dir");
            format!("there is no socket at {path} ({keys}): does the server run?")
        }
        None => "spark.sealed.admin.socket is off.".to_owned(),
    };
    let text = format!(
        "{socket} spark.sealed.admin.address is not set, either: name the server's with --socket PATH or --admin HOST:PORT"
    );
    Err(Failure::new(Exit::Config, text))
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct RunningServer {
    places: Vec<Place>,
    token: Option<AdminToken>,
}

impl RunningServer {
    /// Asks it something.
    pub(super) fn ask(&self, method: &Method, path: &str) -> Result<Answer, Failure> {
        ask(&self.places, method, path, self.token.as_ref())
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
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::new(Exit::Failed, format!("{} answers something else: {error}", self.place))
        })
    }

    /// The failure that an answer is which is not what was asked for; `else_` is for a status that says nothing by itself.
    pub(super) fn refused(&self, else_: &str) -> Failure {
        let Self { place, status, .. } = self;
        match *status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Failure::new(Exit::Refused, format!("{place} refuses: {}", Shown(&self.text())))
            }
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_IMPLEMENTED => {
                Failure::new(Exit::Failed, format!("{place}: {}", Shown(&self.text())))
            }
            _ => Failure::new(Exit::Failed, format!("{place} answers {status}: {else_}")),
        }
    }

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

type Connection = Box<dyn ByteStream>;

trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

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
