//! One line: its place in the chain, and its seal.
//!
//! ```text
//! {"seq":N,"time":"…","what":"…", … ,"prev":"hash of the line before","mac":"…"}
//! hash = SHA-256 of the whole line, without its line break
//! mac  = HMAC-SHA256(lines key, all of the line before `,"mac":"`)
//! lines key, head key = HKDF-SHA256(ikm = data key, no salt, info = label ‖ which), 32 bytes each
//! ```

use hmac::{Hmac, KeyInit as _, Mac as _};
use sealed_shuffle_protocol::crypto::hkdf::derive;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_protocol::stored::envelope::DataKey;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Before what a sub-key is for.
const LABEL: &[u8] = b"sealed-shuffle audit trail, version 1: ";

/// What comes before the seal.
const MAC_BEGINS: &str = ",\"mac\":\"";

/// What comes behind it.
const MAC_ENDS: &str = "\"}";

/// Hexadecimal digits of a hash or a seal.
const DIGITS: usize = 64;

/// A hash of a line.
pub(super) type Hash = [u8; 32];

/// Where nothing was before.
pub(super) const NOTHING: Hash = [0; 32];

/// The keys that seal a trail.
#[derive(Debug)]
pub(super) struct AuditKey {
    lines: Secret<32>,
    head: Secret<32>,
}

/// What is sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sealed {
    Line,
    Head,
}

impl AuditKey {
    pub(super) fn derive(key: &DataKey) -> Self {
        let sub = |what: &[u8]| derive(key.as_bytes(), &[], &[LABEL, what]);
        Self { lines: sub(b"lines"), head: sub(b"head") }
    }

    /// Closes an object that lacks its last brace.
    pub(super) fn seal(&self, what: Sealed, mut open: String) -> String {
        let mac = hex(&self.mac(what, open.as_bytes()).finalize().into_bytes());
        open.push_str(MAC_BEGINS);
        open.push_str(&mac);
        open.push_str(MAC_ENDS);
        open
    }

    /// Whether the seal is ours.
    pub(super) fn verifies(&self, what: Sealed, line: &[u8]) -> bool {
        let Some((text, mac)) = parts(line) else { return false };
        self.mac(what, text).verify_slice(&mac).is_ok()
    }

    fn mac(&self, what: Sealed, text: &[u8]) -> Hmac<Sha256> {
        let key = match what {
            Sealed::Line => &self.lines,
            Sealed::Head => &self.head,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(text);
        mac
    }
}

/// The text that is sealed, and its seal.
fn parts(line: &[u8]) -> Option<(&[u8], Hash)> {
    let rest = line.strip_suffix(MAC_ENDS.as_bytes())?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let text = rest.strip_suffix(MAC_BEGINS.as_bytes())?;
    Some((text, parse_hex(std::str::from_utf8(mac).ok()?)?))
}

/// An object that lacks its last brace.
pub(super) fn open(seq: u64, time: &str, what: &str, fields: &Map<String, Value>, prev: &Hash) -> String {
    let mut text = format!("{{\"seq\":{seq},\"time\":{},\"what\":{}", Value::from(time), Value::from(what));
    for (name, value) in fields {
        text += &format!(",{}:{value}", Value::from(name.as_str()));
    }
    text += &format!(",\"prev\":\"{}\"", hex(prev));
    text
}

/// What a line says of its place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    /// The whole object.
    pub(super) object: Value,
}

/// Reads a line; `None` where it is none of ours.
pub(super) fn read(line: &[u8]) -> Option<Place> {
    parts(line)?;
    let object: Value = serde_json::from_slice(line).ok()?;
    let seq = object["seq"].as_u64()?;
    let prev = parse_hex(object["prev"].as_str()?)?;
    object["what"].as_str()?;
    Some(Place { seq, prev, object })
}

pub(super) fn hash_of(line: &[u8]) -> Hash {
    Sha256::digest(line).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}

pub(super) fn parse_hex(text: &str) -> Option<Hash> {
    // One spelling: a line has one form.
    if text.len() != DIGITS || !text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
        return None;
    }
    let mut hash = NOTHING;
    for (byte, at) in hash.iter_mut().zip((0..DIGITS).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> AuditKey {
        AuditKey::derive(&DataKey::new([byte; 32]))
    }

    #[test]
    fn no_byte_of_a_line_can_change() {
        let mut fields = Map::new();
        fields.insert("app".to_owned(), "a\"\n,\"mac\":\"".into());
        let line = key(1).seal(Sealed::Line, open(7, "2026-11-30T00:00:00Z", "read", &fields, &NOTHING));
        let place = read(line.as_bytes()).unwrap();
        assert_eq!((place.seq, place.prev), (7, NOTHING));
        assert_eq!(place.object["app"], "a\"\n,\"mac\":\"");
        assert!(key(1).verifies(Sealed::Line, line.as_bytes()));
        assert!(!key(2).verifies(Sealed::Line, line.as_bytes()), "another key");
        assert!(!key(1).verifies(Sealed::Head, line.as_bytes()), "a line is no head");
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            assert!(!key(1).verifies(Sealed::Line, &changed), "byte {at}");
        }
        assert!(!line.contains('\n'), "a text of a peer begins no line");
    }
}
