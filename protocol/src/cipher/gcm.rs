//! AES/GCM as Spark frames it: a sequence of self-contained messages of 32 KiB segments.
//!
//! ```text
//! | i64 L | u8 h | salt (N) | prefix (7) | segment 0 | segment 1 | … |
//! |         h = 1 + N + 7 bytes          |
//! |<--------------------------- L bytes -------------------------->|
//! ```
//!
//! N is the size of the session key. Key of a message: HKDF-SHA256(session key, salt, info = L as
//! 8 bytes). Segment i: AES-GCM without associated data under nonce `prefix | u32 i | u8 last`, 32,752 bytes
//! of plaintext and a tag; only the last is shorter. So a changed length changes the key, and a segment
//! that is moved, dropped or added does not verify.
//!
//! **What is not authenticated**: the end of the stream between two messages, and a message without
//! plaintext, which Spark 4.2.1 and later send for an empty block and which delivers nothing. Nor does the format bind
//! direction and order: both directions have one key, and a message opens wherever it stands. The salts say what the
//! format does not ([`Salts`]): a message of ours that comes back is refused, and so is one that a peer of Spark's sent
//! shortly before. Between two ends of this crate every message must stand in its place.
//!
//! Source: GcmTransportCipher, Spark 3.5.9 to 4.3.0, with the primitives of Tink's
//! AesGcmHkdfStreaming but not its layout.
//!
//! The releases of [`super::BROKEN_GCM`] have the same bytes but for two bugs: they take one message in each direction
//! and no more, and they compute L as if the header stood in segment 0, 16 too much where the last piece nearly fills its segment or is
//! missing. The second is how it is recognised here, in time to say so rather than to wait for 16 bytes that never come.

use bytes::{Buf, BytesMut};

use super::layer::{self, CipherError, Layer};
use super::role::Role;
use super::salts::{self, Salts};
use super::segment::{Layout, Segment};
use crate::crypto::gcm::{GcmKey, NONCE, TAG};
use crate::crypto::hkdf;
use crate::crypto::random::Random;
use crate::secret::Secret;

/// Plaintext bytes of every segment but the last.
const UNIT: usize = SEALED_UNIT - TAG;
/// The same, sealed.
const SEALED_UNIT: usize = 32 << 10;
/// Bytes of L.
const LENGTH: usize = 8;
/// Random start of the nonces of a message.
const PREFIX: usize = 7;
/// More than this may not be missing from a message: Spark counts in an i32.
const MAX_LENGTH: usize = 0x7fff_ffff;

/// Both directions of a connection, which share the session key.
///
/// Seals one message per segment. Opens any fragmentation, and releases every segment of a message as soon
/// as it has verified: at most one segment (32 KiB) waits in the input.
///
/// **Usage limits**: every message has a key of its own, from a salt that does not repeat, and at most 65,536 segments. A
/// session key makes one layer at each end. Besides the salt's first 16 bytes all of a header is drawn: the second half of
/// a salt of 32 bytes, and the prefix.
pub struct GcmLayer {
    key: SessionKey,
    salts: Salts,
    random: Box<dyn Random>,
    inbound: Inbound,
}

/// Which AES a GCM session uses: version 1 sessions have 256-bit keys, version 2 sessions 128.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GcmKeySize {
    /// 16 bytes of key, and of salt.
    Aes128,
    /// 32 bytes of key, and of salt.
    Aes256,
}

impl GcmKeySize {
    /// Bytes of the header h, itself included; a message says so at offset 8.
    pub fn header_len(self) -> u8 {
        match self {
            Self::Aes128 => 24,
            Self::Aes256 => 40,
        }
    }

    /// How a message lies around its plaintext.
    pub fn layout(self) -> Layout {
        Layout { head: LENGTH + usize::from(self.header_len()), unit: UNIT, tail: TAG }
    }
}

impl GcmLayer {
    /// AES-128: engine version 2.
    pub fn aes_128(key: Secret<16>, role: Role, random: Box<dyn Random>) -> Self {
        Self::new(SessionKey::Aes128(key), role, random)
    }

    /// AES-256: engine version 1.
    pub fn aes_256(key: Secret<32>, role: Role, random: Box<dyn Random>) -> Self {
        Self::new(SessionKey::Aes256(key), role, random)
    }

