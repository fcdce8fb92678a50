//! What a client's connection makes of events: who asked for what arrives.
//!
//! ```text
//! handle ── Command ──► Session ──► engine ──► wire
//!   ▲                      │
//!   └── answer, pieces ────┘
//! ```
//!
//! The plan of copies of what arrives:
//!
//! ```text
//! socket ─ one read ─► buffer of the thread ─ opened in place ─┬─ copied ─► a small block, in memory of its own size
//!                                                              └─ cut ────► pieces of a large one, as they are
//! ```
//!
//! Invariants: a body goes to the channel of whoever asked for it, a small one whole, which is bounded, so that
//! a slow reader stops the socket; a reader that is gone costs nothing but the bytes on the wire; a
//! reader that takes nothing for [`Session::patience`] loses its request, and the connection goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::auth::AesSession;
use sealed_shuffle_protocol::cipher::{Layer, Role, SessionMode};
use sealed_shuffle_protocol::connection::{
    Agreement, ClientConnection, ClientEvent, CloseReason, Engine as _,
};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, RequestId, StreamId};
use sealed_shuffle_protocol::sasl::SaslLayer;
use sealed_shuffle_protocol::shuffle::StreamName;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::Body;
use sealed_shuffle_transport::wire::Handler;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::MergedPartition;

/// The engine of a client's connection.
pub(super) type Engine = ClientConnection<Body>;

/// What a handle asks of its connection.
pub(super) enum Command {
    /// Sends an RPC.
    Rpc { request: RequestId, body: Bytes, answer: oneshot::Sender<Result<Bytes, String>> },
    /// Sends what `meta` asks for, and a body of any length behind it.
    Upload {
        request: RequestId,
        meta: Bytes,
        body: Body,
        answer: oneshot::Sender<Result<Bytes, String>>,
        /// Given back with the answer.
        permit: OwnedSemaphorePermit,
    },
    /// Asks what is known of a merged partition.
    MergedMeta {
        request: RequestId,
        app: AppId,
        partition: MergedPartition,
        answer: oneshot::Sender<Result<(i32, Bytes), String>>,
    },
    /// Sends what is never answered; `sent` learns that it is on its way.
    OneWay { body: Bytes, sent: oneshot::Sender<()> },
    /// Asks for a chunk, in a frame or, `whole`, as a stream of any length.
    Chunk { name: StreamName, carrier: Carrier, reader: Reader },
}

/// Who reads what arrives of a stream.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) pieces: mpsc::Sender<Piece>,
    /// It took nothing for too long: from then on nothing more is sent to it.
    pub(super) lost: CancellationToken,
    /// The chunk that is arriving for it; [`NOTHING`] between chunks.
    pub(super) arriving: Arc<AtomicI32>,
}

/// No chunk: they are counted from 0.
pub(super) const NOTHING: i32 = -1;

/// The largest block that the connection's task puts together by itself: the bytes are copied while they are in the
/// processor's cache, into memory of the block's own size, and its reader is woken once.
const WHOLE: u64 = 512 << 10;

/// How a chunk travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carrier {
    /// ChunkFetchRequest: in a frame.
    Chunk,
    /// StreamRequest: behind a frame, of any length.
    Stream,
}

/// What arrives of a chunk: all of it, or in order a beginning, its bytes, an end.
#[derive(Debug)]
pub(super) enum Piece {
    Whole {
        chunk: ChunkIndex,
        block: Bytes,
    },
    Begin {
        chunk: ChunkIndex,
        len: u64,
    },
    Bytes(Bytes),
    End,
    /// The server's words in the place of a chunk.
    Failed {
        chunk: ChunkIndex,
        text: String,
    },
}

/// What the layers of a session are told that its handshake does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerSettings {
    /// Engine version and cipher behind the X25519 handshake.
    pub(super) aes: SessionMode,
    /// Plaintext bytes of a token of SASL's privacy layer.
    pub(super) sasl_block: usize,
}

/// One connection of a client.
pub(super) struct Session {
    secured: LayerSettings,
    patience: Duration,
    commands: mpsc::Receiver<Command>,
    next: Option<Command>,
    /// All handles are gone.
    abandoned: bool,
    ready: Option<oneshot::Sender<()>>,
    rpcs: HashMap<RequestId, PendingRequest<Bytes>>,
    metas: HashMap<RequestId, PendingRequest<(i32, Bytes)>>,
    chunks: HashMap<(StreamId, ChunkIndex), Reader>,
    /// The body that is arriving, if anybody reads it.
    arriving: Option<PartialBody>,
    /// Whether the server answered anything.
    pub(super) answered: bool,
    /// What the handles may know of that.
    hearing: Arc<Hearing>,
}

/// A body that is arriving.
struct PartialBody {
    reader: Reader,
    chunk: ChunkIndex,
    /// What has arrived of a small one.
    whole: Option<BytesMut>,
}

