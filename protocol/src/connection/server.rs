//! The serving end of a connection.
//!
//! ```text
//!             challenge                accept                      (first request)
//!  Unproven ───────────► Judging ───────────────► Open(app) ─────────────────────► …
//!     │  ▲                │    │ refuse
//!     │  └─── proceed ────┘    ▼
//!     └── anything else ──► closing: what is queued goes out, then the connection ends
//! ```
//!
//! Nothing but the handshake is answered before an identity is proven, unless the settings admit
//! peers that prove none. A challenge of AES can be recorded and sent again: the deadline of the handshake runs until
//! the first request came through the keys that were agreed on. Source: AuthRpcHandler and TransportRequestHandler, Spark 4.3.0; stricter
//! where said.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::NameTooLong;
use super::link::{Collect, Link, SMALL_FRAME};
use super::{Agreement, Body, Challenge, CloseReason, Transmit};
use crate::frame::FrameEvent;
use crate::ids::{AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId};
use crate::limits::Limits;
use crate::message::Head;

/// Bytes of a failure's text at most.
const MAX_TEXT: usize = 16 << 10;

/// Memory that an upload takes, however long it is: the bytes of one read, sealed and opened.
const UPLOAD_WINDOW: u64 = 256 << 10;

/// The answer to anything but the handshake on a server that wants it. The first
/// sentence is Spark's own (AuthRpcHandler, 4.3.0).
const UNKNOWN_CHALLENGE: &str = "java.lang.IllegalArgumentException: Unknown challenge message. \
     This server wants a proof of identity: set spark.authenticate=true and \
     spark.network.crypto.enabled=true in the application.";

/// The answer to a request for a chunk without a proof.
const UNAUTHENTICATED_STREAM: &str = "java.lang.SecurityException: Unauthenticated call to stream manager.";

/// How a serving end behaves.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Every number that a peer can press on.
    pub limits: Limits,
    /// From accepting the connection to a proven identity, and to the first request where the proof could be another's
    /// that was recorded.
    pub handshake_timeout: Duration,
    /// Without a byte in either direction; also between the bytes of one message.
    pub idle_timeout: Duration,
    /// Without the peer taking a byte of what waits for it.
    pub stalled_timeout: Duration,
    /// Whether there are secrets, so that a challenge can be judged.
    pub authenticates: bool,
    /// Whether peers that prove no identity are served.
    pub admits_anonymous: bool,
}

/// The identity that the peer has shown. A connection has no other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The peer proved that it knows the secret of this application.
    Proven(AppId),
    /// The peer proved nothing, and the settings admit that.
    Anonymous,
}

