//! TLS as one layer of a connection, over buffers in memory.
//!
//! [`TlsLayer`] drives rustls's unbuffered connection, which holds no buffers of its own. Ciphertext is opened in
//! place in the driver's buffer, one record a call. Plaintext is sealed record by record into the second buffer of
//! the segment. The layer assumes nothing about the layers outside it: Spark puts its AES or SASL layer between TLS
//! and the socket (TransportContext, Spark 4.3.0). So the layer's own output goes through [`Layer::pending_output`]
//! like that of any other layer.
//!
//! Rustls seals into a vector of its own and copies from there; it copies opened bytes twice. Per 256 KiB that is 8
//! µs beside 18 for AES-256-GCM in place (`benches/cipher.rs`, AVX-512), or 0.03 CPU-s/GB; a profile of the server
//! shows a tenth of its time at most, allocation included. To avoid it, records, alerts and key updates would have to
//! be written here, outside of rustls. That price is too high.
//!
//! Invariants
//! - nothing is sealed before the handshake is over on our side, client certificate included;
//! - the input holds at most one incomplete record, or one incomplete handshake message of at most
//! [`LARGEST_HANDSHAKE`] bytes;
//! - the peer is told of a failure first: [`Layer::open`] fails after [`Layer::pending_output`] has taken the alert, and
//! nothing is sealed or opened after it.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};
use sealed_shuffle_protocol::channel::TlsVersion;
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Layout, Segment, Units};

use super::error::{Role, TlsError};
use super::suite_name;

/// Plaintext of a full record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;

/// Overhead of each record: header, explicit nonce and tag of TLS 1.2 take 29 bytes; header, type and tag of TLS 1.3
/// take 22. A key update of 27 bytes may stand before any record.
const OVERHEAD: usize = 64;

/// Most bytes that may wait for the rest of a handshake message. Rustls takes 64 KiB of one; the rest is room for the
/// records around it.
const LARGEST_HANDSHAKE: usize = 128 << 10;

/// Most bytes of TLS's own output that are handed out at once, so that they fit every segment with other layers
/// around.
const PIECE: usize = RECORD;

/// The facts of a finished handshake.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The version of TLS.
    pub version: TlsVersion,
    /// The cipher suite, as Java and IANA name it.
    pub suite: &'static str,
    /// The peer's certificate and its chain; `None` where the peer showed none. A server has one only if it asked for
    /// it.
    pub peer_certificates: Option<Vec<CertificateDer<'static>>>,
}

/// One end of a TLS connection.
pub struct TlsLayer {
    connection: Connection,
    facts: Arc<OnceLock<TlsFacts>>,
    /// Records that wait to be sent: handshake, alerts.
    out: BytesMut,
    state: State,
    /// A handshake message in the input waits for its rest. Rustls must see that input before anything else.
    fragment: bool,
}

#[derive(Debug)]
enum State {
    Handshake,
    Open,
    /// The peer has sent a close_notify: it sends nothing more, but still receives.
    PeerClosed,
    /// We have sent a close_notify.
    Closed,
    Failed(Option<TlsError>),
}

enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl TlsLayer {
    /// The server's end. `facts` is set when the handshake is over.
    pub fn server(config: Arc<ServerConfig>, facts: Arc<OnceLock<TlsFacts>>) -> Result<Self, CipherError> {
        let connection = UnbufferedServerConnection::new(config)
            .map_err(|error| CipherError::Tls(Box::new(TlsError::new(Role::Server, error))))?;
        Ok(Self::new(Connection::Server(Box::new(connection)), facts))
    }

    /// The client's end. The server's certificate must be valid for `name`. [`Layer::pending_output`] has the first
    /// message at once.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        facts: Arc<OnceLock<TlsFacts>>,
    ) -> Result<Self, CipherError> {
        let connection = UnbufferedClientConnection::new(config, name)
            .map_err(|error| CipherError::Tls(Box::new(TlsError::new(Role::Client, error))))?;
        let mut layer = Self::new(Connection::Client(Box::new(connection)), facts);
        layer.open(&mut BytesMut::new())?;
        Ok(layer)
    }

    fn new(connection: Connection, facts: Arc<OnceLock<TlsFacts>>) -> Self {
        Self { connection, facts, out: BytesMut::new(), state: State::Handshake, fragment: false }
    }

    /// Returns the failure once the peer has been told.
    fn failure(&mut self) -> Result<Option<BytesMut>, CipherError> {
        if !self.out.is_empty() {
            return Ok(None);
        }
        match &mut self.state {
            State::Failed(error) => match error.take() {
                Some(error) => Err(CipherError::Tls(Box::new(error))),
                None => Err(CipherError::Failed),
            },
            _ => Ok(None),
        }
    }

    fn fail(&mut self, error: TlsError, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        // The alert lies ready in rustls, which hands it out before it looks at input.
        while self.connection.common().wants_write()
            && let (_, Step::Again) = self.connection.step(input, &mut self.out)
        {}
        self.state = State::Failed(Some(error));
        self.failure()
    }

    fn note_progress(&mut self) {
        if !matches!(self.state, State::Handshake) || self.connection.common().is_handshaking() {
            return;
        }
        self.state = State::Open;
        let Some(facts) = self.connection.facts() else { return };
        // It could be set already only if two layers shared it.
        drop(self.facts.set(facts));
    }
}

impl Layer for TlsLayer {
    fn layout(&self) -> Layout {
        Layout { head: 0, unit: RECORD, tail: OVERHEAD }
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        if segment.layout() != self.layout() {
            return Err(CipherError::Layout { needed: self.layout(), found: segment.layout() });
        }
        if segment.is_sealed() {
            return Err(CipherError::SealedTwice);
        }
        if segment.is_empty() {
            segment.mark_sealed();
            return Ok(());
        }
        if !self.is_ready() {
            return Err(CipherError::Failed);
        }
        segment.seal_elsewhere(|units, out| self.connection.encrypt(units, out)).map_err(CipherError::Tls)
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        match self.state {
            State::Failed(_) => return self.failure(),
            // Bytes after a close_notify belong to nobody.
            State::PeerClosed => {
                input.clear();
                return Ok(None);
            }
            State::Handshake | State::Open | State::Closed => {}
        }
        loop {
            let (discard, step) = self.connection.step(input, &mut self.out);
            drop(input.split_to(discard));
            self.note_progress();
            match step {
                Step::Again => {}
                Step::Plain(plain) => {
                    self.fragment = false;
                    return Ok(Some(plain));
                }
                Step::PeerClosed => {
                    input.clear();
                    if !matches!(self.state, State::Closed) {
                        self.state = State::PeerClosed;
                    }
                    return Ok(None);
                }
                Step::Wait => break,
                Step::Failed(error) => {
                    let error = TlsError::new(self.connection.role(), error);
                    return self.fail(error, input);
                }
            }
        }
        self.fragment = holds_whole_record(input);
        if self.fragment && input.len() > LARGEST_HANDSHAKE {
            return self.fail(TlsError::HandshakeTooLong { bytes: input.len() }, input);
        }
        Ok(None)
    }

    /// In the middle of a handshake message of the peer, rustls cannot seal without its input at hand.
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Open | State::PeerClosed) && !self.fragment
    }

    fn seals_in_place(&self) -> bool {
        false
    }

    fn close(&mut self) {
        if !self.is_ready() {
            return;
        }
        let mut alert = [0; OVERHEAD];
        // The keys are used up, or the connection has closed: the peer learns it from the socket.
        if let Ok(len) = self.connection.goodbye(&mut alert) {
            self.out.extend_from_slice(&alert[..len]);
        }
        self.state = State::Closed;
    }

    fn pending_output(&mut self) -> Option<Bytes> {
        if self.out.is_empty() {
            return None;
        }
        let piece = self.out.split_to(self.out.len().min(PIECE)).freeze();
        if self.out.is_empty() {
            self.out = BytesMut::new();
        }
        Some(piece)
    }
}

