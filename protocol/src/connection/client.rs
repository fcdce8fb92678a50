//! The asking end of a connection.
//!
//! ```text
//!  Greeting ── answers verify ──► Ready ── requests and answers ──► …
//!      │ refused, false, late
//!      ▼
//!   closed: this end never falls back to a weaker mode
//! ```
//!
//! Answers are matched as Spark matches them (TransportResponseHandler, 4.3.0): RPCs, uploads and requests for
//! what was merged by request id, chunks by stream and index, streams in the order asked. An answer that nobody
//! asked for ends the connection.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::Body;
use super::handshake::{Greeting, Step};
use super::link::{Collect, Link};
use super::{CloseReason, Transmit};
use crate::frame::FrameEvent;
use crate::ids::{AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId};
use crate::limits::Limits;
use crate::message::Head;

/// How an asking end behaves.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Every number that a peer can press on.
    pub limits: Limits,
    /// From the first byte to a verified answer.
    pub handshake_timeout: Duration,
    /// Without a byte from a server that owes an answer. Unlike Spark's own client, which waits for
    /// whole messages, every byte counts.
    pub answer_timeout: Duration,
    /// Without a byte while nothing is owed.
    pub idle_timeout: Duration,
}

/// A fact for the application.
#[derive(Debug)]
pub enum ClientEvent {
    /// Requests may be sent; before, an authenticating connection refuses them, since they would go out
    /// in clear.
    Ready,
    /// An RPC was answered or failed (with the server's text).
    Rpc {
        /// The request.
        request: RequestId,
        /// Its answer.
        result: Result<Bytes, String>,
    },
    /// The chunks of a merged partition; a failure comes as [`ClientEvent::Rpc`].
    MergedMeta {
        /// The request.
        request: RequestId,
        /// How many chunks there are, in the server's words: it may be any number.
        num_chunks: i32,
        /// A bitmap of map indexes for each.
        bitmaps: Bytes,
    },
    /// A chunk begins; `len` bytes follow as [`ClientEvent::Body`], then [`ClientEvent::BodyEnd`].
    Chunk {
        /// The stream.
        stream: StreamId,
        /// The chunk.
        chunk: ChunkIndex,
        /// Its bytes.
        len: u64,
    },
    /// A chunk failed, with the server's text.
    ChunkFailed {
        /// The stream.
        stream: StreamId,
        /// The chunk.
        chunk: ChunkIndex,
        /// The server's words.
        error: String,
    },
    /// A stream begins, as a chunk does.
    Stream {
        /// The name asked for.
        name: String,
        /// Its bytes.
        len: u64,
    },
    /// A stream failed, with the server's text.
    StreamFailed {
        /// The name asked for.
        name: String,
        /// The server's words.
        error: String,
    },
    /// A piece of the body that has begun.
    Body(Bytes),
    /// The body that has begun is complete.
    BodyEnd,
}

enum Phase {
    /// Waits for the layers beneath; there is no handshake of Spark's.
    Connecting,
    /// A message of the handshake is on its way.
    Greeting {
        request: RequestId,
        greeting: Greeting,
    },
    Ready,
}

/// The message to which the arriving body belongs.
enum Arrival {
    Rpc(RequestId, Collect),
    MergedMeta(RequestId, i32, Collect),
    Bulk,
}

/// The asking end of one connection. `B` is the handle of a body on its way out.
pub struct ClientConnection<B> {
    link: Link<B>,
    phase: Phase,
    settings: ClientSettings,
    started: Instant,
    announced_ready: bool,
    rpcs: HashSet<RequestId>,
    metas: HashSet<RequestId>,
    chunks: HashSet<(StreamId, ChunkIndex)>,
    streams: VecDeque<String>,
    arriving: Option<Arrival>,
}

impl<B> ClientConnection<B> {
    /// A connection without a handshake: frames go in clear, or in clear within TLS.
    pub fn in_clear(now: Instant, settings: ClientSettings) -> Self {
        Self::new(now, settings, Phase::Connecting)
    }

