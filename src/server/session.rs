//! One connection: who the peer is, which channel it uses, which streams it holds.
//!
//! Identity and channel are checked here, in one place each, before any request is looked at.

use std::net::SocketAddr;
use std::sync::Arc;

use sealed_shuffle_protocol::auth::{AuthMessage, Responder, SessionKeys};
use sealed_shuffle_protocol::cipher::{AesSession, FirstBytes, Layer, SessionMode};
use sealed_shuffle_protocol::connection::{CloseReason, Identity, Request, ServerConnection, ServerEvent};
use sealed_shuffle_protocol::ids::AppId;
use tracing::{debug, warn};

use super::Shared;
use super::applications::Seen;
use super::streams::Streams;
use crate::disk::Proof;
use crate::keys::Watched;
use crate::random::OsRandom;
use crate::seal::Body;
use crate::telemetry::{Channel, Refusal, SecretUsed};
use crate::wire::Handler;

/// The engine of a served connection.
pub(super) type Engine = ServerConnection<Body>;

/// One served connection.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) streams: Streams,
    pub(super) channel: Option<Channel>,
    /// The application of the last challenge, genuine or not; for the log.
    pub(super) claimed: Option<AppId>,
    /// What every request is answered with, where the channel is below the minimum.
    pub(super) refusal: Option<String>,
    /// The application's entry in the table, once it is known.
    pub(super) seen: Option<Seen>,
    /// The application's secret, as long as it is valid.
    pub(super) access: Option<Watched>,
    /// The server is stopping: streams that are open may finish.
    pub(super) draining: bool,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        let streams = Streams::new(shared.settings.limits.streams, shared.settings.limits.chunks);
        Self {
            shared,
            peer,
            streams,
            channel: None,
            claimed: None,
            refusal: None,
            seen: None,
            access: None,
            draining: false,
        }
    }

    /// How the connection is protected, as the metrics call it.
    pub(super) fn channel(&self) -> Channel {
        self.channel.unwrap_or(Channel::PLAINTEXT)
    }

    fn close_when_drained(&self, engine: &mut Engine) {
        if self.draining && self.streams.is_empty() {
            engine.close(CloseReason::ShuttingDown);
        }
    }

    async fn judge(&mut self, engine: &mut Engine, challenge: &AuthMessage) -> Result<(), CloseReason> {
        let app = challenge.app_id();
        self.claimed = Some(app.clone());
        let secrets = match self.shared.secrets.of(app).await.found() {
            Ok(secrets) => secrets,
            Err(reason) => return self.refuse_challenge(engine, app, reason),
        };
        let mut failed = None;
        for (secret, used) in secrets.iter().zip([SecretUsed::Current, SecretUsed::Previous]) {
            match Responder::respond(challenge, secret, &mut OsRandom) {
                Ok((answer, keys)) => {
                    self.proven(app, used);
                    return engine.accept(&answer, keys);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let reason = failed.map_or_else(|| "there is no secret".to_owned(), |error| error.to_string());
        self.refuse_challenge(engine, app, reason)
    }

    /// "Unknown application" and "wrong secret" read the same to the peer (AuthRpcHandler, Spark 4.3.0).
    fn refuse_challenge(
        &mut self,
        engine: &mut Engine,
        app: &AppId,
        reason: String,
    ) -> Result<(), CloseReason> {
        self.shared.metrics.refused(Refusal::Authentication);
        self.shared.applications.refused(app, None, self.peer.ip(), &reason);
        warn!(
            peer = %self.peer, %app, reason,
            "refused a handshake; is spark.authenticate.secret the same here and in the application?"
        );
        let text = "java.lang.IllegalArgumentException: Authentication failed.";
        engine.refuse(text, format!("handshake for application {app}: {reason}"))
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

    /// Whether the peer may speak for `app`; the text is what it reads where it may not.
    pub(super) fn authorize(&mut self, engine: &Engine, app: &AppId) -> Result<Proof, String> {
        match engine.identity() {
            Some(Identity::Proven(proven)) if proven == app => Ok(Proof::Proven),
            Some(Identity::Proven(proven)) => {
                self.shared.metrics.refused(Refusal::Application);
                warn!(peer = %self.peer, %proven, %app, "refused a message for another application");
                Err(format!(
                    "java.lang.SecurityException: Client for {proven} not authorized for application {app}."
                ))
            }
            Some(Identity::Anonymous) if self.shared.store.executors().proof(app) == Some(Proof::Proven) => {
                self.shared.metrics.refused(Refusal::Application);
                warn!(peer = %self.peer, %app, "refused a peer without identity: the application was registered with one");
                Err(format!(
                    "java.lang.SecurityException: Application {app} was registered with authentication, \
                     and this connection proved no identity: set spark.authenticate=true."
                ))
            }
            Some(Identity::Anonymous) => self.admit_unproven(app).map(|()| Proof::Unproven),
            None => Err("java.lang.SecurityException: Unauthenticated call.".to_owned()),
        }
    }
}

impl Handler for Session {
    type Engine = Engine;

    async fn on_event(&mut self, engine: &mut Engine, event: ServerEvent) -> Result<(), CloseReason> {
        match event {
            ServerEvent::Challenge(challenge) => self.judge(engine, &challenge).await,
            ServerEvent::Unauthenticated(what) => {
                self.shared.metrics.refused(Refusal::Unauthenticated);
                warn!(peer = %self.peer, "refused {what}: the peer has proven no identity");
                Ok(())
            }
            ServerEvent::Request(request) => {
                if self.channel.is_none() {
                    self.admit(engine, Channel::PLAINTEXT);
                }
                if let Some(text) = self.refusal.clone() {
                    return self.refuse_request(engine, request, text);
                }
                self.answer(engine, request).await?;
                self.close_when_drained(engine);
                Ok(())
            }
        }
    }

    fn session_layer(&mut self, keys: SessionKeys) -> Box<dyn Layer> {
        Box::new(AesSession::server(keys, FirstBytes::Frame, Box::new(OsRandom)))
    }

    fn on_mode(&mut self, engine: &mut Engine, mode: SessionMode) {
        debug!(peer = %self.peer, identity = ?engine.identity(), %mode, "session established");
        self.admit(engine, Channel::aes(mode));
    }

    async fn wake(&mut self) {
        self.told().await;
    }

    fn on_wake(&mut self, engine: &mut Engine) {
        self.end_if_revoked(engine);
        self.draining = self.shared.draining.is_cancelled();
        self.close_when_drained(engine);
    }
}
