//! The questions of one way in, and what the answers mean.
//!
//! First what anybody could ask: a request without proof, and each handshake with a secret that was drawn just now and
//! cannot be right. A server that speaks a handshake refuses such a secret in its own words ("Authentication failed.",
//! AuthRpcHandler, Spark 2.4.8 to 4.3.0; "Mismatched response", DigestMD5Server of the JDK), one that does not says
//! something else. Only then the real secret, in the modes of the handshakes that are spoken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use sealed_shuffle_protocol::auth::legacy::{self, LegacySettings, ServerResponse};
use sealed_shuffle_protocol::auth::{AuthMessage, Initiator};
use sealed_shuffle_protocol::channel::{Channel, TlsVersion};
use sealed_shuffle_protocol::cipher::{BROKEN_GCM, SOUND_GCM, SessionCipher, SessionMode};
use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_protocol::ids::ExecutorId;
use sealed_shuffle_protocol::sasl::{self, Demand, Offer, SaslCipher};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, OpenBlocks, Strings};
use sealed_shuffle_transport::random::{OsRandom, random_bytes};
use sealed_shuffle_transport::seal::{Budget, SegmentPool};

use super::Probe;
use super::report::{Observation, Peer, Verdict, WrongSecret, words};
use super::words::{clean, refuses_channel, refuses_proof, speaker};
use crate::connection::Connection;
use crate::{Address, ClientError, ErrorKind, Security, Settings};

/// The largest answer that is read: words with a stack trace.
const LARGEST_ANSWER: u64 = 256 << 10;

/// A connection's own deadlines come after the question's.
const GRACE: Duration = Duration::from_secs(1);

/// A message of no kind (BlockTransferMessage.Decoder, Spark 4.3.0, has no such number): a shuffle service opens blocks
/// of whom it does not know, and fails at the chunk only, but here it fails with its name in the stack trace.
const NO_MESSAGE: &[u8] = &[0x7f];

/// How frames reach the server.
pub(super) enum Way {
    /// As they are.
    Clear,
    /// In TLS.
    Tls {
        config: Arc<ClientConfig>,
        version: TlsVersion,
        suite: &'static str,
        /// Why the secret must not pass; `None` where the certificate verifies.
        unverified: Option<&'static str>,
    },
}

/// What was gathered so far.
pub(super) struct Evidence {
    pub(super) peer: Peer,
    pub(super) modes: Vec<Observation>,
    pub(super) wrong_secret: WrongSecret,
    pub(super) warnings: Vec<String>,
    /// The real secret is not the server's: it is not tried again.
    refused_secret: Option<Verdict>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            peer: Peer::Unknown,
            modes: Vec::new(),
            wrong_secret: WrongSecret::NotTested,
            warnings: Vec::new(),
            refused_secret: None,
        }
    }
}

/// Asks one server.
pub(super) struct Asker<'a> {
    probe: &'a Probe,
    server: &'a Address,
    settings: Settings,
    segments: SegmentPool,
    /// Asks for a block of an executor that does not exist.
    request: Bytes,
}

/// What came back.
enum Reply {
    Answer(Bytes),
    Words(String),
    /// The connection ended, or something came that is no answer.
    Nothing(ClientError),
    Silence,
}

/// Whether a handshake is spoken; where not, what is said of its modes.
enum Support {
    Yes,
    No(Verdict),
}

impl<'a> Asker<'a> {
    pub(super) fn new(probe: &'a Probe, server: &'a Address) -> Result<Self, ClientError> {
        let late = probe.timeout + GRACE;
        let mut settings = Settings::new(Security::Plaintext)
            .connect_timeout(late)
            .handshake_timeout(late)
            .answer_timeout(late);
        settings.limits.response_frame = LARGEST_ANSWER;
        let nobody = format!("probe-{:032x}", u128::from_be_bytes(random_bytes()?));
        let message = OpenBlocks {
            app: probe.app.clone(),
            executor: ExecutorId::new(nobody),
            blocks: Strings::try_from_iter(["shuffle_0_0_0"])?,
        };
        let request = BlockTransferMessage::from(message).encode()?;
        let segments = SegmentPool::new(Budget::new(8 << 20), 64 << 10, 2);
        Ok(Self { probe, server, settings, segments, request })
    }