    /// A connection that begins with `message`, sent as RPC `request`, and goes on as `greeting` says; a further
    /// message is sent as the RPC whose number follows.
    pub fn authenticating(
        now: Instant,
        settings: ClientSettings,
        request: RequestId,
        greeting: Greeting,
        message: &[u8],
    ) -> Result<Self, CloseReason> {
        let mut connection = Self::new(now, settings, Phase::Greeting { request, greeting });
        let (limit, _) = connection.collect_limit();
        connection.link.decoder.set_limit(limit);
        connection.link.send(&Head::RpcRequest { request }, message)?;
        Ok(connection)
    }

    fn new(now: Instant, settings: ClientSettings, phase: Phase) -> Self {
        Self {
            link: Link::new(now, settings.limits.response_frame),
            phase,
            settings,
            started: now,
            announced_ready: false,
            rpcs: HashSet::new(),
            metas: HashSet::new(),
            chunks: HashSet::new(),
            streams: VecDeque::new(),
            arriving: None,
        }
    }

    /// Sends an RPC; `request` must not be outstanding.
    pub fn rpc(&mut self, request: RequestId, body: &[u8]) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send(&Head::RpcRequest { request }, body)?;
        self.rpcs.insert(request);
        Ok(())
    }

    /// Sends a message that is never answered.
    pub fn one_way(&mut self, body: &[u8]) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send(&Head::OneWayMessage, body)
    }

    /// Asks what is known of a merged partition; `request` must not be outstanding.
    pub fn merged_meta(
        &mut self,
        request: RequestId,
        app: AppId,
        shuffle: ShuffleId,
        merge: ShuffleMergeId,
        reduce: ReduceId,
    ) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send(&Head::MergedBlockMetaRequest { request, app, shuffle, merge, reduce }, &[])?;
        self.metas.insert(request);
        Ok(())
    }

    /// Asks for a chunk of a stream that was opened on this connection.
    pub fn chunk(&mut self, stream: StreamId, chunk: ChunkIndex) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send(&Head::ChunkFetchRequest { stream, chunk }, &[])?;
        self.chunks.insert((stream, chunk));
        Ok(())
    }

    /// Asks for a chunk by name, so that its body may exceed a frame.
    pub fn stream(&mut self, name: String) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send(&Head::StreamRequest { stream: name.clone() }, &[])?;
        self.streams.push_back(name);
        Ok(())
    }

    /// The owner did not read for a while, because nobody took what had arrived: that was not the
    /// server's delay.
    pub fn excuse(&mut self, now: Instant) {
        self.link.last_in = self.link.last_in.max(now);
    }

    /// A request before the end of the handshake would go out in clear.
    fn require_session(&self) -> Result<(), CloseReason> {
        match self.phase {
            Phase::Connecting | Phase::Greeting { .. } => {
                Err(CloseReason::Unexpected("request before the handshake has ended"))
            }
            Phase::Ready => Ok(()),
        }
    }

    /// Answers that the server owes.
    pub fn owed(&self) -> usize {
        self.rpcs.len()
            + self.metas.len()
            + self.chunks.len()
            + self.streams.len()
            + usize::from(self.arriving.is_some())
    }

    /// Ends the connection once everything that is queued has gone out.
    pub fn close(&mut self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// Takes an answer that is owed; every other message ends the connection.
    fn head(&mut self, head: Head, len: u64) -> Result<Option<ClientEvent>, CloseReason> {
        let name = head.kind().name();
        let owed = |is_owed: bool| if is_owed { Ok(()) } else { Err(CloseReason::Unexpected(name)) };
        match head {
            Head::RpcResponse { request } => {
                owed(self.expects_rpc(request))?;
                self.arriving = Some(Arrival::Rpc(request, self.collect(len)?));
                Ok(None)
            }
            Head::RpcFailure { request, error } => {
                owed(self.expects_rpc(request) || self.metas.remove(&request))?;
                self.rpc_failed(request, error).map(Some)
            }
            Head::MergedBlockMetaSuccess { request, num_chunks } => {
                owed(self.metas.remove(&request))?;
                self.arriving = Some(Arrival::MergedMeta(request, num_chunks, self.collect(len)?));
                Ok(None)
            }
            Head::ChunkFetchSuccess { stream, chunk } => {
                owed(self.chunks.remove(&(stream, chunk)))?;
                self.arriving = Some(Arrival::Bulk);
                Ok(Some(ClientEvent::Chunk { stream, chunk, len }))
            }
            Head::ChunkFetchFailure { stream, chunk, error } => {
                owed(self.chunks.remove(&(stream, chunk)))?;
                Ok(Some(ClientEvent::ChunkFailed { stream, chunk, error }))
            }
            Head::StreamResponse { stream } => {
                owed(self.expects_stream(&stream))?;
                self.arriving = Some(Arrival::Bulk);
                Ok(Some(ClientEvent::Stream { name: stream, len }))
            }
            Head::StreamFailure { stream, error } => {
                owed(self.expects_stream(&stream))?;
                Ok(Some(ClientEvent::StreamFailed { name: stream, error }))
            }
            Head::ChunkFetchRequest { .. }
            | Head::RpcRequest { .. }
            | Head::StreamRequest { .. }
            | Head::OneWayMessage
            | Head::UploadStream { .. }
            | Head::MergedBlockMetaRequest { .. } => Err(CloseReason::Unexpected(name)),
        }
    }

    /// Whether this stream is the next one that is owed.
    fn expects_stream(&mut self, name: &str) -> bool {
        self.streams.pop_front().is_some_and(|asked| asked == name)
    }

    /// Begins to collect an answer in memory.
    fn collect(&self, len: u64) -> Result<Collect, CloseReason> {
        Collect::new("answer", len, self.collect_limit())
    }

    /// A server that has proven nothing gets as little memory as a client that has proven nothing.
    fn collect_limit(&self) -> (u64, &'static str) {
        let limits = &self.settings.limits;
        match self.phase {
            Phase::Greeting { .. } => (limits.handshake_frame, "spark.sealed.limits.handshake-frame"),
            Phase::Connecting | Phase::Ready => (limits.response_frame, "spark.sealed.limits.response-frame"),
        }
    }

    /// Whether an answer to this RPC is owed; the handshake's is, while it lasts.
    fn expects_rpc(&mut self, request: RequestId) -> bool {
        match &self.phase {
            Phase::Greeting { request: greeting, .. } => *greeting == request,
            Phase::Connecting | Phase::Ready => self.rpcs.remove(&request),
        }
    }

    fn rpc_failed(&mut self, request: RequestId, error: String) -> Result<ClientEvent, CloseReason> {
        if matches!(self.phase, Phase::Greeting { .. }) {
            return Err(CloseReason::HandshakeRefused(error));
        }
        Ok(ClientEvent::Rpc { request, result: Err(error) })
    }

    fn body_complete(&mut self) -> Result<Option<ClientEvent>, CloseReason> {
        match self.arriving.take() {
            None => Ok(None),
            Some(Arrival::Bulk) => Ok(Some(ClientEvent::BodyEnd)),
            Some(Arrival::Rpc(request, body)) => self.answered(request, body.finish()),
            Some(Arrival::MergedMeta(request, num_chunks, body)) => {
                Ok(Some(ClientEvent::MergedMeta { request, num_chunks, bitmaps: body.finish() }))
            }
        }
    }

    fn answered(&mut self, request: RequestId, body: Bytes) -> Result<Option<ClientEvent>, CloseReason> {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Greeting { greeting, .. } => self.greeted(request, greeting.answered(&body)?),
            other @ (Phase::Connecting | Phase::Ready) => {
                self.phase = other;
                Ok(Some(ClientEvent::Rpc { request, result: Ok(body) }))
            }
        }
    }

    fn greeted(&mut self, request: RequestId, greeted: Step) -> Result<Option<ClientEvent>, CloseReason> {
        self.link.refuse_early_bytes()?;
        match greeted {
            Step::Say(message, greeting) => {
                let request = RequestId(request.0.wrapping_add(1) & i64::MAX);
                self.link.send(&Head::RpcRequest { request }, &message)?;
                self.phase = Phase::Greeting { request, greeting };
                Ok(None)
            }
            Step::Done(agreed) => {
                if let Some(agreed) = agreed {
                    self.link.install(agreed);
                }
                self.link.decoder.set_limit(self.settings.limits.response_frame);
                self.announced_ready = true;
                Ok(Some(ClientEvent::Ready))
            }
        }
    }
}

