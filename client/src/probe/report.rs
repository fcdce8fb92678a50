//! What the probe saw, and what follows from it.
//!
//! Invariants: every mode that this end can speak has one [`Observation`] for each way in (in clear, in TLS); all
//! words of the peer's went through [`clean`](super::words::clean).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::channel::{Channel, TlsVersion};
use sealed_shuffle_transport::tls::{CertificateSummary, date};
use serde_json::{Value, json};

use crate::Address;

/// Certificates that end sooner are warned about.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Everything that was seen of one server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// Where it was looked for.
    pub server: Address,
    /// Who seems to be there.
    pub peer: Peer,
    /// Every mode, weakest first, in clear and then in TLS.
    pub modes: Vec<Observation>,
    /// What it answers to a secret that cannot be right.
    pub wrong_secret: WrongSecret,
    /// TLS itself; `None` where it is not spoken.
    pub tls: Option<TlsReport>,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

/// One mode and what the server makes of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// The mode, in the words of the server's log and table of applications.
    pub mode: Channel,
    /// What came of it.
    pub verdict: Verdict,
}

/// What a server makes of a mode. Texts are its own words, or the reason.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Requests are answered.
    Accepted,
    /// It understands and says no.
    Refused(String),
    /// It does not speak that.
    NotSpoken(String),
    /// It may or may not: nothing came, or our own secret was not good enough to find out.
    Unclear(String),
    /// Not asked, although it might be accepted.
    Skipped(String),
}

/// What is at the other end, as far as its words tell; later ones are more telling.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Peer {
    /// Nothing that was understood.
    Unknown,
    /// Something that speaks TLS.
    Tls,
    /// Some Spark.
    Spark,
    /// This project's server.
    Ours,
    /// An RPC port of a driver, executor, Master or Worker.
    Rpc,
    /// The block port of a driver or executor.
    Executor,
    /// Spark's own shuffle service.
    ShuffleService,
}

/// What a server answers to a secret that cannot be right.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum WrongSecret {
    /// It had no occasion to.
    NotTested,
    /// It refuses.
    Refused,
    /// It goes on as if the secret were right.
    Answered,
}

/// TLS, from outside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsReport {
    /// Each version, newest first: the suite that was agreed on, or what came instead.
    pub versions: Vec<(TlsVersion, Result<&'static str, Verdict>)>,
    /// The certificates that were shown, the server's own first.
    pub chain: Vec<CertificateSummary>,
    /// Whether it asks for a certificate of ours.
    pub asks_certificate: bool,
    /// Whether the chain is what the configuration trusts, and for this name.
    pub trust: Trust,
}

/// Whether a certificate is one to believe.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Trust {
    /// It verifies, for the name that was connected to.
    Verified,
    /// It does not.
    Failed(String),
    /// The configuration trusts nobody yet.
    NotConfigured,
}

/// What follows for a minimum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// All that is accepted is good enough.
    Enough,
    /// Something weaker is accepted.
    Weaker(String),
    /// What was seen does not say.
    CannotTell(String),
}

impl ProbeReport {
    /// The weakest level that was accepted.
    pub fn weakest(&self) -> Option<SecurityLevel> {
        self.accepted().map(|mode| mode.level).min()
    }

    /// What the server makes of requests of somebody who proves nothing, in clear or in TLS; `None` where there is no
    /// TLS.
    pub fn without_identity(&self, in_tls: bool) -> Option<&Verdict> {
        let of = |mode: &Channel| mode.handshake.name() == "none" && mode.tls.is_some() == in_tls;
        self.modes.iter().find(|seen| of(&seen.mode)).map(|seen| &seen.verdict)
    }

