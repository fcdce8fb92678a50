//! The privacy layer: both directions of a connection as tokens, each with a MAC and a number.
//!
//! ```text
//! | i64 length, itself included | sealed( message | padding | mac (10) ) | 00 01 | u32 number |
//! ```
//!
//! The MAC is HMAC-MD5 over number and message, cut to 10 bytes. Padding, for block ciphers alone, is 1 to 8 bytes that
//! say how many they are. The cipher runs on from token to token: one chain, or one key stream, for each direction. So
//! a token that is dropped, repeated, moved or changed does not verify; the end of the stream is not authenticated.
//!
//! **What it is worth**: the MAC is computed first and encrypted with the message, so padding and MAC are checked
//! together, and one failure ends the connection, whose keys never come back. The ciphers are what they are; see
//! [`crate::crypto::des`] and [`crate::crypto::rc4`].
//!
//! Source: SaslEncryption, Spark 4.3.0, for length and block size; RFC 2831, section 2.4; DigestMD5Base.DigestPrivacy
//! of the JDK 17.

use bytes::{Buf, BytesMut};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};

use super::cipher::{MAC, Opener, SaslCipher, SaslKeys, Sealer};
use super::error::TokenError;
use crate::cipher::{CipherError, Layer, Layout, Role, Segment, check};
use crate::crypto::md5::HmacKey;

/// Bytes of a token, its length included, that are collected in memory at least: eight times what a JVM peer sends by
/// default. A layer that seals larger blocks takes larger ones, too.
pub const MAX_TOKEN: usize = 512 << 10;

/// Bytes of the length in front.
const LENGTH: usize = 8;
/// Type and number behind the sealed part.
const TRAILER: usize = 6;
/// The one message type.
const TYPE: u16 = 1;
/// Plaintext of a token, at most, whatever the configuration says.
const MAX_BLOCK: usize = 1 << 30;
/// Bytes that a token has besides its plaintext, at most.
const OVERHEAD: usize = LENGTH + 8 + MAC + TRAILER;

/// Both directions of a connection that was agreed to be `auth-conf`.
///
/// Seals one token per `max_block` bytes of a segment, and one for the rest. Opens any partition; one token waits in the
/// input until it is whole, since the MAC stands at its end.
///
/// **Usage limits**: a direction ends after 2^32 tokens, which is kept. The ciphers' own limits are not kept:
/// 32 GiB for either DES.
pub struct SaslLayer {
    cipher: SaslCipher,
    layout: Layout,
    max_token: usize,
    outbound: Direction<Sealer>,
    /// `None` after an error.
    inbound: Option<Direction<Opener>>,
}

impl SaslLayer {
    /// The layer of one end. `max_block` is the plaintext of one token, `spark.network.sasl.maxEncryptedBlockSize`;
    /// the peer's may be another.
    pub fn new(keys: SaslKeys, role: Role, max_block: usize) -> Self {
        let cipher = keys.cipher();
        let unit = max_block.clamp(1, MAX_BLOCK);
        // Behind a full block stands all of its token's end and the length of the next. The last token of a segment
        // has no such length behind it, which makes room for the longer padding that it may need.
        let tail = cipher.padding(unit) + MAC + TRAILER + LENGTH;
        let ((sign, seal), (verify, open)) = keys.into_ends(role);
        Self {
            cipher,
            layout: Layout { head: LENGTH, unit, tail },
            max_token: MAX_TOKEN.max(unit + OVERHEAD),
            outbound: Direction { mac: sign, crypt: seal, number: Some(0) },
            inbound: Some(Direction { mac: verify, crypt: open, number: Some(0) }),
        }
    }
}

impl Layer for SaslLayer {
    fn layout(&self) -> Layout {
        self.layout
    }

