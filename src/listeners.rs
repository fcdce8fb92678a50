//! All that a configured server listens on: its port, the operator's port, and the socket of the resource manager.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::{AdminConfig, ServerConfig};
use sealed_shuffle_transport::lane::{Lane, LaneError};
use sealed_shuffle_transport::wire::{ListenError, ListenSettings, bind};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::local_socket::{LocalSocket, Place, SocketError};
use crate::server::{DrainOutcome, Server};
use crate::supervision::Duties;
use crate::takeover::{Claim, ClaimError, Ports};
use crate::{admin, handover, takeover};

/// For the operator's port and the socket to end, when the server has.
const ENDING: Duration = Duration::from_secs(1);

/// What a server listens on: bound, and not served yet. Peers may connect, and wait.
#[derive(Debug)]
pub struct Listeners {
    service: TcpListener,
    address: SocketAddr,
    admin: Option<TcpListener>,
    admin_address: Option<SocketAddr>,
    admin_socket: Option<LocalSocket>,
    access: AdminConfig,
    /// Operators at once.
    operators: usize,
    handover: Option<LocalSocket>,
    takeover: Option<LocalSocket>,
}

/// Why a server cannot listen. The text names the key and the address or path, and says what to do.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct BindError(#[from] Cause);

/// What failed.
#[derive(Debug, Error)]
enum Cause {
    #[error(transparent)]
    Port(#[from] ListenError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the system does not say which port it gave: {0}")]
    Address(#[from] io::Error),
    #[error(transparent)]
    Takeover(#[from] ClaimError),
    #[error("work on the listening sockets was lost: {0}")]
    Lost(#[from] LaneError),
}

impl Listeners {
    /// Binds what `config` names: [`listen`](ServerConfig::listen) with its [`sockets`](ServerConfig::sockets), and where
    /// they are there [`admin`](ServerConfig::admin) and [`handover`](ServerConfig::handover). Port 0 takes a free one.
    pub async fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        Ok(listen(config, None).await?)
    }

    /// The same with the ports of `claim`, as far as `config` still names them. The server that had them retires, so
    /// this comes last of all that may fail.
    pub(crate) async fn take_over(config: &ServerConfig, claim: Claim) -> Result<Self, BindError> {
        Ok(succeed(config, claim).await?)
    }

    /// Where the server's port is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operator's port is; `None` where there is none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Serves all of it as [`Server::run`] does, until `stop` resolves and the server has drained. The operator's port and
    /// the socket serve until the drain is over, or until a successor has theirs.
    pub async fn serve(self, server: Server, stop: impl Future<Output = ()>) -> DrainOutcome {
        let drained = CancellationToken::new();
        // They end with us, too, if nobody polls us to the end.
        let _guard = drained.clone().drop_guard();
        let service = Arc::new(self.service);
        let offered = self.takeover.map(|socket| (socket, Ports::of(&service, self.admin.as_ref())));
        let port = admin::Port::new(server.clone(), &self.access, self.operators);
        let stopped = || drained.clone().cancelled_owned();
        let mut duties = Duties::default();
        if let Some(listener) = self.admin {
            duties.take_on("the operator's port", port.clone().serve_tcp(listener, stopped()));
        }
        if let Some(socket) = self.admin_socket {
            duties.take_on("the operator's socket", port.serve_socket(socket, stopped()));
        }
        if let Some(socket) = self.handover {
            let receiver = Arc::new(server.clone());
            duties.take_on("the socket of the resource manager", handover::run(socket, receiver, stopped()));
        }
        if let Some((socket, ports)) = offered {
            let (server, drained) = (server.clone(), drained.clone());
            duties.take_on("the socket of successors", async move {
                match ports {
                    Ok(ports) => takeover::offer(socket, server.clone(), ports).await,
                    Err(error) => warn!(%error, "no successor can take over: its ports cannot be copied"),
                }
                if server.has_successor() {
                    drained.cancel();
                }
            });
        }
        let mut lost = None;
        let stop = async {
            tokio::select! {
                () = stop => {}
                duty = duties.first_lost() => lost = Some(duty),
            }
        };
        let outcome = server.run_on(service, stop).await;
        drained.cancel();
        drop(tokio::time::timeout(ENDING, duties.all_done()).await);
        DrainOutcome { lost: lost.or(outcome.lost), ..outcome }
    }

    /// Moves the sockets into the places of a predecessor's.
    fn take_places(&mut self) {
        for socket in [&mut self.admin_socket, &mut self.handover, &mut self.takeover].into_iter().flatten() {
            if let Err(error) = socket.take_place() {
                error!(path = %socket.path().display(), %error, "a socket is not in its place: restart the server");
            }
        }
    }
}

async fn succeed(config: &ServerConfig, mut claim: Claim) -> Result<Listeners, Cause> {
    let mut listeners = listen(config, Some(&mut claim)).await?;
    let lane = Lane::new(1);
    let taken = lane.run(move |on| {
        claim.serve(on)?;
        listeners.take_places();
        // The other server has retired, whether it hears this or not.
        claim.placed().ok();
        Ok(listeners)
    });
    taken.await?
}

async fn listen(config: &ServerConfig, mut claim: Option<&mut Claim>) -> Result<Listeners, Cause> {
    let sockets = &config.sockets;
    let settings = ListenSettings {
        backlog: sockets.backlog.unwrap_or_else(|| ListenSettings::default().backlog),
        receive_buffer: sockets.receive_buffer.unwrap_or(0),
        send_buffer: sockets.send_buffer.unwrap_or(0),
        keep_alive: sockets.keep_alive,
    };
    let place = if claim.is_some() { Place::Occupied } else { Place::Free };
    let service = match claim.as_mut().and_then(|claim| claim.service(config.listen)) {
        Some(taken) => TcpListener::from_std(taken)?,
        None => bind("spark.sealed.bind, spark.shuffle.service.port", config.listen, &settings)?,
    };
    let operators = |address| match claim.and_then(|claim| claim.admin(address)) {
        Some(taken) => Ok(TcpListener::from_std(taken)?),
        None => Ok::<_, Cause>(bind("spark.sealed.admin.address", address, &ListenSettings::default())?),
    };
    let admin = config.admin.address.map(operators).transpose()?;
    // The sockets are made after the port is bound, so that of two servers that start together only one looks for a
    // stale socket.
    let handover = config.handover.as_ref().map(|handover| handover::bind(handover, place)).transpose()?;
    let admin_socket = admin::bind_socket(&config.admin, place).await?;
    let takeover = match config.takeover.clone() {
        Some(at) => Lane::new(1).run(move |on| takeover::bind(on, &at, place)).await??,
        None => None,
    };
    Ok(Listeners {
        address: service.local_addr()?,
        admin_address: admin.as_ref().map(TcpListener::local_addr).transpose()?,
        service,
        admin,
        admin_socket,
        access: config.admin.clone(),
        operators: admin::places(config),
        handover,
        takeover,
    })
}
