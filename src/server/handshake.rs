//! Judging who a peer is, whichever handshake it speaks.
//!
//! The engine says what arrived, the secrets say who may be believed, and what a handshake shows of the channel is
//! judged with it: a peer of SASL below the minimum is refused as the answer to its last message, where its client
//! has a place for our words; all others when their first request arrives, in their own cipher.
//!
//! "Unknown application" and "wrong secret" read the same to the peer (AuthRpcHandler, Spark 4.3.0), and take as long.

use std::sync::Arc;

use sealed_shuffle_config::SaslSettings;
use sealed_shuffle_protocol::auth::legacy::{self, ClientChallenge};
use sealed_shuffle_protocol::auth::{AuthMessage, Responder};
use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};
use sealed_shuffle_protocol::connection::{Agreement, Challenge, CloseReason};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl::{self, Judgement, Offer, Protection, SaslCipher, SaslError, SaslMessage};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::random::{OsRandom, random_bytes};

use super::Failure;
use super::conversation::Conversation;
use super::refusals::Refusal;
use super::requests::HELD;
use super::session::{Engine, Session};
use crate::keys::Candidate;
use crate::telemetry::SecretUsed;

/// Why a peer did not prove itself: for our log, and where it broke a rule of SASL's the words that it reads.
struct ProofFailure {
    reason: String,
    text: Option<String>,
    /// It may do better later: its secret may be among the records that are waited for.
    may_pass: bool,
}

impl ProofFailure {
    fn because(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string(), text: None, may_pass: false }
    }

    fn sasl(error: &SaslError) -> Self {
        Self { reason: error.to_string(), text: Some(error.peer_text()), may_pass: false }
    }
}

/// What the challenge offers. Never less than any client of Spark's can take: what is not served is refused after the
/// last message, in words, where a client that finds nothing to its taste would only say so itself.
fn offer(settings: &SaslSettings) -> Offer {
    let ciphers =
        if settings.ciphers.is_empty() { SaslCipher::ALL.to_vec() } else { settings.ciphers.clone() };
    Offer { auth: true, ciphers }
}

/// Why a protection of `app` is not served, whatever the policy says of its channel.
fn refusal(
    settings: &SaslSettings,
    protection: &Protection,
    app: &AppId,
    level: SecurityLevel,
) -> Option<Refusal> {
    match protection {
        Protection::Auth if settings.always_encrypt => {
            Some(Refusal::SaslUnencrypted { app: app.clone(), level })
        }
        Protection::Conf(_) if settings.ciphers.is_empty() => {
            Some(Refusal::SaslCipher { app: app.clone(), level })
        }
        Protection::Auth | Protection::Conf(_) => None,
    }
}

/// What a peer reads whose application has no secret: what it would read with a wrong one.
fn words_without_secret(server: &sasl::Server, response: &SaslMessage) -> String {
    let Ok(nobodys) = random_bytes::<16>() else { return SaslError::WrongSecret.peer_text() };
    let nobodys = AppSecret::new(u128::from_be_bytes(nobodys).to_string());
    server.judge(response.token(), &nobodys).err().unwrap_or(SaslError::WrongSecret).peer_text()
}

impl Session {
    /// Takes one message of a handshake and answers it.
    pub(super) async fn judge(
        &mut self,
        engine: &mut Engine,
        challenge: Challenge,
    ) -> Result<(), CloseReason> {
        match (challenge, self.conversation.take()) {
            (Challenge::X25519(challenge), None) => self.judge_x25519(engine, &challenge).await,
            (Challenge::Pbkdf2(challenge), None) => self.judge_pbkdf2(engine, challenge).await,
            (Challenge::Sasl(start), None) => self.converse(engine, &start),
            (Challenge::Sasl(response), Some(conversation)) => {
                self.judge_sasl(engine, conversation, &response).await
            }
            (_, Some(conversation)) => {
                let unproven = ProofFailure::because("it changed from SASL to another handshake");
                self.refuse_handshake(engine, &conversation.app, unproven)
            }
        }
    }

    async fn judge_x25519(
        &mut self,
        engine: &mut Engine,
        challenge: &AuthMessage,
    ) -> Result<(), CloseReason> {
        let app = challenge.app_id().clone();
        let judged = self.prove(&app, |secret| {
            Responder::respond(challenge, secret, &mut OsRandom).map_err(ProofFailure::because)
        });
        match judged.await {
            Ok((answer, keys)) => engine.accept(app, &answer.encode(), Some(Agreement::X25519(keys))),
            Err(unproven) => self.refuse_handshake(engine, &app, unproven),
        }
    }

    async fn judge_pbkdf2(
        &mut self,
        engine: &mut Engine,
        challenge: ClientChallenge,
    ) -> Result<(), CloseReason> {
        let app = challenge.app_id().clone();
        self.claimed = Some(app.clone());
        // Before anything is derived: the channel of this handshake has one name, and not all policies let it in.
        let inside = self.within_tls(Channel::LEGACY);
        if !self.shared.policy().verdict(Some(&app), &inside).served
            && let Some(text) = self.judge_channel(Some(&app), Channel::LEGACY)
        {
            return engine.refuse(&text, text.clone());
        }
        let limits = self.shared.legacy_limits;
        if let Err(error) = limits.check(&challenge) {
            return self.refuse_handshake(engine, &app, ProofFailure::because(error));
        }
        let challenge = Arc::new(challenge);
        let lane = self.shared.derivations.clone();
        let judged = self.prove_slowly(&app, move |secret| {
            let (challenge, lane) = (Arc::clone(&challenge), lane.clone());
            async move {
                let judge =
                    move |_: &OnLane| legacy::Responder::respond(&challenge, &secret, &limits, &mut OsRandom);
                lane.run(judge).await.map_err(ProofFailure::because)?.map_err(ProofFailure::because)
            }
        });
        match judged.await {
            Ok((answer, keys)) => {
                // It is admitted with its first request: the challenge may be a recorded one.
                self.agreed = Channel::LEGACY;
                engine.accept(app, &answer.encode(), Some(Agreement::Pbkdf2(keys)))
            }
            Err(unproven) => self.refuse_handshake(engine, &app, unproven),
        }
    }