    /// DES runs at tens of MB/s, RC4 at hundreds.
    fn is_slow(&self) -> bool {
        matches!(self.cipher, SaslCipher::TripleDes | SaslCipher::Des)
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        check(segment, self.layout)?;
        let (memory, mut left) = segment.whole();
        let mut end = 0;
        while left > 0 {
            let plain = left.min(self.layout.unit);
            let padding = self.cipher.padding(plain);
            let len = LENGTH + plain + padding + MAC + TRAILER;
            self.outbound.seal(&mut memory[end..end + len], plain, padding)?;
            end += len;
            left -= plain;
        }
        segment.mark_sealed_short(end);
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        let mut inbound = self.inbound.take().ok_or(CipherError::Failed)?;
        loop {
            let Some(token) = take_token(input, self.max_token)? else {
                self.inbound = Some(inbound);
                return Ok(None);
            };
            let message = inbound.open(token)?;
            if !message.is_empty() {
                self.inbound = Some(inbound);
                return Ok(Some(message));
            }
        }
    }
}

impl std::fmt::Debug for SaslLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SaslLayer({}, redacted)", self.cipher)
    }
}

/// Takes one token off `input` if it is all there, and refuses a bad length as soon as it shows.
fn take_token(input: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, TokenError> {
    let Some(&length) = input.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let length = i64::from_be_bytes(length);
    let len = u64::try_from(length).map_err(|_| TokenError::Length(length))?;
    let too_long = TokenError::TooLong { len, max };
    let len = usize::try_from(len).ok().filter(|&len| len <= max).ok_or(too_long)?;
    if len < LENGTH {
        return Err(TokenError::Length(length));
    }
    if input.len() < len {
        return Ok(None);
    }
    let mut token = input.split_to(len);
    token.advance(LENGTH);
    Ok(Some(token))
}

/// One direction: its MAC key, its cipher, and the number of the next token, until they are used up.
struct Direction<C> {
    mac: HmacKey,
    crypt: C,
    number: Option<u32>,
}

impl<C> Direction<C> {
    fn take_number(&mut self) -> Result<u32, TokenError> {
        let number = self.number.ok_or(TokenError::Exhausted)?;
        self.number = number.checked_add(1);
        Ok(number)
    }

    /// The MAC over number and message.
    fn sign(&self, number: u32, message: &[u8]) -> [u8; MAC] {
        let tag = self.mac.tag(&[&number.to_be_bytes(), message]);
        *tag.first_chunk().expect("a digest has 16 bytes")
    }
}

impl Direction<Sealer> {
    /// Makes a token of `room`, in which `plain` bytes lie behind where the length goes.
    fn seal(&mut self, room: &mut [u8], plain: usize, padding: usize) -> Result<(), TokenError> {
        let number = self.take_number()?;
        let length = i64::try_from(room.len()).expect("a block is bounded");
        let (front, rest) = room.split_at_mut(LENGTH);
        front.copy_from_slice(&length.to_be_bytes());

        let (sealed, trailer) = rest.split_at_mut(plain + padding + MAC);
        let (message, rest) = sealed.split_at_mut(plain);
        let (pad, mac) = rest.split_at_mut(padding);
        pad.fill(u8::try_from(padding).expect("padding is a block at most"));
        mac.copy_from_slice(&self.sign(number, message));
        self.crypt.apply(sealed);

        trailer[..2].copy_from_slice(&TYPE.to_be_bytes());
        trailer[2..].copy_from_slice(&number.to_be_bytes());
        Ok(())
    }
}

impl Direction<Opener> {
    /// The message in a token, where it lies. A token without content carries an empty one, and no number.
    fn open(&mut self, mut token: BytesMut) -> Result<BytesMut, TokenError> {
        if token.is_empty() {
            return Ok(token);
        }
        let whole = token.len();
        let truncated = TokenError::Truncated(whole);
        let (sealed, &mut trailer) = token.split_last_chunk_mut::<TRAILER>().ok_or(truncated)?;
        let [kind @ .., n0, n1, n2, n3] = trailer;
        let (kind, theirs) = (u16::from_be_bytes(kind), u32::from_be_bytes([n0, n1, n2, n3]));
        if kind != TYPE {
            return Err(TokenError::Type(kind));
        }
        let ours = self.take_number()?;
        if theirs != ours {
            return Err(TokenError::Sequence { ours, theirs });
        }
        let len = match &self.crypt {
            Opener::Cbc(_) if !sealed.len().is_multiple_of(8) || sealed.len() < 16 => return Err(truncated),
            Opener::Rc4(_) if sealed.len() < MAC => return Err(truncated),
            Opener::Cbc(_) | Opener::Rc4(_) => sealed.len() - MAC,
        };
        self.crypt.apply(sealed);

        let (padded, mac) = sealed.split_at(len);
        let (padding, is_padded) = match self.crypt {
            Opener::Cbc(_) => padding(padded),
            Opener::Rc4(_) => (0, Choice::from(1)),
        };
        let message = len - usize::from(padding);
        let is_signed = self.sign(ours, &padded[..message]).ct_eq(mac);
        if !bool::from(is_padded & is_signed) {
            return Err(TokenError::NotVerified);
        }
        token.truncate(message);
        Ok(token)
    }
}

/// Bytes of padding at the end of `padded`, and whether they are all there and say so. Where not, some padding is
/// returned that is no longer than `padded`, so that the MAC can be computed all the same.
fn padding(padded: &[u8]) -> (u8, Choice) {
    let claimed = *padded.last().expect("a block has been required");
    let longest = u8::try_from(padded.len().min(8)).expect("8 fits a byte");
    let mut good = !claimed.ct_eq(&0) & !claimed.ct_gt(&longest);
    for (back, byte) in padded.iter().rev().take(8).enumerate() {
        let back = u8::try_from(back).expect("8 fits a byte");
        good &= !back.ct_lt(&claimed) | byte.ct_eq(&claimed);
    }
    (u8::conditional_select(&1, &claimed, good), good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn ends(cipher: SaslCipher) -> (Direction<Sealer>, SaslLayer) {
        let ha1 = Secret::new([7; 16]);
        let client = SaslKeys::derive(cipher, &ha1);
        let server = SaslKeys::derive(cipher, &ha1);
        (SaslLayer::new(client, Role::Client, 100).outbound, SaslLayer::new(server, Role::Server, 100))
    }

    fn token(cipher: SaslCipher, from: &mut Direction<Sealer>, message: &[u8]) -> Vec<u8> {
        let padding = cipher.padding(message.len());
        let mut room = vec![0; LENGTH + message.len() + padding + MAC + TRAILER];
        room[LENGTH..LENGTH + message.len()].copy_from_slice(message);
        from.seal(&mut room, message.len(), padding).unwrap();
        room
    }

    #[test]
    fn a_token_without_a_message_delivers_nothing_and_ends_nothing() {
        for cipher in SaslCipher::ALL {
            let (mut client, mut server) = ends(cipher);
            let messages: [&[u8]; 4] = [b"", b"", b"text", b""];
            let mut input = BytesMut::new();
            for message in messages {
                input.extend_from_slice(&token(cipher, &mut client, message));
            }
            assert_eq!(server.open(&mut input).unwrap().unwrap(), "text");
            assert!(server.open(&mut input).unwrap().is_none());
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_direction_ends_with_its_numbers() {
        let (mut client, mut server) = ends(SaslCipher::Rc4);
        client.number = Some(u32::MAX);
        server.inbound.as_mut().unwrap().number = Some(u32::MAX);
        let mut input = BytesMut::from(&token(SaslCipher::Rc4, &mut client, b"last")[..]);
        assert_eq!(server.open(&mut input).unwrap().unwrap(), "last");
        assert_eq!(client.seal(&mut [0; 100], 4, 0), Err(TokenError::Exhausted));
    }

    #[test]
    fn padding_is_what_the_rfc_says_and_nothing_else() {
        let good = |padded: &[u8]| {
            let (len, good) = padding(padded);
            assert!((1..=8).contains(&len) && usize::from(len) <= padded.len());
            bool::from(good).then_some(len)
        };
        assert_eq!(good(&[9, 9, 9, 9, 9, 1]), Some(1));
        assert_eq!(good(&[6; 6]), Some(6));
        assert_eq!(good(&[8; 14]), Some(8));
        assert_eq!(good(&[1, 2, 3, 4, 5, 3, 3, 3]), Some(3));
        assert_eq!(good(&[1, 2, 3, 4, 5, 3, 2, 3]), None);
        assert_eq!(good(&[0; 6]), None);
        assert_eq!(good(&[7; 6]), None);
        assert_eq!(good(&[9; 14]), None);
        assert_eq!(good(&[0xff; 14]), None);
    }
}
