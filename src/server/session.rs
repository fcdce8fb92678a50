//! One connection: who the peer is, which channel it uses, which streams it holds.
//!
//! Identity and channel are checked here, in one place each, before any request is looked at.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use sealed_shuffle_protocol::auth::{AesSession, FirstBytes};
use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::cipher::{Layer, Role, SessionMode};
use sealed_shuffle_protocol::connection::{
    Agreement, CloseReason, Engine as _, Identity, Request, ServerConnection, ServerEvent,
};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, RequestId};
use sealed_shuffle_protocol::sasl::SaslLayer;
use sealed_shuffle_transport::pot::{Account, Holding, Tenant, UsedUp};
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::{Body, SegmentPool};
use sealed_shuffle_transport::tls::{TlsFacts, TlsLayer};
use sealed_shuffle_transport::wire::Handler;
use tracing::warn;

use super::conversation::Conversation;
use super::errand::Errand;
use super::places::Stranger;
use super::refusals::Refusal;
use super::repeats::Loudness;
use super::seats::{self, Seat};
use super::streams::{Burst, Streams};
use super::uploads::Uploads;
use super::{Failure, Shared};
use crate::applications::Speaker;
use crate::applications::broken_gcm::Listening;
use crate::audit::{Connection, Deeds};
use crate::disk::Proof;
use crate::keys::Watch;
use crate::telemetry::{RefusalReason, ServedBlocks};
use crate::traces::Trace;

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The engine of a served connection.
pub(super) type Engine = ServerConnection<Body>;

