//! The operator's port: metrics, health, and telling the server that an application is over.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page for a person, with its `/page.js` and `/page.css` |
//! | `GET /metrics` | counters, in the text format of OpenMetrics where `Accept` names it, else in the older one of Prometheus |
//! | `GET /livez` | `200 alive`: the process answers, and nothing else is asked |
//! | `GET /healthz` | `200 ok`, or `503 draining` while the server stops |
//! | `GET /readyz` | `200` or `503`, and how each disk is: ready unless no root can be used, or the server stops |
//! | `GET /status` | disks, shares, applications, certificate, refusals and memory at once, as JSON |
//! | `GET /applications` | the table of applications as JSON; `?target=LEVEL` marks those that LEVEL would refuse, `since=SECONDS` counts what was used in that time |
//! | `GET /policy` | the policy as JSON: the levels that are served and targeted |
//! | `GET /directories` | the roots, and the directories that belong to applications, as JSON; for operators, as changes are |
//! | `GET /keys` | the names of the keys of the key service that are needed, and by what, as JSON |
//! | `GET /evidence` | all that `sealed-shuffle report` needs, as JSON; for operators, as changes are |
//! | `GET /log-level` | the filter of the log |
//! | `PUT /log-level?filter=FILTER` | puts another in its place, until the process ends |
//! | `POST /reload` | reads the configuration again, as SIGHUP does; `422` and the reason where it is no good |
//! | `POST /drain` | drains, and ends the process, as SIGTERM does |
//! | `POST /deeds?action=…&outcome=…` | notes in the audit trail what an operator did with a command, beside the server |
//! | `DELETE /applications/ID` | forgets the application, and its secret if that was handed over; `404` for an unknown one |
//!
//! `ID` may be percent-encoded. The port speaks HTTP/1.1, at a Unix socket and over TCP. Who reaches the TCP port may
//! read; only users that the socket admits, and holders of the token, may change something. A request over TCP says in
//! `Host` a name that is ours, so that no web page reads here. Answers hold no secret. `serve` makes a [`Port`].
//!
//! ```text
//! connection ─► Way (who it is) ─► Question (what is asked) ─► Gate (whether it may) ─► answer
//! ```

mod answers;
pub(crate) mod deed;
mod gate;
pub(crate) mod page;
mod question;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealed_shuffle_config::{AdminConfig, ServerConfig};
use sealed_shuffle_transport::lane::Lane;
use sealed_shuffle_transport::wire::accept_loop;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use self::answers::{accepts_open_metrics, answer, refusal};
use self::gate::{Gate, Way};
use self::question::{Change, Question};
use crate::local_socket::{LocalSocket, Place, SocketError, peer_user};
use crate::private_file::{directory_of, make_directory};
use crate::server::Server;

/// Most connections at once, over TCP and at the socket each.
const PLACES: u64 = 64;

/// Descriptors of those that are kept for operators which answers take while they are written: `/proc` is read.
const FOR_ANSWERS: u64 = 8;

/// Time from the first byte of a request to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from accepting a connection to its end.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Makes the socket of a configuration; `None` where it has none. A socket at the default place that cannot be made is
/// warned about, and there is none. Must be called within a runtime.
pub async fn bind_socket(config: &AdminConfig, at: Place) -> Result<Option<LocalSocket>, SocketError> {
    const KEY: &str = "spark.sealed.admin.socket";
    let Some(place) = config.socket.clone() else { return Ok(None) };
    let (by_default, path) = (place.by_default, place.path.clone());
    let lane = Lane::new(1);
    let bound = lane.run(move |on| {
        if place.by_default {
            make_directory(on, directory_of(&place.path)).map_err(|source| SocketError::Io {
                key: KEY,
                path: place.path.clone(),
                source,
            })?;
        }
        LocalSocket::bind_at(KEY, &place.path, &place.users, at)
    });
    let broken = |error| Err(SocketError::Io { key: KEY, path, source: std::io::Error::other(error) });
    let bound = bound.await.unwrap_or_else(broken);
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if by_default => {
            warn!("applications cannot be ended through a socket: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Connections at once over TCP, and as many at the socket. So many descriptors are kept for both that nobody else has them.
pub fn places(config: &ServerConfig) -> usize {
    let places = match config.descriptor_limit {
        Some(_) => config.kept_descriptors.saturating_sub(FOR_ANSWERS) / 2,
        None => PLACES,
    };
    usize::try_from(places.clamp(1, PLACES)).unwrap_or(1)
}

/// The operator's port of a server. Clones serve the same one.
#[derive(Clone)]
pub struct Port {
    server: Server,
    gate: Arc<Gate>,
    places: usize,
}

impl Port {
    /// A port of `server` that lets in whom `config` names, over TCP and at the socket `places` at once each.
    pub fn new(server: Server, config: &AdminConfig, places: usize) -> Self {
        Self { server, gate: Arc::new(Gate::new(config)), places }
    }

    /// Serves TCP clients until `stop` resolves.
    pub async fn serve_tcp(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.places));
        accept_loop(&listener, &places, stop, |socket, peer, place| match socket.local_addr() {
            Ok(local) => {
                let way = Way::Tcp { peer, local: local.ip() };
                drop(tokio::spawn(self.clone().connection(socket, way, place)));
            }
            Err(error) => debug!(%error, "an admin connection has no address of ours any more"),
        })
        .await;
    }

    /// Serves clients of the socket until `stop` resolves.
    pub async fn serve_socket(self, socket: LocalSocket, stop: impl Future<Output = ()>) {
        info!(path = %socket.path().display(), "the operator's port is at a socket");
        let places = Arc::new(Semaphore::new(self.places));
        let take = |stream, user, place| {
            let way = Way::Socket { user, is_admitted: socket.admits(user) };
            drop(tokio::spawn(self.clone().connection(stream, way, place)));
        };
        socket.accept_loop(places, stop, peer_user, take).await;
    }

    async fn connection(
        self,
        socket: impl AsyncRead + AsyncWrite + Unpin,
        way: Way,
        _place: OwnedSemaphorePermit,
    ) {
        let service = service_fn(move |request| {
            let port = self.clone();
            async move { Ok::<_, Infallible>(port.respond(way, &request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            // A client that sends its request and then closes its writing side still gets the answer.
            .half_close(true)
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(socket), service);
        match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "an admin connection failed"),
            Err(_) => debug!("closed an admin connection that stayed too long"),
        }
    }

    async fn respond(&self, way: Way, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Err(refused) = self.gate.admit(way, request) {
            debug!(%way, "refused an admin request: {}", refused.text);
            if matches!(way, Way::Socket { .. }) {
                self.server.audit().operator_refused(way.actor(), "use the socket", &refused.text);
            }
            return refusal(refused);
        }
        let question = match Question::of(request.method(), request.uri()) {
            Ok(question) => question,
            Err(unknown) => return refusal(unknown),
        };
        if question.is_for_operators() {
            if let Err(refused) = self.gate.admit_change(way, request) {
                warn!(%way, "refused to {question}: {}", refused.text);
                self.server.audit().operator_refused(way.actor(), &question.to_string(), &refused.text);
                return refusal(refused);
            }
            if question.is_change() {
                info!(%way, "asked to {question}");
            }
        }
        let change = question.change();
        let answer = answer(&self.server, question, accepts_open_metrics(request.headers())).await;
        if let Some(Change { action, about, outcome, numbers }) = change {
            let outcome = outcome.unwrap_or_else(|| answers::outcome(answer.status()));
            self.server.audit().operator(way.actor(), action, about.as_deref(), outcome, &numbers);
        }
        answer
    }
}