    /// The first message of SASL. The challenge is the same for every application, known or not.
    fn converse(&mut self, engine: &mut Engine, start: &SaslMessage) -> Result<(), CloseReason> {
        let app = start.app_id().clone();
        self.claimed = Some(app.clone());
        match sasl::Server::start(&offer(&self.shared.sasl), &mut OsRandom) {
            Ok((server, challenge)) => {
                self.conversation = Some(Conversation { app, server });
                engine.proceed(&challenge)
            }
            Err(error) => self.refuse_handshake(engine, &app, ProofFailure::sasl(&error)),
        }
    }

    async fn judge_sasl(
        &mut self,
        engine: &mut Engine,
        Conversation { app, server }: Conversation,
        response: &SaslMessage,
    ) -> Result<(), CloseReason> {
        let judged = self.prove(&app, |secret| {
            server.judge(response.token(), secret).map_err(|error| ProofFailure::sasl(&error))
        });
        let Judgement { answer, protection } = match judged.await {
            Ok(judged) => judged,
            Err(unproven) => {
                // Without a secret no other words than with a wrong one.
                let text = unproven.text.clone();
                let text = text.unwrap_or_else(|| words_without_secret(&server, response));
                return self.refuse_handshake(engine, &app, ProofFailure { text: Some(text), ..unproven });
            }
        };
        let channel = match &protection {
            Protection::Auth => Channel::SASL,
            Protection::Conf(keys) => Channel::sasl_conf(keys.cipher()),
        };
        self.claimed = Some(app.clone());
        // The policy's words come first: they ask for more.
        let inside = self.within_tls(channel);
        let is_served = self.shared.policy().verdict(Some(&app), &inside).served;
        let own = refusal(&self.shared.sasl, &protection, &app, inside.level).filter(|_| is_served);
        let text = match own {
            Some(own) => Some(self.refuse_sasl(&app, channel, &own)),
            None => self.judge_channel(Some(&app), channel),
        };
        if let Some(text) = text {
            return engine.refuse(&text, text.clone());
        }
        let agreed = match protection {
            Protection::Auth => None,
            Protection::Conf(keys) => Some(Agreement::Sasl(keys)),
        };
        engine.accept(app, &answer, agreed)?;
        // The proof answers our own nonce, so nobody else recorded it.
        self.settle_account(engine);
        Ok(())
    }

    /// Tries the secrets of `app`, the current one first, until one verifies; waits for others as long as for one that
    /// is not there yet.
    async fn prove<T>(
        &mut self,
        app: &AppId,
        judge: impl Fn(&AppSecret) -> Result<T, ProofFailure>,
    ) -> Result<T, ProofFailure> {
        self.prove_slowly(app, |secret| std::future::ready(judge(&secret))).await
    }

    /// The same where judging is left to another thread.
    async fn prove_slowly<T, F>(
        &mut self,
        app: &AppId,
        judge: impl Fn(Arc<AppSecret>) -> F,
    ) -> Result<T, ProofFailure>
    where
        F: Future<Output = Result<T, ProofFailure>>,
    {
        self.claimed = Some(app.clone());
        let shared = Arc::clone(&self.shared);
        let mut search = shared.applications.secrets().search(app, self.peer.ip());
        let mut first = None;
        loop {
            let Candidate { secret, is_current } = match search.next().await {
                Ok(candidate) => candidate,
                Err(reason) => {
                    let awaited = shared.awaited_store();
                    let awaited = awaited.filter(|_| shared.applications.secrets().are_handed_over());
                    if let Some(awaited) = awaited {
                        if awaited.opened_within(HELD).await {
                            search = shared.applications.secrets().search(app, self.peer.ip());
                            continue;
                        }
                        return Err(ProofFailure { may_pass: true, ..ProofFailure::because(reason) });
                    }
                    return Err(first.unwrap_or_else(|| ProofFailure::because(reason)));
                }
            };
            match judge(secret).await {
                Ok(judged) => {
                    self.proven(app, if is_current { SecretUsed::Current } else { SecretUsed::Previous });
                    return Ok(judged);
                }
                Err(unproven) => first = first.or(Some(unproven)),
            }
        }
    }

    /// The keys of SASL refuse what the policy would serve.
    fn refuse_sasl(&mut self, app: &AppId, channel: Channel, refusal: &Refusal) -> Failure {
        let channel = self.within_tls(channel);
        self.channel = Some(channel);
        self.shared.metrics.channel_known(channel);
        let text = self.refuse(refusal);
        self.shared.applications.usage().refused(app, Some(channel), self.peer.ip(), &text);
        text
    }

    fn refuse_handshake(
        &mut self,
        engine: &mut Engine,
        app: &AppId,
        ProofFailure { reason, text, may_pass }: ProofFailure,
    ) -> Result<(), CloseReason> {
        if may_pass {
            return Err(CloseReason::Starved { what: "the key of the recovery store", waited: HELD });
        }
        self.shared.applications.usage().refused(app, None, self.peer.ip(), &reason);
        let closing = format!("handshake for application {app}: {reason}");
        let text = self.refuse(&Refusal::Handshake { app: app.clone(), reason, text });
        engine.refuse(&text, closing)
    }
}
