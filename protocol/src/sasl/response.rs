//! The digest-response: how a client proves that it has the secret, and what it picked.
//!
//! ```text
//! charset=utf-8,username="…",realm="default",nonce="…",nc=00000001,cnonce="…",digest-uri="null/default",
//! maxbuf=65536,response=<32 hex>,qop=auth-conf,cipher="3des"
//! ```
//!
//! Source: RFC 2831, section 2.1.2; DigestMD5Server and DigestMD5Client of the JDK 17.

use bytes::Bytes;

use super::challenge::Challenge;
use super::cipher::SaslCipher;
use super::digest::{HEX, NONCE_COUNT, Qop};
use super::directives::{Directives, put_quoted};
use super::error::SaslError;
use super::names::{DIGEST_URI, REALM, USER};
use super::nonce::NONCE;

/// The longest response that is read: the JDK refuses from 4096 bytes on.
const MAX: usize = 4095;

/// A response that was received and answers the right challenge, in the right realm, for the right service. Not
/// verified yet.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) user: Vec<u8>,
    pub(super) cnonce: Vec<u8>,
    pub(super) qop: Qop,
    pub(super) response: Vec<u8>,
}

impl Response {
    pub(super) fn parse(token: &[u8], nonce: &[u8; NONCE]) -> Result<Self, SaslError> {
        if token.len() > MAX {
            return Err(SaslError::TokenTooLong { len: token.len(), max: MAX });
        }
        let directives = Directives::parse(token)?;
        directives.check_charset()?;
        directives.optional("maxbuf")?;
        if directives.optional("authzid")?.is_some() {
            return Err(SaslError::AuthorizationId);
        }
        let user = directives.required("username")?.to_vec();
        if directives.optional("realm")? != Some(REALM) {
            return Err(SaslError::Realm);
        }
        if directives.required("nonce")? != nonce {
            return Err(SaslError::Nonce);
        }
        if directives.optional("digest-uri")? != Some(DIGEST_URI) {
            return Err(SaslError::DigestUri);
        }
        let cipher = directives.optional("cipher")?;
        let qop = match directives.optional("qop")? {
            None | Some(b"auth") => Qop::Auth,
            Some(b"auth-conf") => {
                let name = cipher.ok_or(SaslError::Missing("cipher"))?;
                Qop::Conf(SaslCipher::named(name).ok_or(SaslError::CipherNotOffered)?)
            }
            Some(_) => return Err(SaslError::QopNotOffered { encrypted: true }),
        };
        let cnonce = directives.required("cnonce")?.to_vec();
        Ok(Self { user, cnonce, qop, response: directives.required("response")?.to_vec() })
    }
}

/// Spark's response to `challenge`.
pub(super) fn encode(challenge: &Challenge, cnonce: &[u8; NONCE], qop: Qop, response: &[u8; HEX]) -> Bytes {
    let mut out = Vec::with_capacity(512);
    if challenge.is_utf8 {
        out.extend_from_slice(b"charset=utf-8,");
    }
    put(&mut out, b"username=", USER);
    if let Some(realm) = &challenge.realm {
        put(&mut out, b"realm=", realm);
    }
    put(&mut out, b"nonce=", &challenge.nonce);
    out.extend_from_slice(format!("nc={NONCE_COUNT},").as_bytes());
    put(&mut out, b"cnonce=", cnonce);
    put(&mut out, b"digest-uri=", DIGEST_URI);
    out.extend_from_slice(b"maxbuf=65536,response=");
    out.extend_from_slice(response);
    out.extend_from_slice(format!(",qop={}", qop.name()).as_bytes());
    if let Qop::Conf(cipher) = qop {
        out.extend_from_slice(format!(",cipher=\"{cipher}\"").as_bytes());
    }
    out.into()
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    put_quoted(out, value);
    out.push(b',');
}