/// One served connection.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) streams: Streams,
    /// Pushed blocks that are arriving.
    pub(super) uploads: Uploads,
    pub(super) channel: Option<Channel>,
    /// The channel that the handshake agreed on, where the first request does not show it.
    pub(super) agreed: Channel,
    /// The application of the last challenge, genuine or not; for the log.
    pub(super) claimed: Option<AppId>,
    /// What TLS has settled, where it lies around everything.
    tls: Option<Arc<OnceLock<TlsFacts>>>,
    /// A SASL exchange that has begun.
    pub(super) conversation: Option<Conversation>,
    /// What every request is answered with, where the channel is below the minimum.
    pub(super) refusal: Option<String>,
    /// The application's entry in the table, once it is known.
    pub(super) seen: Option<Speaker>,
    /// The requests that are worked off.
    pub(super) burst: Burst,
    /// Counts the blocks that it was handed; from the first one on.
    pub(super) served: Option<ServedBlocks>,
    /// What the client shows of its AES-GCM.
    pub(super) listening: Option<Listening>,
    /// The application's secret, as long as it is valid.
    pub(super) access: Option<Watch>,
    /// The server is stopping: streams that are open may finish.
    pub(super) draining: bool,
    /// Until its peer has proven who it is.
    stranger: Option<Stranger>,
    /// Its place among those of its application.
    place: Option<Holding>,
    /// The same, where its application may have so many and it may have to give way.
    pub(super) seat: Option<Seat>,
    /// It was asked to give way.
    pub(super) gives_way: bool,
    /// The account of its open streams.
    pub(super) stream_bytes: Account,
    /// The memory of this connection, with the tenant on whose account it is.
    pub(super) memory: SegmentPool,
    /// What the last request ends the connection with, instead of an answer.
    pub(super) ends_with: Option<CloseReason>,
    /// What it did since its last record in the audit trail.
    pub(super) deeds: Deeds,
    /// The first executor that it registered.
    pub(super) executor: Option<ExecutorId>,
    /// Of its last record, or its beginning.
    recorded: (Instant, SystemTime),
    /// The request that is being answered, where it is traced.
    pub(super) trace: Option<Arc<Trace>>,
    /// Pushes that are traced and not answered yet.
    pub(super) pushes: Vec<(RequestId, Arc<Trace>)>,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: SocketAddr,
        stranger: Stranger,
        memory: SegmentPool,
    ) -> Self {
        let streams = Streams::new(shared.limits.streams, shared.limits.chunks);
        let stream_bytes = shared.open_streams.account(&Tenant::Strangers);
        Self {
            shared,
            peer,
            streams,
            uploads: Uploads::default(),
            channel: None,
            agreed: Channel::PLAINTEXT,
            claimed: None,
            tls: None,
            conversation: None,
            refusal: None,
            seen: None,
            burst: Burst::default(),
            served: None,
            listening: None,
            access: None,
            draining: false,
            stranger: Some(stranger),
            place: None,
            seat: None,
            gives_way: false,
            stream_bytes,
            memory,
            ends_with: None,
            deeds: Deeds::default(),
            executor: None,
            recorded: (Instant::now(), SystemTime::now()),
            trace: None,
            pushes: Vec::new(),
        }
    }

    /// A channel as it is within TLS, where that lies around everything.
    pub(super) fn within_tls(&self, channel: Channel) -> Channel {
        match self.tls.as_ref().and_then(|tls| tls.get()) {
            Some(facts) => channel.inside(facts.version, facts.suite),
            None => channel,
        }
    }

    /// How the connection is protected, as the metrics call it.
    pub(super) fn channel(&self) -> Channel {
        self.channel.unwrap_or(Channel::PLAINTEXT)
    }

    /// Whether something is still to be asked for, or to come.
    fn is_busy(&self) -> bool {
        self.streams.are_read_on() || !self.uploads.is_empty()
    }

    fn close_when_drained(&self, engine: &mut Engine) {
        if self.gives_way {
            engine.set_idle_timeout(if self.is_busy() { self.shared.idle_timeout() } else { seats::QUIET });
        }
        if !self.draining {
            return;
        }
        let is_busy = self.is_busy();
        match self.shared.succession.quiet() {
            Some(_) if is_busy => engine.set_idle_timeout(self.shared.idle_timeout()),
            // A request of the peer may be under way, and should not be lost.
            Some(quiet) => engine.set_idle_timeout(quiet),
            None if is_busy => {}
            None => engine.close(CloseReason::ShuttingDown),
        }
    }

    /// Answers `request` with `text` and ends the connection.
    fn refuse_request(
        &mut self,
        engine: &mut Engine,
        request: Request,
        text: String,
    ) -> Result<(), CloseReason> {
        match request {
            Request::Rpc { request, .. }
            | Request::Upload { request, .. }
            | Request::MergedBlockMeta { request, .. } => engine.fail_rpc(request, &text)?,
            Request::Chunk { stream, chunk } => engine.fail_chunk(stream, chunk, &text)?,
            Request::Stream { name } => engine.fail_stream(name, &text)?,
            Request::OneWay { .. } => {}
        }
        engine.close(CloseReason::Refused(text));
        Ok(())
    }

    /// A peer with a proven identity has the share of its application from the first message that opens under its keys, or
    /// from its first request. A proof that was recorded and sent again does not lead here.
    pub(super) fn settle_account(&mut self, engine: &mut Engine) {
        if let Some(Identity::Proven(app)) = engine.identity()
            && self.stranger.is_some()
        {
            let app = app.clone();
            match self.settle(&app) {
                // Its first request waits for a place: see `await_place`.
                Ok(()) | Err(UsedUp { is_quota: true, .. }) => {}
                Err(UsedUp { pot, .. }) => engine.close(CloseReason::ShareUsedUp { what: pot }),
            }
        }
    }

    /// Where its application has all the connections that it may have, waits until one of them has gone. Where none goes,
    /// this one ends, and Spark tries again; but for a request about a merged block: Spark falls back where that is answered
    /// with a failure, and takes the originals twice where its connection ends (SPARK-45134).
    async fn await_place(&mut self, engine: &mut Engine, request: &Request) -> Result<(), CloseReason> {
        let Some(seats) = self.shared.seats.clone() else { return Ok(()) };
        let Some(Identity::Proven(app)) = engine.identity().cloned() else { return Ok(()) };
        let account = self.shared.connections.account(&Tenant::App(app.clone()));
        if let Some(place) = seats.await_place(&app, &account).await {
            self.sit(&app, place);
            return Ok(());
        }
        let reason = CloseReason::ShareUsedUp { what: self.shared.connections.name() };
        if let Request::MergedBlockMeta { request, .. } = request {
            engine.fail_rpc(*request, &reason.to_string())?;
        }
        engine.close(reason);
        Ok(())
    }

    /// The connection is `app`'s from now on: its memory, and its place.
    pub(super) fn settle(&mut self, app: &AppId) -> Result<(), UsedUp> {
        let tenant = Tenant::App(app.clone());
        self.memory.belongs_to(&tenant);
        self.stream_bytes = self.shared.open_streams.account(&tenant);
        match self.shared.connections.account(&tenant).try_take(1) {
            Ok(place) => self.sit(app, place),
            Err(used_up) => {
                self.shared.seats.iter().for_each(|seats| seats.ask_one(app, Instant::now()));
                return Err(used_up);
            }
        }
        Ok(())
    }

    fn sit(&mut self, app: &AppId, place: Holding) {
        self.place = Some(place);
        self.seat = self.shared.seats.as_ref().map(|seats| seats.sit(app));
        self.stranger = None;
    }

    /// Whether the peer may speak for `app`; the text is what it reads where it may not.
    pub(super) fn authorize(&mut self, engine: &Engine, app: &AppId) -> Result<Proof, Failure> {
        match engine.identity() {
            Some(Identity::Proven(proven)) if proven == app => Ok(Proof::Proven),
            Some(Identity::Proven(proven)) => {
                let (proven, app) = (proven.clone(), app.clone());
                Err(self.refuse(&Refusal::OtherApplication { proven, app }))
            }
            Some(Identity::Anonymous) => {
                self.check_reach(engine, app)?;
                self.admit_unproven(app).map(|()| Proof::Unproven)
            }
            None => Err(self.refuse(&Refusal::Unauthenticated)),
        }
    }

    /// An application that was registered with proof is out of reach for a peer that has none, from that moment on.
    pub(super) fn check_reach(&self, engine: &Engine, app: &AppId) -> Result<(), Failure> {
        let is_unproven = matches!(engine.identity(), Some(Identity::Anonymous));
        if !is_unproven || self.shared.applications.proof(app) != Some(Proof::Proven) {
            return Ok(());
        }
        Err(self.refuse(&Refusal::OutOfReach { app: app.clone() }))
    }

    /// Work of the request that is being answered.
    pub(super) fn errand(&self) -> Errand<'_> {
        Errand { shared: &self.shared, memory: &self.memory, trace: self.trace.as_deref() }
    }

    /// Counts a refusal and logs it; the text is for the peer.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Failure {
        refusal.tell(&self.shared, self.peer, self.claimed.as_ref())
    }

    /// Writes into the audit trail what it did, where its application is known; `ended` says why it has ended.
    pub(super) fn leave_record(&mut self, ended: Option<&'static str>) {
        let Some(seen) = self.seen.as_ref().filter(|_| self.shared.audit.is_on()) else { return };
        self.shared.audit.connection(&Connection {
            app: seen.app(),
            proven: seen.is_proven(),
            peer: self.peer,
            channel: self.channel(),
            executor: self.executor.as_ref(),
            deeds: &self.deeds,
            since: self.recorded.1,
            ended,
        });
        (self.deeds, self.recorded) = (Deeds::default(), (Instant::now(), SystemTime::now()));
    }
}