    /// Holds it against a minimum.
    pub fn judge(&self, minimum: SecurityLevel) -> Judgement {
        if self.wrong_secret == WrongSecret::Answered {
            return Judgement::Weaker("a wrong secret is answered: whoever comes is let in".into());
        }
        if let Some(weakest) = self.weakest().filter(|level| *level < minimum) {
            return Judgement::Weaker(format!("{weakest} is accepted, below {minimum}"));
        }
        let open =
            self.modes.iter().filter(|seen| seen.mode.level < minimum).find_map(|seen| match &seen.verdict {
                Verdict::Unclear(why) | Verdict::Skipped(why) => Some((&seen.mode, why)),
                _ => None,
            });
        if let Some((mode, why)) = open {
            return Judgement::CannotTell(format!("{} may be accepted: {why}", words(mode)));
        }
        let understood = self.peer > Peer::Tls || self.accepted().next().is_some();
        if !understood {
            let what = if self.peer == Peer::Tls { "behind its TLS, " } else { "" };
            return Judgement::CannotTell(format!("{what}nothing that Spark or we say is understood"));
        }
        Judgement::Enough
    }

    /// Everything, under names that stay; `minimum` is what [`ProbeReport::judge`] gets.
    pub fn to_json(&self, minimum: SecurityLevel) -> Value {
        let (judgement, reason) = match self.judge(minimum) {
            Judgement::Enough => ("enough", None),
            Judgement::Weaker(why) => ("weaker", Some(why)),
            Judgement::CannotTell(why) => ("cannot tell", Some(why)),
        };
        let modes: Vec<_> = self.modes.iter().map(Observation::to_json).collect();
        let without_identity = |in_tls| self.without_identity(in_tls).map(Verdict::label);
        json!({
            "server": self.server.to_string(),
            "reachable": true,
            "peer": self.peer.label(),
            "minimum": minimum.name(),
            "judgement": judgement,
            "reason": reason,
            "weakest_accepted": self.weakest().map(SecurityLevel::name),
            "wrong_secret": self.wrong_secret.label(),
            "without_identity": { "clear": without_identity(false), "tls": without_identity(true) },
            "modes": modes,
            "tls": self.tls.as_ref().map(TlsReport::to_json),
            "warnings": self.warnings,
        })
    }

    /// What the operator should know, made of everything else.
    pub(super) fn warn(&mut self, now: SystemTime) {
        let mut warnings = Vec::new();
        if self.without_identity(false) == Some(&Verdict::Accepted) {
            warnings
                .push("plaintext is accepted, of anybody: nothing is proven and nothing hidden".to_owned());
        }
        let accepts = |level, handshake: &str| {
            self.accepted().any(|mode| mode.level == level && mode.handshake.name() == handshake)
        };
        if accepts(SecurityLevel::Plaintext, "sasl-digest-md5") {
            let cure = match self.peer {
                Peer::Ours => "raise spark.sealed.security.minimum at the server",
                _ => {
                    "set spark.network.crypto.enabled=true and spark.network.crypto.saslFallback=false at the server"
                }
            };
            warnings.push(format!("SASL without encryption is accepted: {cure}"));
        }
        if self.accepted().any(|mode| mode.level == SecurityLevel::SaslConf) {
            warnings.push("SASL's ciphers are accepted: 3DES, RC4 and DES protect little".to_owned());
        }
        if accepts(SecurityLevel::AesLegacy, "aes-pbkdf2") {
            warnings
                .push("the handshake of Spark 2.2 to 3.0 is accepted: it has no forward secrecy".to_owned());
        }
        if self.without_identity(true) == Some(&Verdict::Accepted) {
            warnings.push("inside TLS anybody is answered: nothing is proven but the server".to_owned());
        }
        if self.wrong_secret == WrongSecret::Answered {
            warnings.push("a wrong secret is answered".to_owned());
        }
        if let Some(tls) = &self.tls {
            tls.warn(now, &mut warnings);
        }
        self.warnings.splice(0..0, warnings);
    }

    fn accepted(&self) -> impl Iterator<Item = &Channel> {
        self.modes.iter().filter(|seen| seen.verdict == Verdict::Accepted).map(|seen| &seen.mode)
    }
}

impl Observation {
    fn to_json(&self) -> Value {
        json!({
            "level": self.mode.level.name(),
            "handshake": self.mode.handshake.name(),
            "cipher": self.mode.cipher,
            "tls": self.mode.tls.map(TlsVersion::name),
            "verdict": self.verdict.label(),
            "detail": self.verdict.detail(),
        })
    }
}