/// A fact for the application.
#[derive(Debug)]
pub enum ServerEvent {
    /// The peer claims an application; answer with [`ServerConnection::accept`],
    /// [`ServerConnection::proceed`] or [`ServerConnection::refuse`].
    Challenge(Challenge),
    /// A request of a peer that may be answered.
    Request(Request),
    /// The next bytes of the body of the [`Request::Upload`] before it, never none. They come as long as the
    /// connection is not closed.
    UploadPiece(Bytes),
    /// All of that body was handed out, however short.
    UploadEnd,
    /// A request without an identity was refused, with what it was; the connection is closing.
    Unauthenticated(&'static str),
}

/// A request, decoded as far as the transport goes.
#[derive(Debug)]
pub enum Request {
    /// Wants an RpcResponse or RpcFailure.
    Rpc {
        /// Names the answer.
        request: RequestId,
        /// One block-transfer message.
        body: Bytes,
    },
    /// Wants no answer, ever.
    OneWay {
        /// One block-transfer message.
        body: Bytes,
    },
    /// Wants a chunk of an open stream.
    Chunk {
        /// The stream.
        stream: StreamId,
        /// Its chunk.
        chunk: ChunkIndex,
    },
    /// Wants the same by name, with the body behind the frame.
    Stream {
        /// `<streamId>_<chunkIndex>`.
        name: String,
    },
    /// Wants to upload; the body follows as [`ServerEvent::UploadPiece`]s, unless the connection is closed.
    Upload {
        /// Names the answer.
        request: RequestId,
        /// One block-transfer message.
        meta: Bytes,
        /// Bytes that follow.
        len: u64,
    },
    /// Wants the chunk bitmaps of a merged partition.
    MergedBlockMeta {
        /// Names the answer.
        request: RequestId,
        /// The application.
        app: AppId,
        /// Its shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging.
        merge: ShuffleMergeId,
        /// The partition.
        reduce: ReduceId,
    },
}

enum Phase {
    /// Nothing proven yet.
    Unproven,
    /// A challenge was handed out and waits for its verdict.
    Judging(RequestId),
    /// Requests are handed out.
    Open(Identity),
}

/// The serving end of one connection. `B` is the handle of a body on its way out.
pub struct ServerConnection<B> {
    link: Link<B>,
    phase: Phase,
    settings: ServerSettings,
    accepted: Instant,
    /// Bytes of a request that is collected from a peer that has proven nothing.
    anonymous_frame: u64,
    /// The challenge may have been recorded: nothing has come yet that only a holder of the secret can say.
    may_be_replayed: bool,
    /// The in-frame body that is being collected, and the name of its answer.
    collecting: Option<(Option<RequestId>, Collect)>,
    /// The length of the upload that is being handed out.
    uploading: Option<u64>,
}

impl<B: Body> ServerConnection<B> {
    /// A connection accepted at `now`.
    pub fn new(now: Instant, settings: ServerSettings) -> Self {
        // Heads without an in-frame body (names of streams, what describes an upload) stay small for
        // good: only bodies of requests may be as large as `request_frame`.
        let collect = settings.limits.handshake_frame;
        Self {
            link: Link::new(now, collect),
            phase: Phase::Unproven,
            anonymous_frame: settings.limits.request_frame,
            settings,
            accepted: now,
            may_be_replayed: false,
            collecting: None,
            uploading: None,
        }
    }

    /// Judges the challenge as genuine, `app` as proven: queues our answer as it is and, behind it, the change to
    /// what was agreed on.
    pub fn accept(
        &mut self,
        app: AppId,
        answer: &[u8],
        agreed: Option<Agreement>,
    ) -> Result<(), CloseReason> {
        let request = self.judging()?;
        self.link.send(&Head::RpcResponse { request }, answer)?;
        if let Some(agreed) = agreed {
            // SASL's proof answers a challenge of ours.
            self.may_be_replayed = matches!(agreed, Agreement::X25519(_) | Agreement::Pbkdf2(_));
            self.link.install(agreed);
        }
        self.phase = Phase::Open(Identity::Proven(app));
        Ok(())
    }

    /// The handshake has one more round trip: queues our answer, and waits for the next challenge.
    pub fn proceed(&mut self, answer: &[u8]) -> Result<(), CloseReason> {
        let request = self.judging()?;
        self.link.send(&Head::RpcResponse { request }, answer)?;
        self.phase = Phase::Unproven;
        Ok(())
    }

    /// Judges the challenge as false: the peer reads `text`, the log keeps `reason`, and the
    /// connection ends.
    pub fn refuse(&mut self, text: &str, reason: String) -> Result<(), CloseReason> {
        let request = self.judging()?;
        self.fail_rpc(request, text)?;
        self.close(CloseReason::Refused(reason));
        Ok(())
    }

    fn judging(&self) -> Result<RequestId, CloseReason> {
        match self.phase {
            Phase::Judging(request) if !self.link.is_closing() => Ok(request),
            Phase::Unproven | Phase::Judging(_) | Phase::Open(_) => {
                Err(CloseReason::Unexpected("verdict without a challenge"))
            }
        }
    }

