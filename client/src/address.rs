//! Where a server is: a host, as written, and a port.

use std::fmt;

use thiserror::Error;

/// A host and a port. The connection pool knows a server by them.
///
/// ```
/// use sealed_shuffle_client::Address;
///
/// let server = Address::parse("node-1", 7337)?;
/// assert_eq!((server.host(), server.port()), ("node-1", 7337));
/// let server = Address::parse("[::1]:7338", 7337)?;
/// assert_eq!((server.host(), server.port()), ("::1", 7338));
/// assert_eq!(server.to_string(), "[::1]:7338");
///
/// // An IPv6 address without brackets could be read in two ways.
/// let error = Address::parse("::1:7338", 7337).unwrap_err();
/// assert!(error.to_string().contains("in brackets"));
/// # Ok::<(), sealed_shuffle_client::AddressError>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    host: Box<str>,
    port: u16,
}

impl Address {
    /// A name or an address without brackets, and a port.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                match behind {
                    "" => (host, None),
                    behind => (host, Some(behind.strip_prefix(':').ok_or_else(wrong)?)),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(wrong()),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => default_port,
            Some(port) => port.parse().map_err(|_| wrong())?,
        };
        if host.is_empty() || port == 0 || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        Ok(Self::new(host, port))
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(&address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no server.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} names no server: write HOST:PORT, an IPv6 address in brackets as in [::1]:7337")]
pub struct AddressError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_addresses_with_and_without_a_port() {
        for (text, shown) in [
            ("node-1", "node-1:7337"),
            ("node-1:7338", "node-1:7338"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]:7338", "[::1]:7338"),
            ("[fe80::1]", "[fe80::1]:7337"),
        ] {
            assert_eq!(Address::parse(text, 7337).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for text in
            ["", ":7337", "::1", "::1:7337", "h:", "h:x", "h:0", "h:65536", "[::1", "[h]:1", "[::1]1", "a b"]
        {
            assert!(Address::parse(text, 7337).is_err(), "{text:?}");
        }
    }
}
