//! Which cipher a session uses: configured on a client, recognised on a server.
//!
//! ```text
//! client ─────────────────────────────► Ctr | Gcm
//! server ── Undecided ── first 9 bytes ─► Ctr | Gcm      nothing fits ─► Failed
//! ```
//!
//! Spark's handshake does not say which engine version and cipher follow. A server can tell, since it has
//! nothing to send before the client's first bytes, and since both a frame and a GCM message begin
//! with a length whose upper half is zero. The nine bytes belong to the stream: they are opened again
//! from position 0. Four comparisons with a chance of a wrong match of about 2^-32 each.

use bytes::BytesMut;

use super::Role;
use super::ctr::CtrLayer;
use super::gcm::{GcmKeySize, GcmLayer};
use super::layer::{CipherError, Layer};
use super::mode::{SessionCipher, SessionMode};
use super::segment::{Layout, Segment};
use crate::auth::{EngineVersion, SessionKeys};
use crate::crypto::ctr::KeyStream;
use crate::crypto::random::Random;

/// Bytes that decide.
const PROBE: usize = 9;

/// What a client's first plaintext looks like: the test that tells key streams apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FirstBytes {
    /// A frame of Spark's transport that holds a request.
    Frame,
    /// A TLS record of application data: the cipher lies outside TLS. A wrong match has a chance of 2^-26.
    TlsRecord,
}

impl FirstBytes {
    /// Whether a stream can begin so.
    fn fits(self, first: &[u8; PROBE]) -> bool {
        match self {
            Self::Frame => {
                let [length @ .., kind] = first;
                // 8 bytes of length count themselves; bodies are bounded by an i32.
                (9..=0x8000_0006).contains(&i64::from_be_bytes(*length))
                    && matches!(kind, 0 | 3 | 6 | 9 | 10 | 11)
            }
            Self::TlsRecord => {
                // Type, version, and what a record holds at most (RFC 8446, section 5.2).
                first[..3] == [23, 3, 3] && u16::from_be_bytes([first[3], first[4]]) <= (16 << 10) + 256
            }
        }
    }
}

/// The AES session of a connection whose handshake is done.
///
/// Client to server runs under `outputIv`, server to client under `inputIv`: the names are the client's.
#[derive(Debug)]
pub struct AesSession(State);

#[derive(Debug)]
enum State {
    Undecided(Box<Undecided>),
    Open(SessionMode, AesLayer),
    Failed,
}

#[derive(Debug)]
enum AesLayer {
    Ctr(CtrLayer),
    Gcm(Box<GcmLayer>),
}

struct Undecided {
    keys: SessionKeys,
    first: FirstBytes,
    random: Box<dyn Random>,
}

impl AesSession {
    /// A client's session, in the mode that it is configured for.
    pub fn client(keys: SessionKeys, mode: SessionMode, random: Box<dyn Random>) -> Self {
        Self(State::Open(mode, AesLayer::new(keys, mode, Role::Client, random)))
    }

    /// A server's session, which learns its mode from what the client sends first.
    ///
    /// Until then it cannot seal. It recognises all modes: whether to serve the one found is for the
    /// caller to decide, from [`AesSession::mode`].
    pub fn server(keys: SessionKeys, first: FirstBytes, random: Box<dyn Random>) -> Self {
        Self(State::Undecided(Box::new(Undecided { keys, first, random })))
    }

    /// The mode, once known.
    pub fn mode(&self) -> Option<SessionMode> {
        match &self.0 {
            State::Open(mode, _) => Some(*mode),
            State::Undecided(_) | State::Failed => None,
        }
    }
}

impl Layer for AesSession {
    /// While undecided: no room, and nothing that [`Layer::seal`] would take.
    fn layout(&self) -> Layout {
        match &self.0 {
            State::Open(_, AesLayer::Ctr(layer)) => layer.layout(),
            State::Open(_, AesLayer::Gcm(layer)) => layer.layout(),
            State::Undecided(_) | State::Failed => Layout::BARE,
        }
    }