    /// Answers an RPC or an upload.
    pub fn answer_rpc(&mut self, request: RequestId, body: &[u8]) -> Result<(), CloseReason> {
        self.link.send(&Head::RpcResponse { request }, body)
    }

    /// Answers an RPC so that the answer is complete with the second message of AES-GCM only: a peer that takes one message
    /// of a connection does not see it.
    pub fn answer_rpc_in_two(&mut self, request: RequestId, body: &[u8]) -> Result<(), CloseReason> {
        self.link.send_in_two(&Head::RpcResponse { request }, body)
    }

    /// Fails an RPC, an upload or a request for merged metadata.
    pub fn fail_rpc(&mut self, request: RequestId, text: &str) -> Result<(), CloseReason> {
        self.link.send(&Head::RpcFailure { request, error: bounded(text) }, &[])
    }

    /// Answers a request for merged metadata: `bitmaps` are those of `num_chunks` chunks.
    pub fn answer_merged_meta(
        &mut self,
        request: RequestId,
        num_chunks: i32,
        bitmaps: Bytes,
    ) -> Result<(), CloseReason> {
        self.link.send_bytes(&Head::MergedBlockMetaSuccess { request, num_chunks }, bitmaps)
    }

    /// Answers a request for a chunk.
    pub fn answer_chunk(&mut self, stream: StreamId, chunk: ChunkIndex, body: B) -> Result<(), CloseReason> {
        let len = body.len();
        self.link.send_with_body(&Head::ChunkFetchSuccess { stream, chunk }, len, body)
    }

    /// Fails a request for a chunk.
    pub fn fail_chunk(&mut self, stream: StreamId, chunk: ChunkIndex, text: &str) -> Result<(), CloseReason> {
        self.link.send(&Head::ChunkFetchFailure { stream, chunk, error: bounded(text) }, &[])
    }

    /// Answers a stream request: the body follows the frame.
    pub fn answer_stream(&mut self, name: String, body: B) -> Result<(), CloseReason> {
        let len = body.len();
        self.link.send_with_body(&Head::StreamResponse { stream: name }, len, body)
    }

    /// Fails a stream request.
    pub fn fail_stream(&mut self, name: String, text: &str) -> Result<(), CloseReason> {
        self.link.send(&Head::StreamFailure { stream: name, error: bounded(text) }, &[])
    }

    /// Ends the connection once everything that is queued has gone out.
    pub fn close(&mut self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// Requests of a peer that has proven nothing have so many bytes at most, from here on. They are collected before anybody
    /// judges the channel, so one that is refused anyway should cost no memory.
    pub fn set_anonymous_frame(&mut self, bytes: u64) {
        self.anonymous_frame = bytes;
    }

    /// From here on the peer may be silent for so long.
    pub fn set_idle_timeout(&mut self, timeout: Duration) {
        self.settings.idle_timeout = timeout;
    }

    /// Whether something of ours waits for the peer to take it.
    pub fn is_sending(&self) -> bool {
        self.link.sending
    }

    /// The identity that the peer has shown. `None` if it has shown none, and if the connection is closing.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.phase {
            Phase::Open(identity) if !self.link.is_closing() => Some(identity),
            Phase::Unproven | Phase::Judging(_) | Phase::Open(_) => None,
        }
    }

    fn head(&mut self, head: Head, body_len: u64) -> Result<Option<ServerEvent>, CloseReason> {
        match head {
            Head::RpcRequest { request } => self.collect(Some(request), body_len).map(|()| None),
            Head::OneWayMessage => self.collect(None, body_len).map(|()| None),
            Head::ChunkFetchRequest { stream, chunk } => self.hand_out(Request::Chunk { stream, chunk }),
            Head::StreamRequest { stream } => self.hand_out(Request::Stream { name: stream }),
            Head::UploadStream { request, meta } => {
                self.hand_out(Request::Upload { request, meta, len: body_len })
            }
            Head::MergedBlockMetaRequest { request, app, shuffle, merge, reduce } => {
                self.hand_out(Request::MergedBlockMeta { request, app, shuffle, merge, reduce })
            }
            Head::ChunkFetchSuccess { .. }
            | Head::ChunkFetchFailure { .. }
            | Head::RpcResponse { .. }
            | Head::RpcFailure { .. }
            | Head::StreamResponse { .. }
            | Head::StreamFailure { .. }
            | Head::MergedBlockMetaSuccess { .. } => Err(CloseReason::Unexpected(head.kind().name())),
        }
    }

