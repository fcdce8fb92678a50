//! The digest-challenge: a server's offer.
//!
//! ```text
//! realm="default",nonce="<40>",qop="auth-conf,auth",charset=utf-8,cipher="3des,rc4,des,rc4-56,rc4-40",algorithm=md5-sess
//! ```
//!
//! Source: RFC 2831, section 2.1.1; DigestMD5Server and DigestMD5Client of the JDK 17.

use bytes::Bytes;

use super::cipher::SaslCipher;
use super::directives::{Directives, put_quoted, words};
use super::error::SaslError;
use super::names::REALM;
use super::nonce::NONCE;

/// The longest challenge that is read: the JDK refuses from 2048 bytes on.
pub(super) const MAX: usize = 2047;

/// The protections that a server's challenge offers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// Authentication alone.
    pub auth: bool,
    /// Encryption with one of these. Empty: no encryption at all.
    pub ciphers: Vec<SaslCipher>,
}

impl Offer {
    /// All that there is, as Spark's server offers.
    pub fn everything() -> Self {
        Self { auth: true, ciphers: SaslCipher::ALL.to_vec() }
    }

    /// Whether encryption is offered.
    pub fn conf(&self) -> bool {
        !self.ciphers.is_empty()
    }

    /// The challenge, byte for byte Spark's but for what is not offered.
    pub(super) fn encode(&self, nonce: &[u8; NONCE]) -> Bytes {
        let mut out = b"realm=".to_vec();
        put_quoted(&mut out, REALM);
        out.extend_from_slice(b",nonce=");
        put_quoted(&mut out, nonce);
        out.extend_from_slice(b",qop=");
        let qops: &[u8] = match (self.conf(), self.auth) {
            (true, true) => b"auth-conf,auth",
            (true, false) => b"auth-conf",
            (false, _) => b"auth",
        };
        put_quoted(&mut out, qops);
        out.extend_from_slice(b",charset=utf-8");
        if self.conf() {
            out.extend_from_slice(b",cipher=");
            let offered = SaslCipher::ALL.into_iter().filter(|cipher| self.ciphers.contains(cipher));
            put_quoted(&mut out, offered.map(SaslCipher::name).collect::<Vec<_>>().join(",").as_bytes());
        }
        out.extend_from_slice(b",algorithm=md5-sess");
        out.into()
    }
}

/// The offer in a server's challenge: for diagnosis, without answering it.
pub fn offered(challenge: &[u8]) -> Result<Offer, SaslError> {
    let challenge = Challenge::parse(challenge)?;
    Ok(Offer { auth: challenge.auth, ciphers: challenge.ciphers()?.unwrap_or_default() })
}

/// A challenge that was received, as far as a client cares.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) nonce: Vec<u8>,
    /// Echoed, where there is one.
    pub(super) realm: Option<Vec<u8>>,
    pub(super) is_utf8: bool,
    pub(super) auth: bool,
    /// Whether auth-conf is offered; then there must be ciphers.
    conf: bool,
    ciphers: Option<Vec<SaslCipher>>,
}

impl Challenge {
    pub(super) fn parse(token: &[u8]) -> Result<Self, SaslError> {
        if token.len() > MAX {
            return Err(SaslError::TokenTooLong { len: token.len(), max: MAX });
        }
        let directives = Directives::parse(token)?;
        for once in ["maxbuf", "stale"] {
            directives.optional(once)?;
        }
        if directives.required("algorithm")? != b"md5-sess" {
            return Err(SaslError::Algorithm);
        }
        let qop = directives.optional("qop")?.unwrap_or(b"auth");
        let ciphers = directives.optional("cipher")?.map(|list| {
            SaslCipher::ALL
                .into_iter()
                .filter(|ours| words(list).any(|theirs| theirs == ours.name().as_bytes()))
        });
        Ok(Self {
            nonce: directives.required("nonce")?.to_vec(),
            realm: directives.optional("realm")?.map(<[u8]>::to_vec),
            is_utf8: directives.check_charset()?,
            auth: words(qop).any(|word| word == b"auth"),
            conf: words(qop).any(|word| word == b"auth-conf"),
            ciphers: ciphers.map(Iterator::collect),
        })
    }

    /// The ciphers of auth-conf, strongest first; `None` where it is not offered. Those that nobody knows are left out.
    pub(super) fn ciphers(&self) -> Result<Option<Vec<SaslCipher>>, SaslError> {
        if !self.conf {
            return Ok(None);
        }
        self.ciphers.clone().map(Some).ok_or(SaslError::Missing("cipher"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARKS: &str = "realm=\"default\",nonce=\"YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS\",\
                          qop=\"auth-conf,auth\",charset=utf-8,cipher=\"3des,rc4,des,rc4-56,rc4-40\",\
                          algorithm=md5-sess";
    const SPARKS_NONCE: &[u8; NONCE] = b"YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS";

    #[test]
    fn offering_everything_is_sparks_challenge() {
        assert_eq!(Offer::everything().encode(SPARKS_NONCE), SPARKS);
        assert_eq!(offered(SPARKS.as_bytes()).unwrap(), Offer::everything());
    }

    #[test]
    fn offering_less_changes_the_lists_alone() {
        let only_auth = Offer { auth: true, ciphers: Vec::new() };
        let without_lists =
            SPARKS.replace("auth-conf,auth", "auth").replace(",cipher=\"3des,rc4,des,rc4-56,rc4-40\"", "");
        assert_eq!(only_auth.encode(SPARKS_NONCE), without_lists);

        let unordered =
            Offer { auth: false, ciphers: vec![SaslCipher::Des, SaslCipher::Rc4, SaslCipher::Des] };
        let shorter =
            SPARKS.replace("auth-conf,auth", "auth-conf").replace("3des,rc4,des,rc4-56,rc4-40", "rc4,des");
        assert_eq!(unordered.encode(SPARKS_NONCE), shorter);
    }

    #[test]
    fn what_is_offered_reads_back() {
        for bits in 1..64_u32 {
            let ciphers = SaslCipher::ALL.into_iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            let offer = Offer { auth: bits & 32 != 0, ciphers: ciphers.map(|(_, cipher)| cipher).collect() };
            assert_eq!(offered(&offer.encode(SPARKS_NONCE)).unwrap(), offer);
        }
    }
}
