//! What an observer of the wire must see of a mode: proof that two ends which understand each other speak as they
//! were told, and not in some other way that both have as well.
//!
//! Frames are those of Spark's `MessageEncoder`, the first body bytes those of `SaslMessage`, `ClientChallenge` and
//! `AuthMessage` (Spark 2.4.8 to 4.3.0); TLS records those of RFC 8446, section 5.1.

use super::proxy::{Recording, contains};
use crate::{
    modes::{Auth, Mode},
    oracle::CANARY,
};

/// Length, type, request id and body length of an RpcRequest.
const REQUEST_HEAD: usize = 21;

/// Checks one connection that began to work and over which blocks with canaries were fetched.
#[track_caller]
pub fn assert_looks_like(mode: &Mode, recording: &Recording) {
    let clear = contains(&recording.received, CANARY.as_bytes());
    assert_eq!(clear, !mode.is_sealed(), "canaries in clear on the wire in {mode}");
    if mode.tls.is_some() {
        for bytes in [&recording.sent, &recording.received] {
            assert_eq!(bytes.first(), Some(&0x16), "no TLS handshake at the beginning in {mode}");
            assert_eq!(
                is_tls_to_the_end(bytes),
                !mode.is_sealed_around_tls(),
                "TLS records to the end in {mode}"
            );
        }
        return;
    }
    let sent = &recording.sent;
    let first = sent.get(REQUEST_HEAD).copied();
    let expected = match mode.auth {
        Auth::None => None,
        Auth::Sasl | Auth::SaslConf(_) => Some(0xea),
        Auth::Legacy { .. } => Some(0xfa),
        Auth::X25519 { .. } => Some(0xfb),
    };
    if let Some(expected) = expected {
        assert_eq!(first, Some(expected), "the first request is no handshake of {mode}");
    }
    let tail = match mode.auth {
        Auth::Sasl => "qop=auth".to_owned(),
        Auth::SaslConf(cipher) => format!("qop=auth-conf,cipher=\"{}\"", cipher.name()),
        _ => return,
    };
    assert!(contains(sent, tail.as_bytes()), "the client did not ask for {tail} in {mode}");
    assert_eq!(contains(sent, b"auth-conf"), mode.auth != Auth::Sasl);
}

/// Whether the bytes are whole TLS records, the last one possibly cut.
fn is_tls_to_the_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [kind, 3, 0..=4, high, low, after @ ..] = rest {
        if !(0x14..=0x17).contains(kind) {
            return false;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).unwrap_or_default();
    }
    rest.len() < 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_records_from_what_is_around_them() {
        let records = [&[0x16, 3, 1, 0, 2, 9, 9][..], &[0x17, 3, 3, 0, 1, 9]].concat();
        assert!(is_tls_to_the_end(&records));
        assert!(is_tls_to_the_end(&records[..records.len() - 1]));
        assert!(!is_tls_to_the_end(&[&records[..], &[0x77, 1, 2, 3, 4, 5]].concat()));
    }
}