    /// Every question, and an observation of every mode. The secret goes first where it is kept best.
    pub(super) async fn ask(&self, way: &Way, seen: &mut Evidence) -> Result<(), ClientError> {
        let first = seen.modes.len();
        let spoken = self.speaks_x25519(way, seen).await?;
        self.try_aes(way, seen, &spoken).await;

        let spoken = self.speaks_pbkdf2(way, seen).await?;
        let settings = self.probe.legacy;
        let verdict =
            self.attempt(way, seen, &spoken, |secret| Security::Legacy { secret, settings }).await.0;
        self.note(way, seen, Channel::LEGACY, verdict);

        let (spoken, offer) = self.offers_sasl(way, seen).await?;
        self.try_sasl(way, seen, &spoken, &offer).await;

        let verdict = self.without_proof(way, seen).await;
        self.note(way, seen, Channel::PLAINTEXT, verdict);
        // Weakest first.
        seen.modes[first..].reverse();
        Ok(())
    }

    /// A request of somebody who proves nothing.
    async fn without_proof(&self, way: &Way, seen: &mut Evidence) -> Verdict {
        let heard = self.say(way, self.request.clone()).await;
        let verdict = self.judge(seen, heard);
        if verdict == Verdict::Accepted && seen.peer <= Peer::Spark {
            let heard = self.say(way, Bytes::from_static(NO_MESSAGE)).await;
            self.recognize(seen, heard);
        }
        verdict
    }

    /// What an answer to the request means.
    fn judge(&self, seen: &mut Evidence, heard: Reply) -> Verdict {
        match heard {
            Reply::Answer(_) => {
                seen.peer = seen.peer.max(Peer::Spark);
                Verdict::Accepted
            }
            Reply::Words(text) => {
                let kind = ClientError::Server { server: self.server.clone(), text: text.clone() }.kind();
                seen.peer = seen.peer.max(speaker(&text));
                if kind == ErrorKind::Refused { Verdict::Refused(clean(&text)) } else { Verdict::Accepted }
            }
            Reply::Nothing(error) => ended(&error),
            Reply::Silence => self.silence(),
        }
    }

    /// Learns from the answer to [`NO_MESSAGE`] who it is.
    fn recognize(&self, seen: &mut Evidence, heard: Reply) {
        if let Reply::Words(text) = heard {
            seen.peer = seen.peer.max(speaker(&text));
        }
    }

    /// What SASL's challenge offers, and what comes of a digest that is wrong.
    async fn offers_sasl(&self, way: &Way, seen: &mut Evidence) -> Result<(Support, Offer), ClientError> {
        let nothing = Offer { auth: false, ciphers: Vec::new() };
        let no = |verdict| Ok((Support::No(verdict), nothing.clone()));
        let (secret, app) = (wrong_secret()?, self.probe.app.clone());
        let wanted = Demand::Conf(SaslCipher::ALL.to_vec());
        let (client, start) = sasl::Client::start(app.clone(), Arc::clone(&secret), wanted, &mut OsRandom)?;
        let connection = match self.in_time(self.connect(way, Security::Plaintext)).await {
            Some(Ok(connection)) => connection,
            Some(Err(error)) => return no(ended(&error)),
            None => return no(self.silence()),
        };
        let challenge = match self.heard(&connection, start.encode()).await {
            Reply::Answer(challenge) => challenge,
            other => return no(self.no_handshake(seen, other)),
        };
        let offer = match sasl::offered(&challenge) {
            Ok(offer) => offer,
            Err(error) => return no(Verdict::NotSpoken(clean(&error.to_string()))),
        };
        let client = match offer.conf() {
            true => client,
            false => sasl::Client::start(app, secret, Demand::Auth, &mut OsRandom)?.0,
        };
        if let Ok((_, response)) = client.respond(&challenge) {
            match self.heard(&connection, response.encode()).await {
                Reply::Words(text) => {
                    seen.peer = seen.peer.max(speaker(&text));
                    seen.wrong_secret = seen.wrong_secret.max(WrongSecret::Refused);
                }
                Reply::Nothing(_) => seen.wrong_secret = seen.wrong_secret.max(WrongSecret::Refused),
                Reply::Answer(_) => seen.wrong_secret = WrongSecret::Answered,
                Reply::Silence => {}
            }
        }
        Ok((Support::Yes, offer))
    }