impl Handler for Session {
    type Engine = Engine;

    async fn on_event(&mut self, engine: &mut Engine, event: ServerEvent) -> Result<(), CloseReason> {
        match event {
            ServerEvent::Challenge(challenge) => self.judge(engine, challenge).await,
            ServerEvent::Unauthenticated(what) => {
                self.shared.metrics.refused(RefusalReason::Unauthenticated);
                let words = format_args!("refused {what}: the peer has proven no identity");
                let kind = RefusalReason::Unauthenticated.name();
                self.shared.audit.refused(kind, None, self.peer, &words.to_string());
                if self.shared.repeats.is_said(Loudness::Warn, kind, self.peer, &words) {
                    warn!(peer = %self.peer, "{words}");
                }
                Ok(())
            }
            ServerEvent::UploadPiece(piece) => self.pushed(engine, piece).await,
            ServerEvent::UploadEnd => self.push_ended(engine).await,
            ServerEvent::Request(request) => {
                if !matches!(request, Request::Upload { .. }) {
                    // Requests are answered in their order.
                    self.work_off_uploads(engine).await?;
                    if engine.is_closing() {
                        return Ok(());
                    }
                }
                if self.channel.is_none() {
                    self.admit(engine, self.agreed);
                }
                self.heard_request();
                self.settle_account(engine);
                if self.stranger.is_some() {
                    self.await_place(engine, &request).await?;
                }
                if let Some(seat) = &self.seat {
                    seat.touch();
                }
                if engine.is_closing() {
                    return Ok(());
                }
                if let Some(text) = self.refusal.clone() {
                    return self.refuse_request(engine, request, text);
                }
                self.answer(engine, request).await?;
                if self.shared.audit.is_due(self.recorded.0) {
                    self.leave_record(None);
                }
                self.close_when_drained(engine);
                Ok(())
            }
        }
    }