    /// Begins to collect an in-frame body, within the limit of the phase. `request` names the answer, where one is
    /// wanted.
    fn collect(&mut self, request: Option<RequestId>, len: u64) -> Result<(), CloseReason> {
        let limit = match self.phase {
            Phase::Unproven if !self.settings.admits_anonymous => {
                (self.settings.limits.handshake_frame, "spark.sealed.limits.handshake-frame")
            }
            Phase::Unproven | Phase::Open(Identity::Anonymous) => {
                (self.anonymous_frame, "spark.sealed.limits.request-frame, for a channel that is served")
            }
            Phase::Judging(_) | Phase::Open(Identity::Proven(_)) => {
                (self.settings.limits.request_frame, "spark.sealed.limits.request-frame")
            }
        };
        self.collecting = Some((request, Collect::new("request", len, limit)?));
        Ok(())
    }

    fn collected(&mut self) -> Result<Option<ServerEvent>, CloseReason> {
        let Some((request, body)) = self.collecting.take() else { return Ok(None) };
        let body = body.finish();
        let Some(request) = request else { return self.hand_out(Request::OneWay { body }) };
        if !self.may_authenticate() {
            return self.hand_out(Request::Rpc { request, body });
        }
        match Challenge::decode(&body) {
            Ok(Some(challenge)) => {
                self.link.refuse_early_bytes()?;
                self.phase = Phase::Judging(request);
                Ok(Some(ServerEvent::Challenge(challenge)))
            }
            Ok(None) => self.hand_out(Request::Rpc { request, body }),
            Err(NameTooLong(why)) => {
                self.fail_rpc(request, &format!("java.lang.IllegalArgumentException: {why}"))?;
                Ok(Some(self.unauthenticated("a handshake whose names are too long")))
            }
        }
    }

    /// Hands a request out, or refuses a peer that has proven no identity. Texts: AbstractAuthRpcHandler and
    /// OneForOneStreamManager, Spark 4.2.1.
    fn hand_out(&mut self, request: Request) -> Result<Option<ServerEvent>, CloseReason> {
        if self.admitted() {
            if let Request::Upload { len, .. } = request {
                self.uploading = Some(len);
            }
            return Ok(Some(ServerEvent::Request(request)));
        }
        let what = match request {
            // Spark ignores it without a word.
            Request::OneWay { .. } => return Ok(None),
            Request::Rpc { request, .. } => {
                self.fail_rpc(request, UNKNOWN_CHALLENGE)?;
                "an RPC that is no handshake"
            }
            Request::Chunk { stream, chunk } => {
                self.fail_chunk(stream, chunk, UNAUTHENTICATED_STREAM)?;
                "a request before the handshake"
            }
            Request::Stream { name } => {
                self.fail_stream(name, UNAUTHENTICATED_STREAM)?;
                "a request before the handshake"
            }
            Request::Upload { request, .. } => {
                self.fail_rpc(
                    request,
                    "java.lang.SecurityException: Unauthenticated call to receiveStream().",
                )?;
                "a request before the handshake"
            }
            Request::MergedBlockMeta { request, .. } => {
                let text = "java.lang.SecurityException: Unauthenticated call to receiveMergeBlockMetaReq().";
                self.fail_rpc(request, text)?;
                "a request before the handshake"
            }
        };
        Ok(Some(self.unauthenticated(what)))
    }

