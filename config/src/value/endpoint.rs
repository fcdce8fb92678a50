//! Where a program listens that speaks HTTP.

use std::fmt;
use std::net::Ipv6Addr;

use super::{Grammar, Reject, java_trim};

/// A URL of http. What it may not have: https, since nothing secret goes there and whoever wants it sealed has a program on
/// this machine that does so; a user, since it would be a secret.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The port where the URL names none.
    pub port: u16,
    /// The path where the URL names none.
    pub path: &'static str,
}

/// The place that a URL names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpEndpoint {
    /// A name or an address, that of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, from its slash on, with the query if there is one.
    pub path: String,
}

impl HttpEndpoint {
    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl Grammar for Endpoint {
    type Value = HttpEndpoint;

    fn parse(&self, text: &str) -> Result<HttpEndpoint, Reject> {
        let text = java_trim(text);
        if text.starts_with("https://") {
            return Err(Reject::new(
                "https is not spoken: name a collector on this machine, which may pass it on sealed",
            ));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| Reject::new("not a URL of http://"))?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !rest.bytes().all(|b| b.is_ascii_graphic())
            || authority.contains(['@', '?', '#'])
            || path.contains('#')
        {
            return Err(Reject::new("not http://HOST:PORT/PATH: no blanks, no user, no fragment"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) =
                    bracketed.split_once(']').ok_or_else(|| Reject::new("a bracket is not closed"))?;
                host.parse::<Ipv6Addr>().map_err(|_| Reject::new("not an address of IPv6 in brackets"))?;
                (host, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => self.port,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| Reject::new("not a port"))?
            }
            _ => return Err(Reject::new("not a port")),
        };
        if host.is_empty() {
            return Err(Reject::new("no host"));
        }
        let path = if matches!(path, "" | "/") { self.path } else { path };
        Ok(HttpEndpoint { host: host.to_owned(), port, path: path.to_owned() })
    }

    fn shape(&self) -> String {
        "http://HOST:PORT/PATH".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTOR: Endpoint = Endpoint { port: 4318, path: "/v1/traces" };

    fn place(text: &str) -> Option<String> {
        COLLECTOR.parse(text).ok().map(|place| place.to_string())
    }

    #[test]
    fn what_a_url_leaves_out_is_the_collectors_own() {
        for (text, whole) in [
            ("http://localhost", "http://localhost:4318/v1/traces"),
            ("http://localhost/", "http://localhost:4318/v1/traces"),
            (" http://10.0.0.1:80 ", "http://10.0.0.1:80/v1/traces"),
            ("http://h:1/x/y?z=1", "http://h:1/x/y?z=1"),
            ("http://[::1]:9/t", "http://[::1]:9/t"),
            ("http://[::1]", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(place(text).as_deref(), Some(whole), "{text}");
        }
        assert_eq!(COLLECTOR.parse("http://[::1]:9/").unwrap().host, "::1", "as sockets take it");
    }

    #[test]
    fn what_is_no_place_or_holds_a_secret_is_refused() {
        for text in [
            "",
            "localhost:4318",
            "https://h",
            "http://",
            "http://:80",
            "http://h:",
            "http://h:0",
            "http://h:99999",
            "http://h:+1",
            "http://u:p@h/",
            "http://h/ x",
            "http://h#f",
            "http://[::1",
            "http://[h]:1",
            "http://::1:80",
            "http://h?q",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
