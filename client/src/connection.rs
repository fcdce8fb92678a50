//! One connection: a task that owns the socket, and handles that talk to it.
//!
//! A handle is cheap to clone. When the last one goes, the connection closes; when the connection ends,
//! everything that was asked on it fails with the reason.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sealed_shuffle_protocol::auth::{EngineVersion, Initiator, legacy};
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::connection::{ClientConnection, ClientSettings, CloseReason, Greeting};
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::ids::{AppId, RequestId};
use sealed_shuffle_protocol::sasl;
use sealed_shuffle_protocol::shuffle::StreamName;
use sealed_shuffle_transport::lane::Lane;
use sealed_shuffle_transport::random::{OsRandom, random_bytes};
use sealed_shuffle_transport::seal::{Body, SegmentPool, Stack};
use sealed_shuffle_transport::tls::{LiveClientTls, Refresh, TlsLayer};
use sealed_shuffle_transport::wire::{Socket, WireSettings, drive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::session::{Carrier, Command, Engine, Hearing, LayerSettings, Reader, Session};
use super::{Address, ClientError, MergedPartition, Security, Settings};

/// Commands that wait for the connection's task.
const COMMANDS: usize = 64;

/// A handle of one connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Address,
    ended: CancellationToken,
    end: OnceLock<End>,
    /// Where the session is in AES-GCM next to the frames.
    hearing: Option<Arc<Hearing>>,
    /// For each upload that is not answered; so many that their heads and bodies never fill what may be queued, since
    /// then no answer would be read.
    uploads: Arc<Semaphore>,
}

/// What a server owes for an upload.
#[derive(Debug)]
pub(super) struct UploadReceipt {
    answered: oneshot::Receiver<Result<Bytes, String>>,
    connection: Connection,
}

#[derive(Debug)]
struct End {
    reason: Arc<CloseReason>,
    established: bool,
    answered: bool,
}

impl Connection {
    /// Connects, and proves the application where the settings want it: requests may be sent at once.
    pub(super) async fn open(
        server: &Address,
        app: &AppId,
        settings: &Settings,
        pool: &SegmentPool,
    ) -> Result<Self, ClientError> {
        let tls = match &settings.tls {
            None => None,
            Some(live) => Some(refreshed(live).await),
        };
        Self::open_within(tls, server, app, settings, pool).await
    }