    async fn speaks_pbkdf2(&self, way: &Way, seen: &mut Evidence) -> Result<Support, ClientError> {
        let (app, settings) = (self.probe.app.clone(), LegacySettings::default());
        let (_, challenge) = legacy::Initiator::start(app, wrong_secret()?, settings, &mut OsRandom)?;
        let heard = self.say(way, challenge.encode()).await;
        Ok(self.speaks(seen, heard, |answer| ServerResponse::decode(answer).is_ok()))
    }

    async fn speaks_x25519(&self, way: &Way, seen: &mut Evidence) -> Result<Support, ClientError> {
        let (_, challenge) = Initiator::start(self.probe.app.clone(), wrong_secret()?, &mut OsRandom)?;
        let heard = self.say(way, challenge.encode()).await;
        Ok(self.speaks(seen, heard, |answer| AuthMessage::decode(answer).is_ok()))
    }

    /// What the answer to a challenge under a wrong secret shows.
    fn speaks(&self, seen: &mut Evidence, heard: Reply, is_response: impl Fn(&Bytes) -> bool) -> Support {
        match heard {
            Reply::Words(text) if refuses_proof(&text) => {
                seen.peer = seen.peer.max(speaker(&text));
                seen.wrong_secret = seen.wrong_secret.max(WrongSecret::Refused);
                Support::Yes
            }
            Reply::Answer(answer) if is_response(&answer) => {
                seen.wrong_secret = WrongSecret::Answered;
                Support::Yes
            }
            other => Support::No(self.no_handshake(seen, other)),
        }
    }

    /// Whatever is no word of the handshake.
    fn no_handshake(&self, seen: &mut Evidence, heard: Reply) -> Verdict {
        match heard {
            Reply::Answer(_) => Verdict::NotSpoken("it answers something else".into()),
            Reply::Words(text) => {
                seen.peer = seen.peer.max(speaker(&text));
                match refuses_channel(&text) {
                    true => Verdict::Refused(clean(&text)),
                    false => Verdict::NotSpoken(clean(&text)),
                }
            }
            Reply::Nothing(error) => ended(&error),
            Reply::Silence => self.silence(),
        }
    }

    async fn try_sasl(&self, way: &Way, seen: &mut Evidence, spoken: &Support, offer: &Offer) {
        let conf = SaslCipher::ALL.into_iter().map(|cipher| {
            let offered = offer.ciphers.contains(&cipher);
            (Channel::sasl_conf(cipher), Demand::Conf(vec![cipher]), offered)
        });
        let auth = std::iter::once((Channel::SASL, Demand::Auth, offer.auth));
        for (mode, wanted, offered) in conf.chain(auth) {
            let verdict = match spoken {
                Support::Yes if !offered => Verdict::NotSpoken("the server does not offer it".into()),
                _ => {
                    let sasl = |secret| Security::Sasl { secret, wanted, max_block: 64 << 10 };
                    self.attempt(way, seen, spoken, sasl).await.0
                }
            };
            self.note(way, seen, mode, verdict);
        }
    }