    fn new(key: SessionKey, role: Role, random: Box<dyn Random>) -> Self {
        Self { salts: Salts::new(key.as_bytes(), role), key, random, inbound: Inbound::Header }
    }
}

impl Layer for GcmLayer {
    fn layout(&self) -> Layout {
        self.key.size().layout()
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        layer::check(segment, self.layout())?;
        if segment.is_empty() {
            segment.mark_sealed();
            return Ok(());
        }
        let total = segment.sealed_len();
        if total > MAX_LENGTH {
            return Err(CipherError::MessageTooLong(total));
        }
        let length = u64::try_from(total).expect("checked to fit 31 bits").to_be_bytes();

        let parts = segment.parts();
        let (length_room, header) = parts.head.split_at_mut(LENGTH);
        length_room.copy_from_slice(&length);
        header[0] = self.key.size().header_len();
        let (start, rest) = header[1..].split_at_mut(salts::START);
        self.random.fill(rest)?;
        start.copy_from_slice(&self.salts.take()?);

        let (salt, prefix) = header[1..].split_at(header.len() - 1 - PREFIX);
        let key = self.key.message_key(salt, length);
        let mut nonces = Nonces::new(prefix);
        for unit in parts.units {
            let tag = key
                .seal(nonces.take(unit.is_last), &[], unit.plain)
                .expect("a unit is far below the bound of AES-GCM");
            unit.tail.copy_from_slice(&tag);
        }
        segment.mark_sealed();
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        // Whatever goes wrong leaves `Failed` behind.
        match std::mem::replace(&mut self.inbound, Inbound::Failed) {
            Inbound::Header => self.open_header(input),
            Inbound::Segments(message) => self.open_segment(message, input),
            Inbound::Failed => Err(CipherError::Failed),
        }
    }
}

impl GcmLayer {
    /// Takes headers off `input` until one announces a segment.
    fn open_header(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        loop {
            match self.key.parse_header(&mut self.salts, input)? {
                Header::Incomplete => {
                    self.inbound = Inbound::Header;
                    return Ok(None);
                }
                Header::Empty => {}
                Header::Message(message) => return self.open_segment(message, input),
            }
        }
    }

    /// Takes one segment off `input`, if it is all there.
    fn open_segment(
        &mut self,
        mut message: Message,
        input: &mut BytesMut,
    ) -> Result<Option<BytesMut>, CipherError> {
        let want = message.next_segment();
        if input.len() < want {
            message.refuse_broken_sender(input)?;
            self.inbound = Inbound::Segments(message);
            return Ok(None);
        }
        let mut piece = input.split_to(want);
        message.open(&mut piece)?;
        if message.missing > 0 {
            self.inbound = Inbound::Segments(message);
            return Ok(Some(piece));
        }
        if !piece.is_empty() {
            self.inbound = Inbound::Header;
            return Ok(Some(piece));
        }
        self.open_header(input)
    }
}

impl std::fmt::Debug for GcmLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GcmLayer({:?}, redacted)", self.key.size())
    }
}

/// Where the opener stands: it consumes a header whole, then segments whole.
enum Inbound {
    Header,
    Segments(Message),
    Failed,
}

/// A message whose header has been read.
struct Message {
    key: GcmKey,
    nonces: Nonces,
    /// L, as announced.
    length: u64,
    /// Sealed bytes that have not been consumed, in all segments together.
    missing: usize,
}

impl Message {
    /// Sealed bytes of the next segment.
    fn next_segment(&self) -> usize {
        self.missing.min(SEALED_UNIT)
    }

    /// Refuses a last segment that verifies without the 16 bytes that are still to come. Looked at only when just
    /// these are missing.
    fn refuse_broken_sender(&self, input: &[u8]) -> Result<(), CipherError> {
        if self.missing > SEALED_UNIT || input.len() + TAG != self.missing || input.len() <= TAG {
            return Ok(());
        }
        let mut copy = input.to_vec();
        let Some((text, tag)) = copy.split_last_chunk_mut::<TAG>() else { return Ok(()) };
        match self.key.open(self.nonces.at(true), &[], text, tag) {
            Ok(()) => Err(CipherError::BrokenSender(self.length)),
            Err(_) => Ok(()),
        }
    }

