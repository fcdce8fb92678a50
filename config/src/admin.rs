//! The operator's port: where it is, who may read there, and who may change something.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealed_shuffle_protocol::secret::AppSecret;
use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, Reader};
use super::keys;
use super::load::Sources;
use super::local_socket::{OFF, SocketPlace, place, users};
use super::values::{Values, read_sources};

/// Everything about the operator's port. The default serves nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AdminConfig {
    /// Where HTTP is served over TCP; `None` nowhere (`spark.sealed.admin.address`).
    pub address: Option<SocketAddr>,
    /// Hosts by which TCP clients may call the server, in lower case and without a port, beside loopback and the address of
    /// the connection (`spark.sealed.admin.hosts`).
    pub hosts: Vec<String>,
    /// What a TCP client shows to change something; `None` takes no change over TCP (`spark.sealed.admin.token-file`).
    pub token: Option<AdminToken>,
    /// The Unix socket of the port; `None` where it is off (`spark.sealed.admin.socket`).
    pub socket: Option<AdminSocket>,
}

/// The Unix socket of the operator's port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminSocket {
    /// Its path.
    pub path: PathBuf,
    /// User ids that may use it beside our own and root's (`spark.sealed.admin.users`).
    pub users: Vec<u32>,
    /// Whether nobody named the path. A server starts without a socket that cannot be made there.
    pub by_default: bool,
}

/// Where a command finds the operator's port of a server on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminPlaces {
    /// `spark.sealed.admin.socket`, or its default; `None` where it is off.
    pub socket: Option<PathBuf>,
    /// `spark.sealed.admin.address`.
    pub address: Option<SocketAddr>,
    /// `spark.sealed.admin.token-file`. It is not looked at.
    pub token_file: Option<PathBuf>,
}

/// The token of the operator's port (RFC 6750, section 2.1). Its `Debug` shows nothing, clones share one text, and
/// comparing takes the same time wherever the difference lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminToken(Arc<AppSecret>);

/// The socket's name in the state directory.
const SOCKET: &str = "admin.sock";

/// Fewest characters of a token: 128 bits in hexadecimal.
const SHORTEST_TOKEN: usize = 32;

/// Most characters of a token: it must fit into a request.
const LONGEST_TOKEN: usize = 4096;

impl AdminPlaces {
    /// Of a server with these sources; what else it reads is not looked at.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let read = |v: &mut Values<'_>| {
            let set = v.optional(&keys::ADMIN_SOCKET).map(|(path, _)| path).filter(|path| !path.is_empty());
            let socket = match set.as_deref() {
                Some(OFF) => None,
                Some(path) => Some(PathBuf::from(path)),
                None => Some(super::envelope::read(v).state_dir.join(SOCKET)),
            };
            let address = v.optional(&keys::ADMIN_ADDRESS).map(|(address, _)| address);
            let token_file = v.optional(&keys::ADMIN_TOKEN_FILE).map(|(path, _)| path.into());
            Self { socket, address, token_file }
        };
        Ok(read_sources(sources, environment, Reader::Serve, read)?.0)
    }
}

impl AdminToken {
    /// Reads a token from a file that its owner alone may read. A final line break does not belong to it. The error says
    /// why it cannot be used, without the path.
    pub fn read(environment: &dyn Environment, path: &Path) -> Result<Self, String> {
        let user = environment.user_id();
        let unreadable = |error| format!("the token cannot be read by user {user}: {error}");
        let mode = environment.stat(path).map_err(unreadable)?.mode;
        if mode & 0o077 != 0 {
            return Err(format!("other users may read or write the token (mode {mode:04o}): chmod 600"));
        }
        let bytes = environment.read(path).map_err(unreadable)?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).unwrap_or("").trim_end_matches(['\n', '\r']);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if text.is_empty() || !text.chars().all(is_plain) {
            return Err("the token is not one word of letters, digits and -._~+/=".to_owned());
        }
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&text.len()) {
            let length = text.len();
            return Err(format!(
                "the token has {length} characters, and {SHORTEST_TOKEN} to {LONGEST_TOKEN} are taken"
            ));
        }
        Ok(Self(Arc::new(AppSecret::new(text.to_owned()))))
    }

    /// Whether `given` is the token. Only unequal lengths show in the time that it takes.
    pub fn is(&self, given: &str) -> bool {
        *self.0 == AppSecret::new(given.to_owned())
    }

    /// What a client sends as `Authorization`.
    pub fn authorization(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", String::from_utf8_lossy(self.0.as_bytes())))
    }
}

impl fmt::Display for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "all requests at {}", socket.path.display())?,
            None => f.write_str("no socket")?,
        }
        match (self.address, &self.token) {
            (None, _) => Ok(()),
            (Some(address), None) => write!(f, "; reading at {address}, changes are refused there"),
            (Some(address), Some(_)) => write!(f, "; reading at {address}, changes with the token"),
        }
    }
}

/// Reads it.
pub(crate) fn read(v: &mut Values<'_>, state_dir: &Path) -> AdminConfig {
    let address = v.optional(&keys::ADMIN_ADDRESS).map(|(address, _)| address);
    let named = v.optional(&keys::ADMIN_HOSTS).map(|(hosts, _)| hosts);
    if let Some(address) = address
        && !address.ip().is_loopback()
    {
        v.warn(format!(
            "{} = {address} is not on loopback: metrics and the names of applications are open to everyone who reaches it",
            keys::ADMIN_ADDRESS.name()
        ));
    }
    let token = token(v);
    if let Some(address) = address.filter(|address| token.is_some() && !address.ip().is_loopback()) {
        v.warn(format!(
            "{} travels in clear to {address}: whoever listens on the way can end applications",
            keys::ADMIN_TOKEN_FILE.name()
        ));
    }
    for (set, key) in
        [(named.is_some(), keys::ADMIN_HOSTS.name()), (token.is_some(), keys::ADMIN_TOKEN_FILE.name())]
    {
        if set && address.is_none() {
            v.warn(format!("{key} has no effect without {}", keys::ADMIN_ADDRESS.name()));
        }
    }
    let hosts = named.unwrap_or_default().iter().map(|host| host.to_ascii_lowercase()).collect();
    AdminConfig { address, hosts, token, socket: socket(v, state_dir) }
}

fn token(v: &mut Values<'_>) -> Option<AdminToken> {
    let (path, origin) = v.optional(&keys::ADMIN_TOKEN_FILE)?;
    match AdminToken::read(v.environment(), Path::new(&path)) {
        Ok(token) => Some(token),
        Err(reason) => {
            let remedy = "make it with (umask 077; openssl rand -hex 32 > FILE)";
            let issue = Issue::new(keys::ADMIN_TOKEN_FILE.name(), reason, remedy);
            v.refuse(issue.with_value(path).with_origin(origin));
            None
        }
    }
}

fn socket(v: &mut Values<'_>, state_dir: &Path) -> Option<AdminSocket> {
    let users = users(v, &keys::ADMIN_USERS);
    let place = place(v, &keys::ADMIN_SOCKET, state_dir.join(SOCKET));
    if place.is_none() && !users.is_empty() {
        v.warn(format!("{} has no effect without a socket", keys::ADMIN_USERS.name()));
    }
    place.map(|SocketPlace { path, by_default }| AdminSocket { path, users, by_default })
}