    async fn try_aes(&self, way: &Way, seen: &mut Evidence, spoken: &Support) {
        let mut verdicts = Vec::new();
        // Strongest first; a service of Spark takes one of them, which is not negotiated.
        for mode in SessionMode::all().rev() {
            let aes = |secret| Security::Aes { secret, mode };
            let (verdict, connection) = self.attempt(way, seen, spoken, aes).await;
            if let (SessionCipher::Gcm, Some(connection)) = (mode.cipher, connection) {
                self.ask_again(&connection, mode, seen).await;
            }
            verdicts.push((mode, verdict));
        }
        let one_is_spoken = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Accepted);
        // Ours takes all of them, so that silence proves nothing there.
        let takes_one = one_is_spoken && seen.peer != Peer::Ours;
        for (mode, verdict) in verdicts {
            // Spark's services take one cipher and engine version, and wait or hang up on the others.
            let verdict = match verdict {
                Verdict::Unclear(why) if takes_one => Verdict::NotSpoken(why),
                other => other,
            };
            self.note(way, seen, Channel::aes(mode), verdict);
        }
    }

    /// A broken AES-GCM loses everything behind the first message.
    async fn ask_again(&self, connection: &Connection, mode: SessionMode, seen: &mut Evidence) {
        if matches!(self.heard(connection, self.request.clone()).await, Reply::Nothing(_) | Reply::Silence) {
            seen.warnings.push(format!(
                "{mode} answers one request and no second: the broken AES-GCM of Spark {BROKEN_GCM}; move to {SOUND_GCM}, \
                 or set spark.network.crypto.cipher=AES/CTR/NoPadding"
            ));
        }
    }

    /// A handshake under the real secret, if that may be tried, and a request after it; the connection too, where that
    /// was answered.
    async fn attempt(
        &self,
        way: &Way,
        seen: &mut Evidence,
        spoken: &Support,
        security: impl FnOnce(Arc<AppSecret>) -> Security,
    ) -> (Verdict, Option<Connection>) {
        let secret = match self.may_try(way, seen, spoken) {
            Ok(secret) => secret,
            Err(verdict) => return (verdict, None),
        };
        let opening = self.connect(way, security(secret));
        let connection = match self.in_time(opening).await {
            Some(Ok(connection)) => connection,
            Some(Err(error)) => return (unproven(&error, seen), None),
            None => return (self.silence(), None),
        };
        let verdict = match self.heard(&connection, self.request.clone()).await {
            // The handshake went well and the session did not.
            Reply::Nothing(error) => {
                Verdict::NotSpoken(format!("after the handshake: {}", clean(&reason(&error))))
            }
            other => self.judge(seen, other),
        };
        if verdict != Verdict::Accepted {
            return (verdict, None);
        }
        if seen.peer <= Peer::Spark {
            let heard = self.heard(&connection, Bytes::from_static(NO_MESSAGE)).await;
            self.recognize(seen, heard);
        }
        (verdict, Some(connection))
    }

    /// The real secret, or why it is not tried.
    fn may_try(&self, way: &Way, seen: &Evidence, spoken: &Support) -> Result<Arc<AppSecret>, Verdict> {
        if let Support::No(verdict) = spoken {
            return Err(verdict.clone());
        }
        let Some(secret) = &self.probe.secret else {
            return Err(Verdict::Skipped("spoken, and there is no secret to try it with".into()));
        };
        if let Way::Tls { unverified: Some(why), .. } = way {
            return Err(Verdict::Skipped((*why).to_owned()));
        }
        match &seen.refused_secret {
            Some(verdict) => Err(verdict.clone()),
            None => Ok(Arc::clone(secret)),
        }
    }

    /// One message on a connection of its own.
    async fn say(&self, way: &Way, body: Bytes) -> Reply {
        let saying = async {
            let connection = self.connect(way, Security::Plaintext).await?;
            connection.rpc(body).await
        };
        self.listen(saying).await
    }

    async fn heard(&self, connection: &Connection, body: Bytes) -> Reply {
        self.listen(connection.rpc(body)).await
    }

    async fn listen(&self, saying: impl Future<Output = Result<Bytes, ClientError>>) -> Reply {
        match self.in_time(saying).await {
            Some(Ok(answer)) => Reply::Answer(answer),
            Some(Err(ClientError::Server { text, .. })) => Reply::Words(text),
            Some(Err(error)) => Reply::Nothing(error),
            None => Reply::Silence,
        }
    }

    async fn connect(&self, way: &Way, security: Security) -> Result<Connection, ClientError> {
        let settings = Settings { security, ..self.settings.clone() };
        let tls = match way {
            Way::Clear => None,
            Way::Tls { config, .. } => Some(Arc::clone(config)),
        };
        Connection::open_within(tls, self.server, &self.probe.app, &settings, &self.segments).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.probe.timeout, work).await.ok()
    }

    fn silence(&self) -> Verdict {
        Verdict::Unclear(format!("no answer within {:?}", self.probe.timeout))
    }

    fn note(&self, way: &Way, seen: &mut Evidence, mode: Channel, verdict: Verdict) {
        let mode = match way {
            Way::Clear => mode,
            Way::Tls { version, suite, .. } => mode.inside(*version, suite),
        };
        tracing::debug!(server = %self.server, mode = words(&mode), verdict = verdict.label(), "probed");
        seen.modes.push(Observation { mode, verdict });
    }
}