/// Rustls has seen every whole record, so a record that is still there is part of a longer message.
fn holds_whole_record(input: &[u8]) -> bool {
    const HEADER: usize = 5;
    match input {
        [_, _, _, high, low, ..] => input.len() >= HEADER + usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// The result of one step of rustls.
enum Step {
    /// Call again.
    Again,
    /// One record of plaintext.
    Plain(BytesMut),
    /// The peer sends nothing more.
    PeerClosed,
    /// Rustls needs more input.
    Wait,
    Failed(rustls::Error),
}

impl Connection {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    fn role(&self) -> Role {
        match self {
            Self::Server(_) => Role::Server,
            Self::Client(_) => Role::Client,
        }
    }

    /// Takes one step through `input`, and returns how many of its bytes are done with.
    fn step(&mut self, input: &mut [u8], out: &mut BytesMut) -> (usize, Step) {
        match self {
            Self::Server(connection) => step(connection.process_tls_records(input), out),
            Self::Client(connection) => step(connection.process_tls_records(input), out),
        }
    }

    fn encrypt(
        &mut self,
        units: Units<'_>,
        out: &mut [u8],
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Server(connection) => match connection.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(traffic) => Ok(encrypt(traffic, units, out)?),
                other => Err(unexpected(&other)),
            },
            Self::Client(connection) => match connection.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(traffic) => Ok(encrypt(traffic, units, out)?),
                other => Err(unexpected(&other)),
            },
        }
    }

    fn goodbye(&mut self, out: &mut [u8]) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Server(connection) => match connection.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => Ok(traffic.queue_close_notify(out)?),
                other => Err(unexpected(&other)),
            },
            Self::Client(connection) => match connection.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => Ok(traffic.queue_close_notify(out)?),
                other => Err(unexpected(&other)),
            },
        }
    }

    fn facts(&self) -> Option<TlsFacts> {
        let common = self.common();
        let version = match common.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            _ => return None,
        };
        Some(TlsFacts {
            version,
            suite: suite_name(common.negotiated_cipher_suite()?),
            peer_certificates: common.peer_certificates().map(<[_]>::to_vec),
        })
    }
}

fn step<D>(status: UnbufferedStatus<'_, '_, D>, out: &mut BytesMut) -> (usize, Step) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Err(error) => Step::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => match traffic.next_record() {
            Some(Ok(record)) => {
                // Rustls opened the records in place and copied them out, one at a time.
                let plain = BytesMut::from(record.payload);
                return (discard + record.discard, Step::Plain(plain));
            }
            Some(Err(error)) => Step::Failed(error),
            None => Step::Again,
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = out.len();
            let mut room = 0;
            loop {
                out.resize(start + room, 0);
                match data.encode(&mut out[start..]) {
                    Ok(written) => {
                        out.truncate(start + written);
                        break Step::Again;
                    }
                    Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
                    Err(EncodeError::AlreadyEncoded) => {
                        out.truncate(start);
                        break Step::Again;
                    }
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Step::Again
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::PeerClosed,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Wait,
        // Early data is never offered. An unknown state ends the connection, so that this cannot loop.
        Ok(other) => Step::Failed(rustls::Error::General(format!("unexpected state {other:?}"))),
    };
    (discard, step)
}

fn encrypt<D>(
    mut traffic: WriteTraffic<'_, D>,
    units: Units<'_>,
    out: &mut [u8],
) -> Result<usize, EncryptError> {
    let mut written = 0;
    for unit in units {
        written += traffic.encrypt(unit.plain, &mut out[written..])?;
    }
    Ok(written)
}

fn unexpected<D>(state: &ConnectionState<'_, '_, D>) -> Box<dyn std::error::Error + Send + Sync> {
    format!("cannot seal in state {state:?}").into()
}

#[cfg(test)]
mod tests;
