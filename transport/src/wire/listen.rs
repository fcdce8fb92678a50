//! Binding a port and accepting connections.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

/// Longest pause after a connection could not be accepted.
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// How sockets are set up.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Connections that may wait to be accepted (`spark.shuffle.io.backLog`; Spark's default leaves
    /// it to the system).
    pub backlog: u32,
    /// `SO_RCVBUF` of accepted connections, 0 leaves it to the system (`spark.shuffle.io.receiveBuffer`).
    pub receive_buffer: u32,
    /// `SO_SNDBUF` likewise (`spark.shuffle.io.sendBuffer`).
    pub send_buffer: u32,
    /// `SO_KEEPALIVE` (`spark.shuffle.io.enableTcpKeepAlive`).
    pub keep_alive: bool,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self { backlog: 4096, receive_buffer: 0, send_buffer: 0, keep_alive: false }
    }
}

/// The port cannot be bound.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error(
        "port {} is taken ({key}): stop what listens there (ss -ltnp 'sport = :{}'), or choose another port",
        address.port(), address.port()
    )]
    Taken {
        /// The configuration key of the port.
        key: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error("{} is no address of this machine ({key}): name one of `ip addr`, or :: for all", address.ip())]
    NotOurs {
        /// The configuration key of the address.
        key: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Any other error.
    #[error("cannot listen on {address} ({key}): {source}")]
    Io {
        /// The configuration key of the port.
        key: &'static str,
        /// The address that was asked for.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
}

/// Binds `address`; port 0 takes a free one. `key` names the setting in errors.
pub fn bind(
    key: &'static str,
    address: SocketAddr,
    settings: &ListenSettings,
) -> Result<TcpListener, ListenError> {
    listen(address, settings).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { key, address },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { key, address },
        _ => ListenError::Io { key, address, source },
    })
}

fn listen(address: SocketAddr, settings: &ListenSettings) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Of IPv4, too, whatever net.ipv6.bindv6only says.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit these options.
    if settings.receive_buffer > 0 {
        socket.set_recv_buffer_size(settings.receive_buffer)?;
    }
    if settings.send_buffer > 0 {
        socket.set_send_buffer_size(settings.send_buffer)?;
    }
    socket.set_keepalive(settings.keep_alive)?;
    socket.bind(address)?;
    socket.listen(settings.backlog)
}

/// Where connections get their places.
pub trait PlaceSource {
    /// The place of one connection; given back on drop.
    type Place: Send;

    /// Waits for a place. Cancel safe.
    fn place(&self) -> impl Future<Output = Self::Place> + Send;
}

impl PlaceSource for Arc<Semaphore> {
    type Place = OwnedSemaphorePermit;

    async fn place(&self) -> Self::Place {
        match Self::clone(self).acquire_owned().await {
            Ok(place) => place,
            Err(_) => unreachable!("the places are never closed"),
        }
    }
}

/// Accepts connections until `stop` resolves. Each connection has one of `places`; while there is none, the next peer waits
/// in the backlog. `serve` spawns the task that serves the connection.
pub async fn accept_loop<P: PlaceSource>(
    listener: &TcpListener,
    places: &P,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, SocketAddr, P::Place),
) {
    let mut stop = std::pin::pin!(stop);
    let mut pause = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = accept_one(listener, places, pause) => accepted,
        };
        match accepted {
            Ok((socket, peer, place)) => {
                if !pause.is_zero() {
                    info!("connections are accepted again");
                }
                pause = Duration::ZERO;
                if let Err(error) = socket.set_nodelay(true) {
                    warn!(%peer, %error, "cannot turn Nagle's algorithm off; small answers may be late");
                }
                serve(socket, peer, place);
            }
            // Most often the process is out of descriptors. Other connections must close first, so wait a little. It is said
            // once, until it is over.
            Err(error) => {
                if pause.is_zero() {
                    warn!(
                        %error,
                        "cannot accept a connection: peers wait until another one closes; raise the limit of open \
                         descriptors (LimitNOFILE= of the unit, ulimit -n)"
                    );
                }
                pause = (pause * 2).clamp(Duration::from_millis(5), MOST_PAUSE);
            }
        }
    }
}

/// The address of a peer as it has it: one of IPv4 comes to a socket of IPv6 as `::ffff:a.b.c.d`.
fn as_itself(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::new(address.into(), peer.port()),
        // With its scope.
        IpAddr::V6(_) => peer,
    }
}

async fn accept_one<P: PlaceSource>(
    listener: &TcpListener,
    places: &P,
    pause: Duration,
) -> io::Result<(TcpStream, SocketAddr, P::Place)> {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let place = places.place().await;
    let (socket, peer) = listener.accept().await?;
    Ok((socket, as_itself(peer), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_unspecified_address_takes_peers_of_both_families_under_their_own_addresses() {
        let listener = match bind("k", (Ipv6Addr::UNSPECIFIED, 0).into(), &ListenSettings::default()) {
            Ok(listener) => listener,
            Err(error) => return eprintln!("skipped: no IPv6 here: {error}"),
        };
        let port = listener.local_addr().unwrap().port();
        let places = Arc::new(Semaphore::new(2));
        let mut seen = 0;
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            let Ok(mut peer) = TcpStream::connect((host, port)).await else {
                assert!(host.is_ipv6(), "IPv4 is there");
                eprintln!("skipped: ::1 is no address here");
                continue;
            };
            let (_socket, from, _place) = accept_one(&listener, &places, Duration::ZERO).await.unwrap();
            assert_eq!(from, peer.local_addr().unwrap());
            tokio::io::AsyncWriteExt::shutdown(&mut peer).await.unwrap();
            seen += 1;
        }
        assert!(seen > 0);
    }
}