    fn mode(&self) -> Option<SessionMode> {
        Self::mode(self)
    }

    fn is_ready(&self) -> bool {
        !matches!(self.0, State::Undecided(_))
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        match &mut self.0 {
            State::Open(_, AesLayer::Ctr(layer)) => layer.seal(segment),
            State::Open(_, AesLayer::Gcm(layer)) => layer.seal(segment),
            State::Undecided(_) => Err(CipherError::Undecided),
            State::Failed => Err(CipherError::Failed),
        }
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        if matches!(self.0, State::Undecided(_)) {
            let Some(first) = input.first_chunk::<PROBE>() else {
                return Ok(None);
            };
            self.decide(first)?;
        }
        match &mut self.0 {
            State::Open(_, AesLayer::Ctr(layer)) => layer.open(input),
            State::Open(_, AesLayer::Gcm(layer)) => layer.open(input),
            State::Undecided(_) | State::Failed => Err(CipherError::Failed),
        }
    }
}

impl AesSession {
    /// From undecided to open, or to failed.
    fn decide(&mut self, first: &[u8; PROBE]) -> Result<(), CipherError> {
        let State::Undecided(undecided) = std::mem::replace(&mut self.0, State::Failed) else {
            return Err(CipherError::Failed);
        };
        let mode = undecided.recognise(first).ok_or(CipherError::Unrecognised)?;
        let Undecided { keys, random, .. } = *undecided;
        self.0 = State::Open(mode, AesLayer::new(keys, mode, Role::Server, random));
        Ok(())
    }
}

impl AesLayer {
    fn new(keys: SessionKeys, mode: SessionMode, role: Role, random: Box<dyn Random>) -> Self {
        match (mode.cipher, mode.version) {
            (SessionCipher::Ctr, EngineVersion::V1) => {
                let (outbound, inbound) = CtrLayer::ivs(&keys, role);
                Self::Ctr(CtrLayer::aes_256(keys.v1(), outbound, inbound))
            }
            (SessionCipher::Ctr, EngineVersion::V2) => {
                let (outbound, inbound) = CtrLayer::ivs(&keys, role);
                Self::Ctr(CtrLayer::aes_128(keys.v2(), outbound, inbound))
            }
            (SessionCipher::Gcm, EngineVersion::V1) => {
                Self::Gcm(Box::new(GcmLayer::aes_256(keys.into_v1(), random)))
            }
            (SessionCipher::Gcm, EngineVersion::V2) => {
                Self::Gcm(Box::new(GcmLayer::aes_128(keys.into_v2(), random)))
            }
        }
    }
}

impl Undecided {
    /// Cheap tests first: GCM shows its length and header length in clear.
    fn recognise(&self, first: &[u8; PROBE]) -> Option<SessionMode> {
        let mode = |cipher, version| Some(SessionMode { version, cipher });
        if first[..4] == [0; 4] {
            if first[8] == GcmKeySize::Aes256.header_len() {
                return mode(SessionCipher::Gcm, EngineVersion::V1);
            }
            if first[8] == GcmKeySize::Aes128.header_len() {
                return mode(SessionCipher::Gcm, EngineVersion::V2);
            }
        }
        let iv = self.keys.output_iv();
        if self.fits(first, KeyStream::aes_256(self.keys.v1().as_bytes(), iv)) {
            return mode(SessionCipher::Ctr, EngineVersion::V1);
        }
        if self.fits(first, KeyStream::aes_128(self.keys.v2().as_bytes(), iv)) {
            return mode(SessionCipher::Ctr, EngineVersion::V2);
        }
        None
    }

    fn fits(&self, first: &[u8; PROBE], mut stream: KeyStream) -> bool {
        let mut plain = *first;
        stream.apply(&mut plain);
        self.first.fits(&plain)
    }
}

impl std::fmt::Debug for Undecided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Undecided").field("first", &self.first).finish_non_exhaustive()
    }
}