    /// Opens one sealed segment and cuts its tag off.
    fn open(&mut self, piece: &mut BytesMut) -> Result<(), CipherError> {
        self.missing -= piece.len();
        let segment = self.nonces.next;
        let nonce = self.nonces.take(self.missing == 0);
        let (text, tag) = piece
            .split_last_chunk_mut::<TAG>()
            .expect("the header is refused when a segment would be shorter than a tag");
        let text_len = text.len();
        self.key
            .open(nonce, &[], text, tag)
            .map_err(|source| CipherError::NotVerified { segment, source })?;
        piece.truncate(text_len);
        Ok(())
    }
}

/// A finding at the front of the input.
enum Header {
    Incomplete,
    Empty,
    Message(Message),
}

/// The nonces of one message: prefix, position, and whether it is the last.
struct Nonces {
    prefix: [u8; PREFIX],
    next: u32,
}

impl Nonces {
    fn new(prefix: &[u8]) -> Self {
        Self { prefix: prefix.try_into().expect("the header ends with the prefix"), next: 0 }
    }

    fn take(&mut self, is_last: bool) -> [u8; NONCE] {
        let nonce = self.at(is_last);
        self.next += 1;
        nonce
    }

    fn at(&self, is_last: bool) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..NONCE - 1].copy_from_slice(&self.next.to_be_bytes());
        nonce[NONCE - 1] = u8::from(is_last);
        nonce
    }
}

/// The session key, of either size.
enum SessionKey {
    Aes128(Secret<16>),
    Aes256(Secret<32>),
}

impl SessionKey {
    fn size(&self) -> GcmKeySize {
        match self {
            Self::Aes128(_) => GcmKeySize::Aes128,
            Self::Aes256(_) => GcmKeySize::Aes256,
        }
    }

    fn message_key(&self, salt: &[u8], length: [u8; LENGTH]) -> GcmKey {
        match self {
            Self::Aes128(key) => GcmKey::aes_128(hkdf::derive(key.as_bytes(), salt, &[&length]).as_bytes()),
            Self::Aes256(key) => GcmKey::aes_256(hkdf::derive(key.as_bytes(), salt, &[&length]).as_bytes()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Aes128(key) => key.as_bytes(),
            Self::Aes256(key) => key.as_bytes(),
        }
    }

    /// Takes one header off `input` if it is complete, and refuses a bad one as early as it shows.
    fn parse_header(&self, salts: &mut Salts, input: &mut BytesMut) -> Result<Header, CipherError> {
        let ours = self.size().header_len();
        let Some((&length, rest)) = input.split_first_chunk::<LENGTH>() else {
            return Ok(Header::Incomplete);
        };
        let missing = missing_after_header(i64::from_be_bytes(length), ours)?;
        let Some(&theirs) = rest.first() else {
            return Ok(Header::Incomplete);
        };
        if theirs != ours {
            return Err(CipherError::HeaderLength { ours, theirs });
        }
        let Some(header) = rest.get(..usize::from(ours)) else {
            return Ok(Header::Incomplete);
        };

        let found = if missing == 0 {
            Header::Empty
        } else {
            let (salt, prefix) = header[1..].split_at(usize::from(ours) - 1 - PREFIX);
            salts.admit(salt.first_chunk().expect("a salt has 16 bytes at least"))?;
            Header::Message(Message {
                key: self.message_key(salt, length),
                nonces: Nonces::new(prefix),
                length: u64::from_be_bytes(length),
                missing,
            })
        };
        input.advance(self.size().layout().head);
        Ok(found)
    }
}

/// Sealed bytes that follow the header of a message of `length` bytes; an error where no sender could
/// mean it.
fn missing_after_header(length: i64, header: u8) -> Result<usize, CipherError> {
    let front = LENGTH + usize::from(header);
    let missing = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(front))
        .filter(|&missing| missing <= MAX_LENGTH)
        .ok_or(CipherError::MessageLength(length))?;
    match missing % SEALED_UNIT {
        // A last segment without a byte of plaintext, or too short for a tag.
        1..=TAG => Err(CipherError::BrokenSender(length.unsigned_abs())),
        _ => Ok(missing),
    }
}