/// A secret that nobody has.
fn wrong_secret() -> Result<Arc<AppSecret>, ClientError> {
    let random = [random_bytes::<16>()?, random_bytes::<16>()?];
    let text = random.map(|half| format!("{:032x}", u128::from_be_bytes(half))).concat();
    Ok(Arc::new(AppSecret::new(text)))
}

/// A connection that ended where an answer was due.
fn ended(error: &ClientError) -> Verdict {
    let text = clean(&reason(error));
    match error {
        ClientError::Handshake { reason, .. } | ClientError::Closed { reason, .. } => match **reason {
            CloseReason::HandshakeTimeout(_) | CloseReason::NoAnswer(..) => Verdict::Unclear(text),
            _ => Verdict::NotSpoken(text),
        },
        _ => Verdict::Unclear(text),
    }
}

/// A handshake under the real secret that did not end well, of a kind that the server speaks.
fn unproven(error: &ClientError, seen: &mut Evidence) -> Verdict {
    let ClientError::Handshake { reason: why, .. } = error else { return ended(error) };
    match &**why {
        CloseReason::HandshakeRefused(text) if refuses_proof(text) => {
            let verdict = Verdict::Unclear(format!(
                "our secret is refused, or the application unknown there ({})",
                clean(text)
            ));
            seen.refused_secret.get_or_insert(verdict).clone()
        }
        CloseReason::HandshakeRefused(text) => Verdict::Refused(clean(text)),
        CloseReason::Handshake(_) | CloseReason::LegacyHandshake(_) | CloseReason::HandshakeAnswer(_) => {
            Verdict::Unclear(format!(
                "its answer does not verify under our secret ({})",
                clean(&why.to_string())
            ))
        }
        CloseReason::SaslHandshake(_) => Verdict::Unclear(clean(&why.to_string())),
        _ => ended(error),
    }
}

/// Why, without the advice that is meant for clients.
fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Handshake { reason, .. } | ClientError::Closed { reason, .. } => reason.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::ids::AppId;

    use super::*;

    #[test]
    fn the_application_of_a_probe_is_named_in_its_request() {
        let probe = Probe { app: AppId::new("app-7"), ..Probe::default() };
        let server = Address::new("h", 1);
        let asker = Asker::new(&probe, &server).unwrap();
        match BlockTransferMessage::decode(asker.request).unwrap() {
            BlockTransferMessage::OpenBlocks(OpenBlocks { app, executor, .. }) => {
                assert_eq!(app.as_str(), "app-7");
                assert!(executor.as_str().starts_with("probe-"));
            }
            other => panic!("{}", other.name()),
        }
    }
}
