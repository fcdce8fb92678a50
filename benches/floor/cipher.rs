//! The ciphers, in the implementations that compete to be the floor.

use aes::Aes256;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use bytes::BytesMut;
use clap::ValueEnum;
use ctr::cipher::{KeyIvInit, StreamCipher};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use sealed_shuffle_protocol::cipher::{GcmKeySize, GcmLayer, Layer, Layout, Role, Segment};
use sealed_shuffle_protocol::crypto::ctr::KeyStream;
use sealed_shuffle_protocol::crypto::gcm::{GcmKey, NONCE, TAG};
use sealed_shuffle_protocol::crypto::hkdf;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::tls::TlsLayer;

/// What goes over the wire; as in `sealed-shuffle bench`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Mode {
    /// In clear
    Plaintext,
    /// AES-256-CTR: engine version 1
    AesCtr,
    /// AES-128-GCM in Spark's framing: engine version 2
    AesGcm,
    /// TLS 1.3 with AES-256-GCM
    Tls,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [Self::Plaintext, Self::AesCtr, Self::AesGcm, Self::Tls];

    /// As `sealed-shuffle bench` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::AesCtr => "aes-ctr",
            Self::AesGcm => "aes-gcm",
            Self::Tls => "tls",
        }
    }

    /// What our server may cost, in floors.
    pub(crate) fn bound(self) -> Option<f64> {
        match self {
            Self::AesCtr => Some(1.25),
            Self::AesGcm => Some(1.35),
            Self::Plaintext | Self::Tls => None,
        }
    }

    pub(crate) fn candidates(self) -> &'static [Candidate] {
        match self {
            Self::Plaintext => &[Candidate::Clear],
            Self::AesCtr => &[Candidate::CtrOfProtocol, Candidate::CtrOfCtr, Candidate::CtrOfAwsLc],
            Self::AesGcm => &[Candidate::GcmOfProtocol],
            Self::Tls => &[Candidate::TlsOfRustls, Candidate::TlsOfAwsLc],
        }
    }
}

/// An implementation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Candidate {
    Clear,
    CtrOfProtocol,
    CtrOfCtr,
    CtrOfAwsLc,
    GcmOfProtocol,
    TlsOfRustls,
    TlsOfAwsLc,
}

impl Candidate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clear => "none",
            Self::CtrOfProtocol => "protocol's mode over the aes crate",
            Self::CtrOfCtr => "ctr crate over the aes crate",
            Self::CtrOfAwsLc => "aws-lc-rs",
            Self::GcmOfProtocol => "aws-lc-rs, in protocol's layer",
            Self::TlsOfRustls => "rustls, unbuffered, over aws-lc-rs",
            Self::TlsOfAwsLc => "bare records in place, aws-lc-rs",
        }
    }

    /// A sending and a receiving end.
    pub(crate) fn ends(self) -> (Box<dyn End>, Box<dyn End>) {
        match self {
            Self::Clear => (Box::new(Clear), Box::new(Clear)),
            Self::CtrOfProtocol => both(|| Ctr(KeyStream::aes_256(&KEY, &IV))),
            Self::CtrOfCtr => both(|| Ctr(ctr::Ctr128BE::<Aes256>::new(&KEY.into(), &IV.into()))),
            Self::CtrOfAwsLc => both(|| Ctr(AwsLc::new())),
            Self::GcmOfProtocol => {
                both(|| Gcm(GcmLayer::aes_128(Secret::new(IV), Role::Server, Box::new(OsRandom))))
            }
            Self::TlsOfRustls => {
                let (server, client) = crate::tls::ends(TLS13_AES_256_GCM_SHA384);
                (Box::new(Tls(server)), Box::new(Tls(client)))
            }
            Self::TlsOfAwsLc => both(|| Records { key: GcmKey::aes_256(&KEY), next: 0 }),
        }
    }
}

fn both<E: End + 'static>(end: impl Fn() -> E) -> (Box<dyn End>, Box<dyn End>) {
    (Box::new(end()), Box::new(end()))
}

const KEY: [u8; 32] = [1; 32];
const IV: [u8; 16] = [2; 16];

/// One end of a connection. A segment becomes one message, and messages arrive whole.
pub(crate) trait End: Send {
    /// Room to leave around plaintext.
    fn layout(&self) -> Layout;

    /// Bytes of the message that holds `plain` bytes.
    fn sealed_len(&self, plain: usize) -> usize {
        usize::try_from(self.layout().sealed_len(plain as u64)).unwrap()
    }

    /// Seals the segment.
    fn seal(&mut self, segment: &mut Segment);

    /// Opens the message where it lies and shows the plaintext, in order.
    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8]));
}

struct Clear;

impl End for Clear {
    fn layout(&self) -> Layout {
        Layout::BARE
    }

    fn seal(&mut self, segment: &mut Segment) {
        segment.mark_sealed();
    }

    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8])) {
        plain(message);
    }
}

/// AES-256-CTR.
struct Ctr<S>(S);

trait Stream: Send {
    fn apply(&mut self, text: &mut [u8]);
}

impl<S: Stream> End for Ctr<S> {
    fn layout(&self) -> Layout {
        Layout::BARE
    }

    fn seal(&mut self, segment: &mut Segment) {
        self.0.apply(segment.whole().0);
        segment.mark_sealed();
    }

    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8])) {
        self.0.apply(message);
        plain(message);
    }
}

