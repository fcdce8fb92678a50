//! The facts of a certificate that an operator wants to know.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::{Certificate, Version};

/// Part of every name that `certs dev` makes. Certificates of `certs dev` are recognized by it.
pub(super) const DEVELOPMENT: &str = "Sealed Shuffle development (not for production)";

/// A certificate in a few words, for logs and reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateSummary {
    /// The subject, as a distinguished name.
    pub subject: String,
    /// The issuer, as a distinguished name.
    pub issuer: String,
    /// The hosts and addresses of the subjectAltName; empty where there is none.
    pub names: Vec<String>,
    /// The first moment of validity, in time since 1970.
    pub not_before: Duration,
    /// The last moment of validity, in time since 1970.
    pub not_after: Duration,
    /// SHA-256 over the whole certificate, in hexadecimal.
    pub fingerprint: String,
    /// Whether `certs dev` made it.
    pub is_development: bool,
}

impl CertificateSummary {
    /// Parses a certificate; `None` where the bytes are none.
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let subject = body.subject().to_string();
        let issuer = body.issuer().to_string();
        let names = match body.get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        let is_development = subject.contains(DEVELOPMENT) || issuer.contains(DEVELOPMENT);
        Some(Self {
            subject,
            issuer,
            names,
            not_before: body.validity().not_before.to_unix_duration(),
            not_after: body.validity().not_after.to_unix_duration(),
            fingerprint: hexadecimal(&Sha256::digest(der)),
            is_development,
        })
    }

    /// How long it is still valid at `now`; `None` where it has expired.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.not_after.checked_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// `None` if the certificate is valid at `now`; otherwise a sentence about the date.
    pub fn out_of_date(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now > self.not_after {
            return Some(format!("it expired on {}", super::date(self.not_after)));
        }
        (now < self.not_before).then(|| format!("it is not valid before {}", super::date(self.not_before)))
    }
}

impl fmt::Display for CertificateSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for ", self.subject)?;
        match self.names.as_slice() {
            [] => f.write_str("no host (no subjectAltName)")?,
            names => f.write_str(&names.join(", "))?,
        }
        write!(f, ", by {:?}, until {}, ", self.issuer, super::date(self.not_after))?;
        write!(f, "sha256 {}", self.fingerprint)
    }
}

/// Whether it is of X.509 version 1, which has no extensions (RFC 5280, section 4.1.2.1).
pub(super) fn is_version_1(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).is_ok_and(|parsed| parsed.tbs_certificate().version() == Version::V1)
}

/// The key that it is about, as SubjectPublicKeyInfo in DER.
pub(super) fn public_key_of(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.tbs_certificate().subject_public_key_info().to_der().ok()
}

/// Whether subject and issuer are the same. It is then an authority's own certificate, or one without an authority.
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    names_of(der).is_some_and(|(subject, issuer)| subject == issuer)
}

/// Subject and issuer in a form that can be compared.
pub(super) fn names_of(der: &CertificateDer<'_>) -> Option<(x509_cert::name::Name, x509_cert::name::Name)> {
    let certificate = Certificate::from_der(der).ok()?;
    let body = certificate.tbs_certificate();
    Some((body.subject().clone(), body.issuer().clone()))
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            four if four.len() == 4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(four).ok()?).to_string()),
            sixteen => Some(Ipv6Addr::from(<[u8; 16]>::try_from(sixteen).ok()?).to_string()),
        },
        _ => None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