/// A request that is owed an answer.
struct PendingRequest<T> {
    answer: oneshot::Sender<Result<T, String>>,
    /// It was asked when something had been answered already.
    later: bool,
    /// Of an upload.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Whether a server in AES-GCM hears more than the first message of a connection, which some releases do not
/// (GcmTransportCipher, [`BROKEN_GCM`](sealed_shuffle_protocol::cipher::BROKEN_GCM)): what is asked after the first
/// answer cannot be in that message.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Something was asked after the first answer.
    asked_later: AtomicBool,
    /// And something of that was answered.
    answered_later: AtomicBool,
}

impl Hearing {
    /// Whether all that was asked after the first answer is owed still.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.asked_later.load(Ordering::Relaxed) && !self.answered_later.load(Ordering::Relaxed)
    }
}

impl Session {
    pub(super) fn new(
        secured: LayerSettings,
        patience: Duration,
        commands: mpsc::Receiver<Command>,
        ready: oneshot::Sender<()>,
        hearing: Arc<Hearing>,
    ) -> Self {
        Self {
            secured,
            patience,
            commands,
            next: None,
            abandoned: false,
            ready: Some(ready),
            rpcs: HashMap::new(),
            metas: HashMap::new(),
            chunks: HashMap::new(),
            arriving: None,
            answered: false,
            hearing,
        }
    }

    /// Whether requests could be sent.
    pub(super) fn is_established(&self) -> bool {
        self.ready.is_none()
    }

    /// Asks the server for what a handle wants; only our own words can fail.
    fn ask(&mut self, engine: &mut Engine, command: Command) -> Result<(), CloseReason> {
        self.hearing.asked_later.fetch_or(self.answered, Ordering::Relaxed);
        match command {
            Command::Rpc { request, body, answer } => {
                engine.rpc(request, &body)?;
                self.rpcs.insert(request, PendingRequest { answer, later: self.answered, _permit: None });
            }
            Command::Upload { request, meta, body, answer, permit } => {
                engine.upload(request, meta, body)?;
                self.rpcs
                    .insert(request, PendingRequest { answer, later: self.answered, _permit: Some(permit) });
            }
            Command::MergedMeta { request, app, partition, answer } => {
                let MergedPartition { shuffle, merge, reduce } = partition;
                engine.merged_meta(request, app, shuffle, merge, reduce)?;
                self.metas.insert(request, PendingRequest { answer, later: self.answered, _permit: None });
            }
            Command::OneWay { body, sent } => {
                engine.one_way(&body)?;
                // Whoever sent it may have given up.
                sent.send(()).ok();
            }
            Command::Chunk { name, carrier, reader } => {
                match carrier {
                    Carrier::Chunk => engine.chunk(name.stream, name.chunk)?,
                    Carrier::Stream => engine.stream(name.to_string())?,
                }
                self.chunks.insert((name.stream, name.chunk), reader);
            }
        }
        Ok(())
    }

    /// Hands an answer to whoever asked, who may have given up.
    fn answer(&mut self, request: RequestId, result: Result<Bytes, String>) {
        if let Some(asked) = self.rpcs.remove(&request) {
            self.hearing.answered_later.fetch_or(asked.later, Ordering::Relaxed);
            asked.answer.send(result).ok();
        } else if let Err(text) = result {
            self.answer_meta(request, Err(text));
        }
    }

    fn answer_meta(&mut self, request: RequestId, result: Result<(i32, Bytes), String>) {
        if let Some(asked) = self.metas.remove(&request) {
            self.hearing.answered_later.fetch_or(asked.later, Ordering::Relaxed);
            asked.answer.send(result).ok();
        }
    }

    /// Hands a piece to the reader of the arriving body.
    async fn deliver(&mut self, engine: &mut Engine, piece: Piece) {
        let Some(PartialBody { reader, .. }) = &self.arriving else { return };
        if reader.lost.is_cancelled() {
            return;
        }
        let piece = match reader.pieces.try_send(piece) {
            Ok(()) => return,
            Err(TrySendError::Closed(_)) => {
                self.arriving = None;
                return;
            }
            Err(TrySendError::Full(piece)) => piece,
        };
        let taken = tokio::time::timeout(self.patience, reader.pieces.send(piece)).await;
        if taken.is_err() {
            reader.lost.cancel();
        }
        // While we waited for the reader, the server was not late.
        engine.excuse(tokio::time::Instant::now().into_std());
        if !matches!(taken, Ok(Ok(()))) {
            self.arriving = None;
        }
    }

