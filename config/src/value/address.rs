//! Addresses to listen on. Names are not resolved: the address of a port must not depend on a resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Grammar, Reject, java_trim};

/// An address without a port.
#[derive(Clone, Copy, Debug)]
pub struct Ip;

impl Grammar for Ip {
    type Value = IpAddr;

    fn parse(&self, text: &str) -> Result<IpAddr, Reject> {
        ip(java_trim(text)).ok_or_else(|| Reject::new("not an IP address"))
    }

    fn shape(&self) -> String {
        "IP address or localhost".into()
    }
}

/// An address with a port. Without an address it is the loopback one.
#[derive(Clone, Copy, Debug)]
pub struct Address;

impl Grammar for Address {
    type Value = SocketAddr;

    fn parse(&self, text: &str) -> Result<SocketAddr, Reject> {
        let text = java_trim(text);
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let wrong_port = || Reject::new("the port is not a number from 0 to 65535");
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong_port());
        }
        let port = port.parse().map_err(|_| wrong_port())?;
        if host.is_empty() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bracketed {
            Some(inner) => inner.parse().ok().map(IpAddr::V6),
            None => ip(host).filter(IpAddr::is_ipv4),
        };
        let address = address
            .ok_or_else(|| Reject::new("not HOST:PORT with an IP address (IPv6 in brackets) or localhost"))?;
        Ok((address, port).into())
    }

    fn shape(&self) -> String {
        "HOST:PORT or PORT (then on loopback)".into()
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for text in ["9091", ":9091", "localhost:9091", "127.0.0.1:9091", " 9091 "] {
            assert_eq!(Address.parse(text), Ok("127.0.0.1:9091".parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn reads_both_families() {
        assert_eq!(Address.parse("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        assert_eq!(Address.parse("0.0.0.0:0"), Ok("0.0.0.0:0".parse().unwrap()));
        assert_eq!(Ip.parse("::"), Ok("::".parse().unwrap()));
    }

    #[test]
    fn rejects_names_and_bad_ports() {
        for text in
            ["", "host:80", "::1:80", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:+80", "[127.0.0.1]:80"]
        {
            assert!(Address.parse(text).is_err(), "{text}");
        }
        assert!(Ip.parse("host").is_err());
    }
}