    /// The same inside TLS of this configuration, whatever the settings say of TLS.
    pub(super) async fn open_within(
        tls: Option<Arc<ClientConfig>>,
        server: &Address,
        app: &AppId,
        settings: &Settings,
        pool: &SegmentPool,
    ) -> Result<Self, ClientError> {
        let socket = match tokio::time::timeout(settings.connect_timeout, connect(server, settings)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(source)) => return Err(ClientError::Connect { server: server.clone(), source }),
            Err(_) => {
                let after = settings.connect_timeout;
                return Err(ClientError::ConnectTimeout { server: server.clone(), after });
            }
        };
        let stack = layers(tls, server)?;
        Self::over(socket, stack, server, app, settings, pool).await
    }

    async fn over<S>(
        socket: S,
        stack: Stack,
        server: &Address,
        app: &AppId,
        settings: &Settings,
        pool: &SegmentPool,
    ) -> Result<Self, ClientError>
    where
        S: Socket + 'static,
    {
        let (engine, secured) = greet(server, app, settings)?;
        let (commands, asked) = mpsc::channel(COMMANDS);
        let (ready, established) = oneshot::channel();
        let hearing = Arc::default();
        let session = Session::new(secured, settings.answer_timeout, asked, ready, Arc::clone(&hearing));
        let shared = Arc::new(Shared {
            server: server.clone(),
            ended: CancellationToken::new(),
            end: OnceLock::new(),
            hearing: may_be_broken(settings).then_some(hearing),
            uploads: Arc::new(Semaphore::new(settings.limits.pipelined_requests.div_ceil(2).max(1))),
        });
        let wire = WireSettings {
            pipelined: settings.limits.pipelined_requests,
            budget_timeout: settings.answer_timeout,
            slow_lane: Lane::new(1),
        };
        tokio::spawn(run(socket, engine, session, stack, pool.clone(), wire, Arc::clone(&shared)));
        let connection = Self { commands, shared };
        match established.await {
            Ok(()) => Ok(connection),
            Err(_) => Err(connection.why_ended().await),
        }
    }

    /// Sends an RPC and waits for its answer; a failed one comes with the server's words.
    pub(super) async fn rpc(&self, body: Bytes) -> Result<Bytes, ClientError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Rpc { request: request_id()?, body, answer }).await?;
        self.answer(answered.await).await
    }

    /// Sends what `meta` asks for with `body` behind it, once there is room for one more. The answer comes later: more
    /// may be sent meanwhile.
    pub(super) async fn upload(&self, meta: Bytes, body: Body) -> Result<UploadReceipt, ClientError> {
        let permit = Arc::clone(&self.shared.uploads).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Upload { request: request_id()?, meta, body, answer, permit }).await?;
        Ok(UploadReceipt { answered, connection: self.clone() })
    }

    /// Asks what is known of a merged partition: how many chunks the server says there are, and their bitmaps.
    pub(super) async fn merged_meta(
        &self,
        app: AppId,
        partition: MergedPartition,
    ) -> Result<(i32, Bytes), ClientError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::MergedMeta { request: request_id()?, app, partition, answer }).await?;
        self.answer(answered.await).await
    }

    /// Sends what is never answered; returns when it is on its way.
    pub(super) async fn one_way(&self, body: Bytes) -> Result<(), ClientError> {
        let (sent, is_sent) = oneshot::channel();
        self.ask(Command::OneWay { body, sent }).await?;
        match is_sent.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why_ended().await),
        }
    }

    async fn answer<T>(
        &self,
        answered: Result<Result<T, String>, oneshot::error::RecvError>,
    ) -> Result<T, ClientError> {
        match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(text)) => Err(self.failed(text)),
            Err(_) => Err(self.why_ended().await),
        }
    }

    /// Asks for a chunk of a stream that was opened here; it arrives at `reader`.
    pub(super) async fn chunk(
        &self,
        name: StreamName,
        carrier: Carrier,
        reader: Reader,
    ) -> Result<(), ClientError> {
        self.ask(Command::Chunk { name, carrier, reader }).await
    }

    async fn ask(&self, command: Command) -> Result<(), ClientError> {
        match self.commands.send(command).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why_ended().await),
        }
    }

    /// Whether nothing more can be asked.
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_closed() || self.shared.ended.is_cancelled()
    }

    /// Waits for the end, and says why it came.
    pub(super) async fn why_ended(&self) -> ClientError {
        self.shared.ended.cancelled().await;
        let server = self.shared.server.clone();
        let Some(end) = self.shared.end.get() else {
            let reason = Arc::new(CloseReason::ShuttingDown);
            return ClientError::Closed { server, answered: true, reason };
        };
        let reason = Arc::clone(&end.reason);
        if let CloseReason::NoAnswer(after, _) = *reason
            && self.is_deaf()
        {
            return ClientError::OneAnswer { server, after };
        }
        match end.established {
            true => ClientError::Closed { server, answered: end.answered, reason },
            false => ClientError::Handshake { server, reason },
        }
    }

    /// An answer to `what` did not come in time.
    pub(super) fn no_answer(&self, what: &'static str, after: Duration) -> ClientError {
        let server = self.shared.server.clone();
        match self.is_deaf() {
            true => ClientError::OneAnswer { server, after },
            false => ClientError::NoAnswer { server, what, after },
        }
    }

    fn is_deaf(&self) -> bool {
        self.shared.hearing.as_ref().is_some_and(|hearing| hearing.is_in_doubt())
    }

    /// The server's words as an error.
    pub(super) fn failed(&self, text: String) -> ClientError {
        ClientError::Server { server: self.shared.server.clone(), text }
    }

    /// Who is at the other end.
    pub(super) fn server(&self) -> &Address {
        &self.shared.server
    }
}

impl UploadReceipt {
    /// Waits for the answer; a failed one comes with the server's words.
    pub(super) async fn answer(&mut self) -> Result<Bytes, ClientError> {
        let answered = (&mut self.answered).await;
        self.connection.answer(answered).await
    }
}