impl Stream for KeyStream {
    fn apply(&mut self, text: &mut [u8]) {
        Self::apply(self, text);
    }
}

impl Stream for ctr::Ctr128BE<Aes256> {
    fn apply(&mut self, text: &mut [u8]) {
        self.apply_keystream(text);
    }
}

struct AwsLc {
    key: EncryptingKey,
    next: u128,
}

impl AwsLc {
    fn new() -> Self {
        let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_256, &KEY).unwrap()).unwrap();
        Self { key, next: u128::from_be_bytes(IV) }
    }
}

impl Stream for AwsLc {
    /// Whole blocks: the interface keeps no key stream from one call to the next.
    fn apply(&mut self, text: &mut [u8]) {
        assert!(text.len().is_multiple_of(IV.len()), "messages are whole blocks here");
        let context = EncryptionContext::Iv128(FixedLength::from(self.next.to_be_bytes()));
        self.key.less_safe_encrypt(text, context).unwrap();
        self.next = self.next.wrapping_add((text.len() / IV.len()) as u128);
    }
}

/// Spark's AES-GCM, one message a segment, with the session key that both ends share.
struct Gcm(GcmLayer);

impl End for Gcm {
    fn layout(&self) -> Layout {
        self.0.layout()
    }

    fn seal(&mut self, segment: &mut Segment) {
        self.0.seal(segment).unwrap();
    }

    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8])) {
        // | i64 length | u8 | salt (16) | prefix (7) | units …, each with its tag |
        let Layout { head, unit, tail } = GcmKeySize::Aes128.layout();
        let (header, units) = message.split_at_mut(head);
        let (length, rest) = header.split_at(8);
        let (salt, prefix) = rest[1..].split_at(16);
        let key = GcmKey::aes_128(hkdf::derive(&IV, salt, &[length]).as_bytes());
        let count = units.len().div_ceil(unit + tail);
        for (n, sealed) in units.chunks_mut(unit + tail).enumerate() {
            let mut nonce = [0; NONCE];
            nonce[..7].copy_from_slice(prefix);
            nonce[7..11].copy_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
            nonce[11] = u8::from(n + 1 == count);
            let (text, tag) = sealed.split_last_chunk_mut::<TAG>().unwrap();
            key.open(nonce, &[], text, tag).unwrap();
            plain(text);
        }
    }
}

/// Bytes of a full record's content, and of what is around it (RFC 8446, section 5.2).
const RECORD: usize = 16 << 10;
const RECORD_HEADER: usize = 5;
const AROUND_RECORD: usize = RECORD_HEADER + 1 + TAG;

/// TLS 1.3 as our server does it: rustls seals into a buffer of its own, and copies.
struct Tls(TlsLayer);

impl End for Tls {
    fn layout(&self) -> Layout {
        self.0.layout()
    }

    fn sealed_len(&self, plain: usize) -> usize {
        plain + AROUND_RECORD * plain.div_ceil(RECORD)
    }

    fn seal(&mut self, segment: &mut Segment) {
        self.0.seal(segment).unwrap();
    }

    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8])) {
        let mut input = BytesMut::from(&*message);
        while let Some(opened) = self.0.open(&mut input).unwrap() {
            plain(&opened);
        }
    }
}

/// The records of TLS 1.3 without a TLS library: header, content, type, tag, sealed where they lie.
struct Records {
    key: GcmKey,
    next: u64,
}

impl Records {
    fn nonce(&mut self) -> [u8; NONCE] {
        let mut nonce = [7; NONCE];
        for (byte, of_next) in nonce[4..].iter_mut().zip(self.next.to_be_bytes()) {
            *byte ^= of_next;
        }
        self.next += 1;
        nonce
    }
}

impl End for Records {
    /// The header of a record lies in the tail of the one before it; that of the last is left out.
    fn layout(&self) -> Layout {
        Layout { head: RECORD_HEADER, unit: RECORD, tail: AROUND_RECORD }
    }

    fn sealed_len(&self, plain: usize) -> usize {
        plain + AROUND_RECORD * plain.div_ceil(RECORD)
    }

    fn seal(&mut self, segment: &mut Segment) {
        let len = segment.sealed_len() - RECORD_HEADER;
        let (whole, _) = segment.whole();
        for record in whole[..len].chunks_mut(RECORD + AROUND_RECORD) {
            let sealed = u16::try_from(record.len() - RECORD_HEADER).unwrap();
            let (header, rest) = record.split_at_mut(RECORD_HEADER);
            header[..3].copy_from_slice(&[23, 3, 3]);
            header[3..].copy_from_slice(&sealed.to_be_bytes());
            let (text, tag) = rest.split_last_chunk_mut::<TAG>().unwrap();
            *text.last_mut().unwrap() = 23;
            let nonce = self.nonce();
            *tag = self.key.seal(nonce, header, text).unwrap();
        }
        segment.mark_sealed_short(len);
    }

    fn open(&mut self, message: &mut [u8], plain: &mut dyn FnMut(&[u8])) {
        for record in message.chunks_mut(RECORD + AROUND_RECORD) {
            let (header, rest) = record.split_at_mut(RECORD_HEADER);
            let (text, tag) = rest.split_last_chunk_mut::<TAG>().unwrap();
            let nonce = self.nonce();
            self.key.open(nonce, header, text, tag).unwrap();
            plain(&text[..text.len() - 1]);
        }
    }
}