impl<B: Body> ClientConnection<B> {
    /// Sends what `meta` asks for with `body` behind it, of any length; it is answered as an RPC, perhaps before all of
    /// the body is out. `request` must not be outstanding.
    pub fn upload(&mut self, request: RequestId, meta: Bytes, body: B) -> Result<(), CloseReason> {
        self.require_session()?;
        self.link.send_with_body(&Head::UploadStream { request, meta }, body.len(), body)?;
        self.rpcs.insert(request);
        Ok(())
    }
}

impl<B> super::Engine for ClientConnection<B> {
    type Body = B;
    type Event = ClientEvent;

    fn handle_ready(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Connecting) {
            self.phase = Phase::Ready;
            self.link.last_in = now;
        }
    }

    fn handle_bytes(&mut self, now: Instant, plaintext: Bytes) {
        self.link.feed(now, plaintext);
    }

    fn handle_eof(&mut self) -> CloseReason {
        self.link.handle_eof(self.arriving.is_some())
    }

    fn poll_event(&mut self) -> Result<Option<ClientEvent>, CloseReason> {
        if self.is_closing() {
            return Ok(None);
        }
        if matches!(self.phase, Phase::Ready) && !self.announced_ready {
            self.announced_ready = true;
            return Ok(Some(ClientEvent::Ready));
        }
        loop {
            let event = match self.link.decoder.next()? {
                None => return Ok(None),
                Some(FrameEvent::Head { head, body_len }) => self.head(head, body_len)?,
                Some(FrameEvent::Body(piece)) => match &mut self.arriving {
                    Some(Arrival::Rpc(_, collect) | Arrival::MergedMeta(_, _, collect)) => {
                        collect.push(piece);
                        None
                    }
                    Some(Arrival::Bulk) | None => Some(ClientEvent::Body(piece)),
                },
                Some(FrameEvent::End) => self.body_complete()?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit<B>> {
        self.link.poll_transmit()
    }

    fn handle_output(&mut self, now: Instant, wrote: usize, pending: bool) {
        self.link.handle_output(now, wrote, pending);
    }

    fn deadline(&self) -> Option<(Instant, CloseReason)> {
        let (settings, progress) = (&self.settings, self.link.last_progress());
        let is_greeting = matches!(self.phase, Phase::Connecting | Phase::Greeting { .. });
        Some(if is_greeting && !self.is_closing() {
            let reason = CloseReason::HandshakeTimeout(settings.handshake_timeout);
            (self.started + settings.handshake_timeout, reason)
        } else if self.owed() > 0 || self.link.sending {
            let reason = CloseReason::NoAnswer(settings.answer_timeout, self.owed());
            (progress + settings.answer_timeout, reason)
        } else {
            (progress + settings.idle_timeout, CloseReason::Idle(settings.idle_timeout))
        })
    }

    fn is_closing(&self) -> bool {
        self.link.is_closing()
    }

    fn take_close_reason(&mut self) -> CloseReason {
        self.link.take_close_reason()
    }

    fn memory_wanted(&self) -> u64 {
        match &self.arriving {
            Some(Arrival::Rpc(_, body) | Arrival::MergedMeta(_, _, body)) => body.memory_wanted(),
            Some(Arrival::Bulk) | None => 0,
        }
    }

    fn expects_bulk(&self) -> bool {
        !self.chunks.is_empty() || !self.streams.is_empty() || matches!(self.arriving, Some(Arrival::Bulk))
    }
}
