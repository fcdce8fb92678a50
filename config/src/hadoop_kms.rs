//! The address of a Hadoop KMS, in the form of `hadoop.security.key.provider.path`.
//!
//! ```text
//! kms://https@kms-1.example.com;kms-2.example.com:9600/kms
//!       scheme  hosts, tried in turn               port path
//! ```
//!
//! Origin: `KMSClientProvider.Factory` and `LoadBalancingKMSClientProvider`, Hadoop 3.4.

use std::fmt;

/// The port of a Hadoop KMS (`hadoop.kms.http.port`).
const PORT: u16 = 9600;

/// Most hosts of one address.
const MOST_HOSTS: usize = 16;

/// The address of a Hadoop KMS: one service on several hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HadoopKmsUri {
    /// HTTPS, in the place of HTTP.
    pub is_secure: bool,
    /// Names or addresses of hosts; never empty. An address of IPv6 has no brackets.
    pub hosts: Vec<String>,
    /// The port of all of them.
    pub port: u16,
    /// The path before `/v1`, without a slash at its end: mostly `/kms`.
    pub path: String,
}

impl HadoopKmsUri {
    /// Parses an address; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("kms://").ok_or("it does not begin with kms://")?;
        let (scheme, rest) = rest.split_once('@').ok_or("http@ or https@ is missing behind kms://")?;
        let is_secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err("what stands before @ is neither http nor https"),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (hosts, port) = match authority.rsplit_once(':') {
            // The last colon of an address of IPv6 stands in its brackets.
            Some((hosts, port)) if !port.ends_with(']') => {
                (hosts, port.parse().map_err(|_| "its port is no number up to 65535")?)
            }
            _ => (authority, PORT),
        };
        let hosts: Vec<String> =
            hosts.split(';').map(|host| host.trim_matches(['[', ']']).to_owned()).collect();
        let is_host = |host: &String| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
            !host.is_empty() && host.len() <= 255 && host.bytes().all(allowed)
        };
        if port == 0 || hosts.len() > MOST_HOSTS || !hosts.iter().all(is_host) {
            return Err("it names no host, more than 16, or one that is no name and no address");
        }
        let path = path.trim_end_matches('/').to_owned();
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%')) {
            return Err("its path holds more than letters, digits and slashes");
        }
        Ok(Self { is_secure, hosts, port, path })
    }
}

impl fmt::Display for HadoopKmsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let bracketed = |host: &String| if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let hosts: Vec<String> = self.hosts.iter().map(bracketed).collect();
        write!(f, "kms://{scheme}@{}:{}{}", hosts.join(";"), self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hadoop_are_read_and_shown_as_they_are_written() {
        for text in [
            "kms://https@kms-1.example.com;kms-2.example.com:9600/kms",
            "kms://http@127.0.0.1:16000/kms",
            "kms://https@[::1]:9600/kms",
        ] {
            assert_eq!(HadoopKmsUri::parse(text).unwrap().to_string(), text);
        }
        let short = HadoopKmsUri::parse("kms://https@host/kms/").unwrap();
        assert_eq!((short.port, short.path.as_str()), (9600, "/kms"));
        assert_eq!(HadoopKmsUri::parse("kms://https@[fe80::2]/kms").unwrap().hosts, ["fe80::2"]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "https://host:9600/kms",
            "kms://host:9600/kms",
            "kms://ftp@host/kms",
            "kms://http@/kms",
            "kms://http@host;;other:9600/kms",
            "kms://http@host:0/kms",
            "kms://http@host:99999/kms",
            "kms://http@ho st:9600/kms",
            "kms://http@host:9600/kms?user.name=x",
        ] {
            assert!(HadoopKmsUri::parse(text).is_err(), "{text}");
        }
    }
}