    fn unauthenticated(&mut self, what: &'static str) -> ServerEvent {
        self.close(CloseReason::Refused(format!("{what}, from a peer that has proven no identity")));
        ServerEvent::Unauthenticated(what)
    }

    fn may_authenticate(&self) -> bool {
        self.settings.authenticates && matches!(self.phase, Phase::Unproven)
    }

    /// Whether requests are handed out; the first request of an admitted peer without proof makes
    /// it anonymous for good.
    fn admitted(&mut self) -> bool {
        match self.phase {
            Phase::Open(_) => true,
            Phase::Unproven if self.settings.admits_anonymous => {
                self.phase = Phase::Open(Identity::Anonymous);
                true
            }
            Phase::Unproven | Phase::Judging(_) => false,
        }
    }
}

/// A text for the peer. It may quote what the peer sent, so it is cut: a request of megabytes must not
/// come back as an answer of megabytes.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

impl<B: Body> super::Engine for ServerConnection<B> {
    type Body = B;
    type Event = ServerEvent;

    fn handle_bytes(&mut self, now: Instant, plaintext: Bytes) {
        self.link.feed(now, plaintext);
    }

    fn handle_eof(&mut self) -> CloseReason {
        self.link.handle_eof(self.collecting.is_some() || self.uploading.is_some())
    }

    fn poll_event(&mut self) -> Result<Option<ServerEvent>, CloseReason> {
        loop {
            if matches!(self.phase, Phase::Judging(_)) || self.is_closing() {
                return Ok(None);
            }
            let event = match self.link.decoder.next()? {
                None => return Ok(None),
                Some(FrameEvent::Head { head, body_len }) => {
                    let event = self.head(head, body_len)?;
                    // Other keys make no frame with the head of a request.
                    self.may_be_replayed = false;
                    event
                }
                Some(FrameEvent::Body(piece)) if self.uploading.is_some() => {
                    Some(ServerEvent::UploadPiece(piece))
                }
                Some(FrameEvent::Body(piece)) => {
                    if let Some((_, collect)) = &mut self.collecting {
                        collect.push(piece);
                    }
                    None
                }
                Some(FrameEvent::End) if self.uploading.take().is_some() => Some(ServerEvent::UploadEnd),
                Some(FrameEvent::End) => self.collected()?,
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
        let Self { settings, link, .. } = self;
        let activity = if link.sending {
            let reason = CloseReason::StalledReader(settings.stalled_timeout);
            (link.last_out + settings.stalled_timeout, reason)
        } else if self.collecting.is_some() || self.uploading.is_some() || !link.decoder.is_idle() {
            (link.last_progress() + settings.idle_timeout, CloseReason::StalledSender(settings.idle_timeout))
        } else {
            (link.last_progress() + settings.idle_timeout, CloseReason::Idle(settings.idle_timeout))
        };
        let handshake = self.accepted + settings.handshake_timeout;
        let is_unsure = self.may_be_replayed || matches!(self.phase, Phase::Unproven | Phase::Judging(_));
        Some(match is_unsure && !link.is_closing() && handshake < activity.0 {
            true => (handshake, CloseReason::HandshakeTimeout(settings.handshake_timeout)),
            false => activity,
        })
    }

    fn is_closing(&self) -> bool {
        self.link.is_closing()
    }

    fn take_close_reason(&mut self) -> CloseReason {
        self.link.take_close_reason()
    }

    fn memory_wanted(&self) -> u64 {
        match (&self.collecting, self.uploading) {
            (Some((_, body)), _) => body.memory_wanted(),
            (None, Some(len)) if len > SMALL_FRAME => UPLOAD_WINDOW,
            (None, _) => 0,
        }
    }

    fn expects_bulk(&self) -> bool {
        self.uploading.is_some_and(|len| len > SMALL_FRAME)
    }
}
