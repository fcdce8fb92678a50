//! The arithmetic of DIGEST-MD5: HA1 from the secret, and from HA1 what either end shows to prove it.
//!
//! Source: RFC 2831, sections 2.1.2.1 and 2.1.3; SparkSaslServer, Spark 4.3.0, for the Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::cipher::{SaslCipher, SaslKeys};
use super::names::DIGEST_URI;
use crate::crypto::md5;
use crate::secret::{AppSecret, Secret};

/// Hexadecimal digits of a digest.
pub(super) const HEX: usize = 2 * md5::DIGEST;

/// The only nonce count there is: nobody authenticates twice with one nonce.
pub(super) const NONCE_COUNT: &str = "00000001";

/// Bytes of input behind which Netty's Base64 breaks the line, having written 76 characters.
const LINE: usize = 57;

/// The protection that both ends agreed on.
#[derive(Debug)]
pub enum Protection {
    /// Authenticated only: the bytes behind it are neither sealed nor protected from changes.
    Auth,
    /// Everything that follows is sealed, by a [`SaslLayer`](super::SaslLayer) with these keys.
    Conf(SaslKeys),
}

/// The protection that a response asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Qop {
    Auth,
    Conf(SaslCipher),
}

impl Qop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Conf(_) => "auth-conf",
        }
    }
}

/// The inputs of the digests. HA1 is as good as the secret, for this connection.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    ha1: Secret<{ md5::DIGEST }>,
    nonce: &'a [u8],
    cnonce: &'a [u8],
    qop: Qop,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        secret: &AppSecret,
        user: &[u8],
        realm: &[u8],
        nonce: &'a [u8],
        cnonce: &'a [u8],
        qop: Qop,
    ) -> Self {
        let account = md5::hash(&[user, b":", realm, b":", &password(secret)]);
        let ha1 = md5::hash(&[account.as_bytes(), b":", nonce, b":", cnonce]);
        Self { ha1, nonce, cnonce, qop }
    }

    /// The client's proof.
    pub(super) fn response(&self) -> [u8; HEX] {
        self.digest(b"AUTHENTICATE")
    }

    /// The server's proof.
    pub(super) fn answer(&self) -> [u8; HEX] {
        self.digest(b"")
    }

    /// The protection that follows, once both have shown their proof.
    pub(super) fn protection(&self) -> Protection {
        match self.qop {
            Qop::Auth => Protection::Auth,
            Qop::Conf(cipher) => Protection::Conf(SaslKeys::derive(cipher, &self.ha1)),
        }
    }

    fn digest(&self, method: &[u8]) -> [u8; HEX] {
        let no_body: &[u8] = match self.qop {
            Qop::Auth => b"",
            Qop::Conf(_) => b":00000000000000000000000000000000",
        };
        let ha2 = md5::hash(&[method, b":", DIGEST_URI, no_body]);
        let shown = md5::hash(&[
            &*hex(&self.ha1),
            b":",
            self.nonce,
            b":",
            NONCE_COUNT.as_bytes(),
            b":",
            self.cnonce,
            b":",
            self.qop.name().as_bytes(),
            b":",
            &*hex(&ha2),
        ]);
        *hex(&shown)
    }
}

/// The secret as both ends feed it to the digest: Base64, with a line feed behind every 76 characters that others
/// follow. The memory is allocated once, so that nothing of it is left behind by growing.
fn password(secret: &AppSecret) -> Zeroizing<Vec<u8>> {
    let secret = secret.as_bytes();
    let lines = secret.len().div_ceil(LINE);
    let mut text = Zeroizing::new(vec![b'\n'; secret.len().div_ceil(3) * 4 + lines.saturating_sub(1)]);
    for (line, room) in secret.chunks(LINE).zip(text.chunks_mut(LINE / 3 * 4 + 1)) {
        STANDARD.encode_slice(line, room).expect("57 bytes are a line of 76 characters");
    }
    text
}

fn hex(digest: &Secret<{ md5::DIGEST }>) -> Zeroizing<[u8; HEX]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new([0; HEX]);
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest.as_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::names::{REALM, USER};

    fn password_of(secret: &str) -> String {
        String::from_utf8(password(&AppSecret::new(secret.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn a_password_breaks_lines_only_where_more_follows() {
        assert_eq!(password_of(""), "");
        assert_eq!(password_of("secret"), "c2VjcmV0");
        let line = "a2tr".repeat(19);
        assert_eq!(password_of(&"k".repeat(57)), line);
        assert_eq!(password_of(&"k".repeat(58)), format!("{line}\naw=="));
        assert_eq!(password_of(&"k".repeat(114)), format!("{line}\n{line}"));
        assert_eq!(
            password_of(&"0123456789abcdef".repeat(4)),
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4\nOWFiY2RlZg=="
        );
    }

    #[test]
    fn ha1_is_sparks() {
        for (secret, nonce, cnonce, ha1) in [
            (
                "secret",
                "YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS",
                "gnwVzhh0azWJNYeuoT7vwwUmLGT9FBP5VvvvJVZE",
                "fcd68a2f1dda3e0842a8455c2b0cb913",
            ),
            (
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "nF63pF/b72i+IZlA7R58oMyhvyLJFitS8OGcnBCa",
                "LFKygW9jYgFnPoPFXG0CnxKKQp8hiuHr7q+Dpoxq",
                "62a4ad76920301f2ebb9cdd27ffbaf91",
            ),
        ] {
            let secret = AppSecret::new(secret.to_owned());
            let (nonce, cnonce) = (nonce.as_bytes(), cnonce.as_bytes());
            let exchange = Exchange::new(&secret, USER, REALM, nonce, cnonce, Qop::Auth);
            assert_eq!(hex(&exchange.ha1)[..], *ha1.as_bytes());
        }
    }
}