    async fn on_pause(&mut self, engine: &mut Engine) -> Result<(), CloseReason> {
        self.burst.ended();
        self.work_off_uploads(engine).await?;
        if let Some(seat) = &self.seat {
            seat.pauses(self.is_busy());
        }
        self.close_when_drained(engine);
        Ok(())
    }

    fn on_first_byte(
        &mut self,
        engine: &mut Engine,
        first: u8,
    ) -> Result<Option<Box<dyn Layer>>, CloseReason> {
        // The first byte of a frame is the highest of its length, which is 0.
        if first != TLS_HANDSHAKE {
            return Ok(None);
        }
        let Some(tls) = self.shared.tls() else {
            self.shared.metrics.refused(RefusalReason::Tls);
            let cure =
                "set spark.ssl.rpc.enabled=true here, or spark.ssl.rpc.enabled=false in the application";
            let words = format_args!("refused TLS, which this server does not speak: {cure}");
            self.shared.audit.refused(RefusalReason::Tls.name(), None, self.peer, &words.to_string());
            if self.shared.repeats.is_said(Loudness::Warn, RefusalReason::Tls.name(), self.peer, &words) {
                warn!(peer = %self.peer, "{words}");
            }
            return Err(CloseReason::Refused(format!("TLS, which is not configured: {cure}")));
        };
        engine.set_anonymous_frame(self.shared.limits.request_frame);
        let facts = Arc::default();
        self.tls = Some(Arc::clone(&facts));
        Ok(Some(Box::new(TlsLayer::server(tls.current(), facts)?)))
    }

    fn session_layer(&mut self, agreed: Agreement) -> Box<dyn Layer> {
        match agreed {
            Agreement::X25519(keys) => {
                // Spark puts its cipher outside TLS, next to the socket.
                let first = if self.tls.is_some() { FirstBytes::TlsRecord } else { FirstBytes::Frame };
                Box::new(AesSession::server(keys, first, Box::new(OsRandom)))
            }
            Agreement::Pbkdf2(keys) => Box::new(keys.into_layer(Role::Server)),
            Agreement::Sasl(keys) => {
                let max_block = self.shared.sasl.max_block.as_usize();
                Box::new(SaslLayer::new(keys, Role::Server, max_block))
            }
        }
    }

    fn on_mode(&mut self, engine: &mut Engine, mode: SessionMode) {
        self.admit(engine, Channel::aes(mode));
        self.listen_for_broken_gcm(engine, mode);
        self.settle_account(engine);
    }

    async fn wake(&mut self) {
        self.told().await;
    }

    fn on_wake(&mut self, engine: &mut Engine) {
        self.end_if_revoked(engine);
        self.draining = self.shared.draining.is_cancelled();
        self.gives_way = self.seat.as_ref().is_some_and(Seat::is_asked);
        self.close_when_drained(engine);
    }
}