impl Verdict {
    /// A short fixed word.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::NotSpoken(_) => "not spoken",
            Self::Unclear(_) => "unclear",
            Self::Skipped(_) => "skipped",
        }
    }

    /// The words or the reason.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::Refused(text) | Self::NotSpoken(text) | Self::Unclear(text) | Self::Skipped(text) => {
                Some(text)
            }
        }
    }
}

impl Peer {
    /// A short fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Tls => "tls",
            Self::Spark => "spark",
            Self::Ours => "sealed-shuffle",
            Self::Rpc => "spark-rpc",
            Self::Executor => "spark-block-manager",
            Self::ShuffleService => "spark-shuffle-service",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "something unknown",
            Self::Tls => "something that speaks TLS",
            Self::Spark => "a Spark of unknown kind",
            Self::Ours => "a Sealed Shuffle server",
            Self::Rpc => "an RPC port of Spark",
            Self::Executor => "a block manager of Spark (executor or driver)",
            Self::ShuffleService => "Spark's shuffle service",
        })
    }
}

impl WrongSecret {
    /// A short fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotTested => "not tested",
            Self::Refused => "refused",
            Self::Answered => "answered",
        }
    }
}

impl TlsReport {
    fn warn(&self, now: SystemTime, warnings: &mut Vec<String>) {
        if let Some(leaf) = self.chain.first() {
            if let Some(sentence) = leaf.out_of_date(now) {
                warnings.push(format!("the certificate cannot be used: {sentence}"));
            } else if let Some(left) = left(leaf, now).filter(|left| *left < SOON) {
                warnings.push(format!("the certificate expires in {} days", left.as_secs() / 86_400));
            }
            if leaf.names.is_empty() {
                warnings.push(
                    "the certificate names no host (subjectAltName): clients that check names refuse it"
                        .into(),
                );
            }
            if leaf.is_development {
                warnings.push("the certificate was made by `certs dev`, for trying out".into());
            }
        }
        match &self.trust {
            Trust::Verified => {}
            Trust::Failed(why) => warnings.push(format!("the certificate is not believed: {why}")),
            Trust::NotConfigured => warnings.push(
                "the certificate was looked at and not verified: the configuration trusts nobody \
                 (spark.ssl.rpc.enabled, spark.ssl.rpc.trustStore)"
                    .into(),
            ),
        }
    }

    fn to_json(&self) -> Value {
        let now = SystemTime::now();
        let versions: Vec<_> = self
            .versions
            .iter()
            .map(|(version, seen)| match seen {
                Ok(suite) => {
                    json!({"version": version.name(), "verdict": "accepted", "suite": suite, "detail": null})
                }
                Err(verdict) => json!({
                    "version": version.name(), "verdict": verdict.label(), "suite": null,
                    "detail": verdict.detail(),
                }),
            })
            .collect();
        let chain: Vec<_> = self
            .chain
            .iter()
            .map(|certificate| {
                json!({
                    "subject": certificate.subject,
                    "issuer": certificate.issuer,
                    "names": certificate.names,
                    "not_before": date(certificate.not_before),
                    "not_after": date(certificate.not_after),
                    "days_left": left(certificate, now).map_or(0, |left| left.as_secs() / 86_400),
                    "sha256": certificate.fingerprint,
                    "development": certificate.is_development,
                })
            })
            .collect();
        let (trust, detail) = match &self.trust {
            Trust::Verified => ("verified", None),
            Trust::Failed(why) => ("failed", Some(why)),
            Trust::NotConfigured => ("not configured", None),
        };
        json!({
            "versions": versions,
            "asks_certificate": self.asks_certificate,
            "trust": { "verdict": trust, "detail": detail },
            "chain": chain,
        })
    }
}

/// A mode in words.
pub(super) fn words(mode: &Channel) -> String {
    format!("{} ({}, {})", mode.level, mode.handshake.name(), mode.cipher)
}

/// What is left of a certificate's validity.
fn left(certificate: &CertificateSummary, now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    certificate.not_after.checked_sub(now)
}