/// Spark's clients choose random numbers that are not negative (TransportClient, 4.3.0).
fn request_id() -> Result<RequestId, RandomError> {
    Ok(RequestId(i64::from_be_bytes(random_bytes()?) & i64::MAX))
}

/// Owns the socket to its end; whoever waits learns of it even if this task dies.
async fn run<S>(
    mut socket: S,
    mut engine: Engine,
    mut session: Session,
    stack: Stack,
    pool: SegmentPool,
    wire: WireSettings,
    shared: Arc<Shared>,
) where
    S: Socket,
{
    let _ended = shared.ended.clone().drop_guard();
    let reason = drive(&mut socket, &mut engine, &mut session, stack, pool, &wire).await;
    debug!(server = %shared.server, %reason, "connection ended");
    let end =
        End { reason: Arc::new(reason), established: session.is_established(), answered: session.answered };
    shared.end.set(end).ok();
}

/// Whether the session is one that some releases have broken: AES-GCM.
fn may_be_broken(settings: &Settings) -> bool {
    matches!(&settings.security, Security::Aes { mode, .. } if mode.cipher == SessionCipher::Gcm)
}

/// The configuration of TLS of the moment. Renewed files are looked for where they matter.
async fn refreshed(live: &Arc<LiveClientTls>) -> Arc<ClientConfig> {
    let looked_at = Arc::clone(live);
    let refresh = tokio::task::spawn_blocking(move || looked_at.refresh_if_changed());
    if let Ok(Refresh::Refused(error)) = refresh.await {
        warn!(%error, "new key or certificates of TLS are no good; the old ones stay");
    }
    live.current()
}

/// The layers that a connection begins with: TLS, or none.
fn layers(tls: Option<Arc<ClientConfig>>, server: &Address) -> Result<Stack, ClientError> {
    let mut stack = Stack::default();
    let Some(tls) = tls else { return Ok(stack) };
    let name = ServerName::try_from(server.host().to_owned())
        .map_err(|_| ClientError::ServerName { server: server.clone() })?;
    let layer = TlsLayer::client(tls, name, Arc::default())
        .map_err(|error| ClientError::Handshake { server: server.clone(), reason: Arc::new(error.into()) })?;
    stack.push(Box::new(layer));
    Ok(stack)
}

/// The engine in its first state, and what the layers of its session are told.
fn greet(server: &Address, app: &AppId, settings: &Settings) -> Result<(Engine, LayerSettings), ClientError> {
    let client = ClientSettings {
        limits: settings.limits.clone(),
        handshake_timeout: settings.handshake_timeout,
        answer_timeout: settings.answer_timeout,
        idle_timeout: settings.answer_timeout,
    };
    let mut secured = LayerSettings {
        aes: SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr },
        sasl_block: 64 << 10,
    };
    let app = app.clone();
    let (greeting, message) = match &settings.security {
        Security::Plaintext => return Ok((ClientConnection::in_clear(now(), client), secured)),
        Security::Aes { secret, mode } => {
            secured.aes = *mode;
            let (initiator, challenge) = Initiator::start(app, Arc::clone(secret), &mut OsRandom)?;
            (Greeting::X25519(initiator), challenge.encode())
        }
        Security::Legacy { secret, settings } => {
            let (initiator, challenge) =
                legacy::Initiator::start(app, Arc::clone(secret), *settings, &mut OsRandom)?;
            (Greeting::Pbkdf2(initiator), challenge.encode())
        }
        Security::Sasl { secret, wanted, max_block } => {
            secured.sasl_block = *max_block;
            let (client, start) =
                sasl::Client::start(app, Arc::clone(secret), wanted.clone(), &mut OsRandom)?;
            (Greeting::Sasl(client), start.encode())
        }
    };
    let request = request_id()?;
    let engine = ClientConnection::authenticating(now(), client, request, greeting, &message)
        .map_err(|reason| ClientError::Handshake { server: server.clone(), reason: Arc::new(reason) })?;
    Ok((engine, secured))
}

/// The first address of the host that takes a connection.
async fn connect(server: &Address, settings: &Settings) -> std::io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host((server.host(), server.port())).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // As Spark's client does (TransportClientFactory, 4.3.0).
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        if let Some(bytes) = settings.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = settings.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}

/// Under a paused runtime it stands still with the timers.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
