//! Why a TLS connection failed, with a remedy. The error of rustls is the source.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// A TLS connection failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the ends refused the handshake, or a later record.
    #[error("{advice}")]
    Refused {
        /// The failure and its remedy.
        advice: String,
        /// The error of rustls.
        #[source]
        source: Error,
    },
    /// The peer's handshake message does not end.
    #[error("the peer's handshake message is not complete after {bytes} bytes: no real one is so long")]
    HandshakeTooLong {
        /// Number of bytes that have come.
        bytes: usize,
    },
}

/// The end that we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Server,
    Client,
}

impl Role {
    fn peer(self) -> &'static str {
        match self {
            Self::Server => "client",
            Self::Client => "server",
        }
    }
}

/// The kind of a failure, for callers that sort failures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsFault {
    /// One end does not accept the other's certificate, versions or suites.
    Refused,
    /// The bytes are not valid TLS at this point.
    NotTls,
    /// A record does not verify.
    Changed,
}

impl TlsError {
    /// The kind of this failure.
    pub fn fault(&self) -> TlsFault {
        match self {
            Self::HandshakeTooLong { .. } => TlsFault::NotTls,
            Self::Refused { source, .. } => match source {
                Error::DecryptError => TlsFault::Changed,
                Error::InvalidMessage(_)
                | Error::InappropriateMessage { .. }
                | Error::InappropriateHandshakeMessage { .. }
                | Error::PeerMisbehaved(_) => TlsFault::NotTls,
                _ => TlsFault::Refused,
            },
        }
    }

    pub(super) fn new(role: Role, source: Error) -> Self {
        Self::Refused { advice: advice(role, &source), source }
    }
}

/// Tells how to make a certificate that names its hosts; part of several texts.
pub(super) const HOW_TO_NAME: &str = "keytool -genkeypair … -ext SAN=dns:HOST,ip:ADDRESS, or openssl req -addext \
                                      subjectAltName=DNS:HOST,IP:ADDRESS";

fn advice(role: Role, error: &Error) -> String {
    let peer = role.peer();
    match error {
        Error::InvalidCertificate(certificate) => certificate_advice(role, certificate),
        Error::NoCertificatesPresented => format!(
            "the {peer} shows no certificate, and one is needed: give it a key and a certificate that our trusted \
             certificates vouch for, or ask for none with spark.sealed.tls.client-auth"
        ),
        Error::AlertReceived(alert) => alert_advice(peer, *alert),
        Error::PeerIncompatible(incompatible) => incompatible_advice(peer, incompatible),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::MessageTooLarge,
        ) => format!(
            "the {peer} does not speak TLS here: it answers without, or its port is another service's; compare \
             spark.ssl.rpc.enabled at both ends"
        ),
        Error::DecryptError => format!(
            "a record of the {peer}'s does not verify: it was changed on the way, or something else than TLS is spoken"
        ),
        other => format!("the connection to the {peer} failed: {other}"),
    }
}

fn certificate_advice(role: Role, error: &CertificateError) -> String {
    let peer = role.peer();
    match error {
        CertificateError::Expired => format!("the {peer}'s certificate has expired: renew it there"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the {peer}'s certificate expired on {}: renew it there", Date(*not_after))
        }
        CertificateError::NotValidYet => {
            format!("the {peer}'s certificate is not valid yet: compare the clocks of both machines")
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the {peer}'s certificate is not valid before {}: compare the clocks of both machines",
            Date(*not_before)
        ),
        CertificateError::UnknownIssuer => format!(
            "the {peer}'s certificate comes from no authority that is trusted here: put its authority's certificate \
             into the trust store or bundle, and have the {peer} send its intermediate certificates"
        ),
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the {peer}'s certificate names no host: it has a common name at most, which nobody reads any more, and no \
             subjectAltName; make it for {} ({HOW_TO_NAME})",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the {peer}'s certificate is not for {}, which was connected to, but for {}: connect by one of these, or \
             make one for it ({HOW_TO_NAME})",
            expected.to_str(),
            presented.join(", ")
        ),
        CertificateError::NotValidForName => {
            format!("the {peer}'s certificate is for another host: make one for it ({HOW_TO_NAME})")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => format!(
            "the {peer}'s certificate may not be used by a {peer}: its extendedKeyUsage lacks {}",
            match role {
                Role::Server => "clientAuth",
                Role::Client => "serverAuth",
            }
        ),
        CertificateError::BadSignature => format!(
            "the {peer}'s certificate, or its proof of the key, has a wrong signature: the authority of that name has \
             another key than the one that is trusted here"
        ),
        other => format!("the {peer}'s certificate cannot be used: {other}"),
    }
}

fn alert_advice(peer: &str, alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => format!(
            "the {peer} asks for a certificate and we have none: set a key and a certificate \
             (spark.ssl.rpc.keyStore, or spark.sealed.tls.bundle)"
        ),
        AlertDescription::UnknownCA => {
            format!("the {peer} does not trust the authority of our certificate: add it to its trust store")
        }
        AlertDescription::CertificateExpired => {
            format!("the {peer} says that our certificate has expired: renew it, and compare the clocks")
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => format!(
            "the {peer} refuses our certificate ({alert:?}): its log says why; a Spark client may lack our authority \
             in its trust store, or be a PEM client of 4.2 or 4.3 that needs the JVM option \
             io.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE"
        ),
        AlertDescription::ProtocolVersion => format!(
            "the {peer} speaks no version of TLS that we offer: Spark speaks 1.3 alone unless \
             spark.ssl.rpc.protocol says otherwise"
        ),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => format!(
            "the {peer} finds no cipher suite in common, or misses our certificate: compare \
             spark.ssl.rpc.enabledAlgorithms and spark.ssl.rpc.protocol at both ends"
        ),
        other => format!("the {peer} ended the connection with the TLS alert {other:?}: its log says why"),
    }
}

fn incompatible_advice(peer: &str, error: &PeerIncompatible) -> String {
    match error {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            format!(
                "the {peer} speaks no version of TLS that is enabled here: compare spark.ssl.rpc.protocol at both ends"
            )
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            format!(
                "no cipher suite in common with the {peer}: compare spark.ssl.rpc.enabledAlgorithms at both ends"
            )
        }
        other => format!("the {peer} offers nothing that we can use: {other:?}"),
    }
}

/// A point in time, to the second.
pub(super) struct Date(pub(super) UnixTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::date(Duration::from_secs(self.0.as_secs())))
    }
}
