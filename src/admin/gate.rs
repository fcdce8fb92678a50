//! Who may ask, and who may change something.
//!
//! Whoever reaches the TCP port may read: also a web page that somebody on this machine opened. Its name may resolve to our
//! address (DNS rebinding), but the browser says that name in `Host`, and so does not pass. A change takes more: the socket,
//! whose peers the kernel names, or the token. A change with `Origin` comes from a web page and is refused in any case.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{Request, StatusCode, Uri, Version};
use sealed_shuffle_config::{AdminConfig, AdminToken};

use crate::audit::Actor;

/// The way by which a connection came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Over TCP, at this address of ours.
    Tcp { peer: SocketAddr, local: IpAddr },
    /// At the socket, and whether that admits the user.
    Socket { user: u32, is_admitted: bool },
}

impl Way {
    /// Who it is, for the audit trail.
    pub(super) fn actor(self) -> Actor {
        match self {
            Self::Tcp { peer, .. } => Actor::Token(peer),
            Self::Socket { user, .. } => Actor::User(user),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { peer, .. } => write!(f, "{peer}"),
            Self::Socket { user, .. } => write!(f, "user {user}"),
        }
    }
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// The methods that the path has, where the method is what is wrong.
    pub(super) allowed: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allowed: None }
    }

    pub(super) fn not_allowed(allowed: &'static str) -> Self {
        let text = format!("use {allowed}");
        Self { allowed: Some(allowed), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Vec<String>,
    token: Option<AdminToken>,
    socket: Option<PathBuf>,
}

impl Gate {
    pub(super) fn new(config: &AdminConfig) -> Self {
        let socket = config.socket.as_ref().map(|socket| socket.path.clone());
        Self { hosts: config.hosts.clone(), token: config.token.clone(), socket }
    }

    /// Whether a request may ask anything.
    pub(super) fn admit<B>(&self, way: Way, request: &Request<B>) -> Result<(), Refusal> {
        match way {
            Way::Socket { is_admitted: true, .. } => Ok(()),
            Way::Socket { user, .. } => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!("user {user} may not use this socket: name it in spark.sealed.admin.users"),
            )),
            Way::Tcp { local, .. } => self.check_hosts(local, request),
        }
    }

    /// Whether a request that may ask may change something, too.
    pub(super) fn admit_change<B>(&self, way: Way, request: &Request<B>) -> Result<(), Refusal> {
        if request.headers().contains_key(ORIGIN) {
            let text = "a web page (Origin) may not change anything here";
            return Err(Refusal::new(StatusCode::FORBIDDEN, text));
        }
        match (way, &self.token) {
            (Way::Socket { .. }, _) => Ok(()),
            (Way::Tcp { .. }, None) => {
                let socket = match &self.socket {
                    Some(path) => format!("use the socket {} (sealed-shuffle apps --end ID)", path.display()),
                    None => "give the server a socket (spark.sealed.admin.socket)".to_owned(),
                };
                let text = format!(
                    "nothing is changed over TCP: {socket}, or name a file with a token in spark.sealed.admin.token-file"
                );
                Err(Refusal::new(StatusCode::FORBIDDEN, text))
            }
            (Way::Tcp { .. }, Some(token)) => {
                let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                match given.and_then(bearer) {
                    Some(given) if token.is(given) => Ok(()),
                    Some(_) => Err(Refusal::new(
                        StatusCode::UNAUTHORIZED,
                        "this is not the token of spark.sealed.admin.token-file, as the server read it at its start",
                    )),
                    None => Err(Refusal::new(
                        StatusCode::UNAUTHORIZED,
                        "changes over TCP take the token of spark.sealed.admin.token-file: Authorization: Bearer TOKEN",
                    )),
                }
            }
        }
    }

    /// RFC 9112, section 3.2: a request of HTTP/1.1 has one `Host`. A target with a host of its own counts as well.
    fn check_hosts<B>(&self, local: IpAddr, request: &Request<B>) -> Result<(), Refusal> {
        let mut headers = request.headers().get_all(HOST).iter();
        let named = headers.next();
        if headers.next().is_some() || (named.is_none() && request.version() >= Version::HTTP_11) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "a request has one Host"));
        }
        let named = named.map(|value| value.to_str().unwrap_or("").parse::<Uri>());
        let named = named.map(|uri| uri.ok().and_then(|uri| uri.host().map(str::to_owned)));
        let target = request.uri().host().map(|host| Some(host.to_owned()));
        for host in named.into_iter().chain(target) {
            let host = host.unwrap_or_default().to_ascii_lowercase();
            if !self.is_ours(&host, local) {
                let text = format!(
                    "Host {host:?} is not known here: use localhost or {local}, or name it in spark.sealed.admin.hosts"
                );
                return Err(Refusal::new(StatusCode::FORBIDDEN, text));
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str, local: IpAddr) -> bool {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let address = plain.parse::<IpAddr>().map(|address| address.to_canonical());
        let name = host.strip_suffix('.').unwrap_or(host);
        match address {
            Ok(address) if address.is_loopback() || address == local.to_canonical() => true,
            _ => name == "localhost" || self.hosts.iter().any(|ours| ours == name || ours == plain),
        }
    }
}

/// What follows the scheme `Bearer` (RFC 6750, section 2.1; schemes are of any case, RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    fn gate() -> Gate {
        let config =
            AdminConfig { hosts: vec!["node-1".into(), "10.0.0.9".into()], ..AdminConfig::default() };
        Gate::new(&config)
    }

    fn asks(host: &str) -> Request<()> {
        Request::get("/metrics").header(HOST, host).body(()).unwrap()
    }

    fn way() -> Way {
        Way::Tcp { peer: "10.0.0.6:1".parse().unwrap(), local: LOCAL }
    }

    #[test]
    fn hosts_are_loopback_the_own_address_and_those_that_are_named() {
        for host in [
            "localhost",
            "LocalHost:7338",
            "localhost.",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]:7338",
            "[::ffff:10.0.0.5]",
            "10.0.0.5:7338",
            "node-1:7338",
            "NODE-1",
            "10.0.0.9",
        ] {
            assert!(gate().admit(way(), &asks(host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.6:7338",
            "node-2",
            "",
            "/",
            "[::2]",
            "a b",
            "node-1.x",
        ] {
            let refused = gate().admit(way(), &asks(host)).unwrap_err();
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{host}");
            assert!(refused.text.contains("spark.sealed.admin.hosts"), "{}", refused.text);
        }
    }

    #[test]
    fn the_host_of_the_target_counts_and_there_is_one_host() {
        let mut request = asks("localhost");
        *request.uri_mut() = Uri::from_static("http://evil.example/metrics");
        assert!(gate().admit(way(), &request).is_err());
        *request.uri_mut() = Uri::from_static("http://localhost:7338/metrics");
        assert!(gate().admit(way(), &request).is_ok());
        request.headers_mut().append(HOST, "localhost".parse().unwrap());
        assert_eq!(gate().admit(way(), &request).unwrap_err().status, StatusCode::BAD_REQUEST);
        request.headers_mut().remove(HOST);
        assert_eq!(gate().admit(way(), &request).unwrap_err().status, StatusCode::BAD_REQUEST);
        *request.version_mut() = Version::HTTP_10;
        assert!(gate().admit(way(), &request).is_ok(), "as probes of load balancers ask");
    }

    #[test]
    fn scheme_of_the_token_is_of_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