    async fn begin(&mut self, engine: &mut Engine, name: StreamName, len: u64) {
        let chunk = name.chunk;
        let Some(reader) = self.chunks.remove(&(name.stream, chunk)) else { return };
        reader.arriving.store(chunk.0, Ordering::Relaxed);
        let small = usize::try_from(len).ok().filter(|_| len <= WHOLE);
        let is_small = small.is_some();
        self.arriving = Some(PartialBody { reader, chunk, whole: small.map(BytesMut::with_capacity) });
        if !is_small {
            self.deliver(engine, Piece::Begin { chunk, len }).await;
        }
    }

    async fn body(&mut self, engine: &mut Engine, bytes: Bytes) {
        match &mut self.arriving {
            Some(PartialBody { whole: Some(block), .. }) => block.extend_from_slice(&bytes),
            Some(_) => self.deliver(engine, Piece::Bytes(bytes)).await,
            None => {}
        }
    }

    async fn body_end(&mut self, engine: &mut Engine) {
        let Some(arriving) = &mut self.arriving else { return };
        arriving.reader.arriving.store(NOTHING, Ordering::Relaxed);
        let last = match arriving.whole.take() {
            Some(block) => Piece::Whole { chunk: arriving.chunk, block: block.freeze() },
            None => Piece::End,
        };
        self.deliver(engine, last).await;
        self.arriving = None;
    }

    async fn chunk_failed(&mut self, engine: &mut Engine, name: StreamName, text: String) {
        let chunk = name.chunk;
        let Some(reader) = self.chunks.remove(&(name.stream, chunk)) else { return };
        self.arriving = Some(PartialBody { reader, chunk, whole: None });
        self.deliver(engine, Piece::Failed { chunk, text }).await;
        self.arriving = None;
    }
}

impl Handler for Session {
    type Engine = Engine;

    async fn on_event(&mut self, engine: &mut Engine, event: ClientEvent) -> Result<(), CloseReason> {
        if !matches!(event, ClientEvent::Ready) {
            self.answered = true;
        }
        // A chunk is asked for when its stream has been opened, which is an answer.
        if !matches!(event, ClientEvent::Ready | ClientEvent::Rpc { .. } | ClientEvent::MergedMeta { .. }) {
            self.hearing.answered_later.store(true, Ordering::Relaxed);
        }
        match event {
            ClientEvent::Ready => {
                if let Some(ready) = self.ready.take() {
                    // Whoever connected may have given up.
                    ready.send(()).ok();
                }
            }
            ClientEvent::Rpc { request, result } => self.answer(request, result),
            ClientEvent::MergedMeta { request, num_chunks, bitmaps } => {
                self.answer_meta(request, Ok((num_chunks, bitmaps)));
            }
            ClientEvent::Chunk { stream, chunk, len } => {
                self.begin(engine, StreamName { stream, chunk }, len).await;
            }
            ClientEvent::ChunkFailed { stream, chunk, error } => {
                self.chunk_failed(engine, StreamName { stream, chunk }, error).await;
            }
            ClientEvent::Stream { name, len } => self.begin(engine, parse(&name)?, len).await,
            ClientEvent::StreamFailed { name, error } => {
                self.chunk_failed(engine, parse(&name)?, error).await;
            }
            ClientEvent::Body(bytes) => self.body(engine, bytes).await,
            ClientEvent::BodyEnd => self.body_end(engine).await,
        }
        Ok(())
    }

    fn session_layer(&mut self, agreed: Agreement) -> Box<dyn Layer> {
        match agreed {
            Agreement::X25519(keys) => {
                Box::new(AesSession::client(keys, self.secured.aes, Box::new(OsRandom)))
            }
            Agreement::Pbkdf2(keys) => Box::new(keys.into_layer(Role::Client)),
            Agreement::Sasl(keys) => Box::new(SaslLayer::new(keys, Role::Client, self.secured.sasl_block)),
        }
    }

    fn on_mode(&mut self, _engine: &mut Engine, mode: SessionMode) {
        tracing::trace!(%mode, "session established");
    }

    /// Cancel safe: a command is either still in the channel or in `next`.
    async fn wake(&mut self) {
        if self.abandoned || self.ready.is_some() {
            // Nothing may be said before the handshake is over; the server's answer wakes us then.
            return std::future::pending().await;
        }
        if self.next.is_none() {
            match self.commands.recv().await {
                Some(command) => self.next = Some(command),
                None => self.abandoned = true,
            }
        }
    }

    fn on_wake(&mut self, engine: &mut Engine) {
        if self.abandoned {
            engine.close(CloseReason::ShuttingDown);
            return;
        }
        while let Some(command) = self.next.take() {
            if engine.is_closing() {
                return;
            }
            if let Err(reason) = self.ask(engine, command) {
                engine.close(reason);
                return;
            }
            self.next = self.commands.try_recv().ok();
        }
    }
}

/// The engine matched the name with one that we asked for.
fn parse(name: &str) -> Result<StreamName, CloseReason> {
    StreamName::parse(name).map_err(|_| CloseReason::Unexpected("StreamResponse"))
}
