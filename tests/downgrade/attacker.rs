//! A peer that speaks every handshake in any order, and keeps all that it hears for whoever asks what was in it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use sealed_shuffle_protocol::auth::legacy::{self, LegacySettings};
use sealed_shuffle_protocol::auth::{AesSession, AuthMessage, EngineVersion, Initiator, SessionKeys};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::{Layer, Role, Segment, SessionCipher, SessionMode};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{AppId, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::sasl::{self, Demand, Protection, SaslLayer, SaslMessage};
use sealed_shuffle_protocol::secret::{AppSecret, Secret};
use sealed_shuffle_protocol::shuffle::BlockTransferMessage;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::Stack;
use sealed_shuffle_transport::tls::{LiveClientTls, TlsLayer};

use crate::running::{APP, PATIENCE, message};

/// How long one whose words no longer make sense listens before it goes on.
const GLANCE: Duration = Duration::from_millis(3);

/// What was heard over one kind of channel.
pub(crate) struct Heard {
    pub(crate) level: SecurityLevel,
    /// Whether the application with the block had been proven by then.
    pub(crate) proven: bool,
    pub(crate) plain: Vec<u8>,
}

pub(crate) struct Attacker {
    socket: TcpStream,
    secret: String,
    /// What it believes to lie around its frames.
    stack: Stack,
    level: SecurityLevel,
    in_tls: bool,
    proven: bool,
    raw: Vec<u8>,
    /// Keys, and from which byte on the server may use them.
    keys: Vec<(usize, SessionKeys)>,
    heard: Vec<Heard>,
    inbound: BytesMut,
    decoder: FrameDecoder,
    arriving: Option<(Head, BytesMut)>,
    pending: HashMap<RequestId, Pending>,
    /// A SASL response that was not sent yet.
    response: Option<(sasl::Verifier, SaslMessage)>,
    owed: usize,
    /// Whether everything it said made sense, so that the server must answer or close.
    is_sound: bool,
    has_ended: bool,
    next_request: i64,
    pub(crate) stream: StreamId,
}

/// A handshake that waits for an answer, and whether its layer is to be used afterwards.
enum Pending {
    X25519(AppId, Initiator, Option<SessionMode>),
    Pbkdf2(AppId, legacy::Initiator, bool),
    SaslStart(sasl::Client),
    SaslProof(AppId, sasl::Verifier, bool),
}

impl Attacker {
    pub(crate) fn connect(address: SocketAddr, secret: &str, stream: StreamId) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut attacker = Self {
            socket,
            secret: secret.to_owned(),
            stack: Stack::default(),
            level: SecurityLevel::Plaintext,
            in_tls: false,
            proven: false,
            raw: Vec::new(),
            keys: Vec::new(),
            heard: Vec::new(),
            inbound: BytesMut::new(),
            decoder: FrameDecoder::new(1 << 20),
            arriving: None,
            pending: HashMap::new(),
            response: None,
            owed: 0,
            is_sound: true,
            has_ended: false,
            next_request: 1,
            stream,
        };
        attacker.changed(SecurityLevel::Plaintext);
        attacker
    }

    /// Speaks TLS from here on. Only as its first words is that sound.
    pub(crate) fn start_tls(&mut self, tls: &LiveClientTls) {
        let name = ServerName::try_from("localhost").unwrap();
        let layer = TlsLayer::client(tls.current(), name, Arc::default()).unwrap();
        self.stack = Stack::default();
        self.stack.push(Box::new(layer));
        self.in_tls = true;
        self.changed(SecurityLevel::Tls);
        self.say_pending();
        while !self.stack.is_ready() && !self.has_ended && self.is_sound {
            self.read(PATIENCE);
        }
    }

    /// Sends a message through the layers that it believes in.
    pub(crate) fn say(&mut self, head: &Head, body: &[u8]) {
        // In the midst of a handshake only silence is legal.
        self.is_sound &= self.pending.is_empty();
        self.owed += usize::from(!matches!(head, Head::OneWayMessage));
        self.seal_and_send(&message(head, body));
    }

    /// Bytes as they are, whatever lies around.
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        self.is_sound = false;
        self.send(bytes);
    }

    pub(crate) fn rpc(&mut self, body: &[u8]) {
        let request = self.request();
        self.say(&Head::RpcRequest { request }, body);
    }

    pub(crate) fn x25519(&mut self, app: &str, secret: &str, then: Option<SessionMode>) {
        let app = AppId::new(app);
        let (initiator, challenge) = Initiator::start(app.clone(), shared(secret), &mut OsRandom).unwrap();
        self.greet(&challenge.encode(), Pending::X25519(app, initiator, then));
    }

    /// `iterations` is what the message says, whatever was computed.
    pub(crate) fn pbkdf2(
        &mut self,
        app: &str,
        secret: &str,
        settings: LegacySettings,
        iterations: i32,
        enters: bool,
    ) {
        let app = AppId::new(app);
        let random = &mut OsRandom;
        let (initiator, challenge) =
            legacy::Initiator::start(app.clone(), shared(secret), settings, random).unwrap();
        let mut body = challenge.encode().to_vec();
        let at = 1 + 4 + app.as_str().len() + 4 + settings.kdf.name().len();
        body[at..at + 4].copy_from_slice(&iterations.to_be_bytes());
        self.greet(&body, Pending::Pbkdf2(app, initiator, enters));
    }

    pub(crate) fn sasl_start(&mut self, app: &str, secret: &str, wanted: Demand) {
        let (client, start) =
            sasl::Client::start(AppId::new(app), shared(secret), wanted, &mut OsRandom).unwrap();
        self.greet(&start.encode(), Pending::SaslStart(client));
    }

    /// Answers the challenge in the name of `app`, or says something that looks like it.
    pub(crate) fn sasl_answer(&mut self, app: &str, enters: bool) {
        let app = AppId::new(app);
        let Some((awaiting, message)) = self.response.take() else {
            self.rpc(&SaslMessage::new(app, Bytes::from_static(b"charset=utf-8")).encode());
            return;
        };
        let started_for = message.app_id().clone();
        let message = SaslMessage::new(app, message.token().clone());
        self.greet(&message.encode(), Pending::SaslProof(started_for, awaiting, enters));
    }

    /// From here on the other mode under the keys of the last handshake.
    pub(crate) fn change_mode(&mut self, mode: SessionMode) {
        let Some((_, keys)) = self.keys.last() else { return };
        let layer = AesSession::client(copy(keys), mode, Box::new(OsRandom));
        self.stack = Stack::default();
        self.stack.push(Box::new(layer));
        self.is_sound = false;
        self.changed(SecurityLevel::from(mode.cipher));
    }

    /// Speaks in clear from here on.
    pub(crate) fn drop_layers(&mut self) {
        self.stack = Stack::default();
        self.is_sound = false;
        self.in_tls = false;
        self.changed(SecurityLevel::Plaintext);
    }

    /// Waits for what is owed, if it can be owed.
    pub(crate) fn listen(&mut self) {
        if !self.is_sound {
            return self.read(GLANCE);
        }
        while self.owed > 0 && self.is_sound && !self.has_ended {
            self.read(PATIENCE);
        }
    }

    /// Hears the rest, and tells everything under every key that it knows.
    pub(crate) fn finish(mut self) -> Vec<Heard> {
        self.listen();
        // A server that has closed already is as good.
        drop(self.socket.shutdown(Shutdown::Write));
        while !self.has_ended {
            self.read(PATIENCE);
        }
        let mut heard = self.heard;
        heard.push(Heard { level: SecurityLevel::Plaintext, proven: self.proven, plain: self.raw.clone() });
        for (from, keys) in &self.keys {
            for version in [EngineVersion::V1, EngineVersion::V2] {
                for cipher in [SessionCipher::Ctr, SessionCipher::Gcm] {
                    let plain = open_all(&self.raw[*from..], keys, SessionMode { version, cipher });
                    heard.push(Heard { level: SecurityLevel::from(cipher), proven: self.proven, plain });
                }
            }
        }
        heard
    }

    fn greet(&mut self, body: &[u8], pending: Pending) {
        let request = self.request();
        self.say(&Head::RpcRequest { request }, body);
        self.pending.insert(request, pending);
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn secret(&self) -> String {
        self.secret.clone()
    }

    fn changed(&mut self, level: SecurityLevel) {
        self.level = if self.in_tls { SecurityLevel::Tls } else { level };
        self.heard.push(Heard { level: self.level, proven: self.proven, plain: Vec::new() });
    }

    fn entered(&mut self, app: &AppId, layer: Option<Box<dyn Layer>>, level: SecurityLevel, enters: bool) {
        self.proven |= app.as_str() == APP;
        let is_sealed = layer.is_some();
        match layer {
            Some(layer) if enters => self.stack.push(layer),
            _ => self.is_sound &= enters || !is_sealed,
        }
        self.changed(if enters { level } else { self.level });
    }

    fn answered(&mut self, pending: Pending, body: &Bytes) {
        match pending {
            Pending::X25519(app, initiator, then) => {
                let Ok(response) = AuthMessage::decode(body) else { return };
                let Ok(keys) = initiator.finish(&response) else { return };
                if !self.in_tls {
                    self.keys.push((self.raw.len(), copy(&keys)));
                }
                let mode = then.unwrap_or(crate::running::CTR);
                let layer = AesSession::client(keys, mode, Box::new(OsRandom));
                self.entered(&app, Some(Box::new(layer)), SecurityLevel::from(mode.cipher), then.is_some());
            }
            Pending::Pbkdf2(app, initiator, enters) => {
                let Ok(response) = legacy::ServerResponse::decode(body) else { return };
                let Ok(keys) = initiator.finish(&response) else { return };
                let layer = Box::new(keys.into_layer(Role::Client));
                self.entered(&app, Some(layer), SecurityLevel::AesLegacy, enters);
            }
            Pending::SaslStart(client) => self.response = client.respond(body).ok(),
            Pending::SaslProof(app, awaiting, enters) => match awaiting.finish(body) {
                Ok(Protection::Auth) => self.entered(&app, None, SecurityLevel::Plaintext, true),
                Ok(Protection::Conf(keys)) => {
                    let layer = Box::new(SaslLayer::new(keys, Role::Client, 64 << 10));
                    self.entered(&app, Some(layer), SecurityLevel::SaslConf, enters);
                }
                Err(_) => {}
            },
        }
    }

    fn seal_and_send(&mut self, plain: &[u8]) {
        if !self.stack.is_ready() {
            return self.say_raw(plain);
        }
        let mut segment = Segment::with_capacity(256 << 10);
        segment.reset(self.stack.layout());
        assert_eq!(segment.put(plain), plain.len());
        match self.stack.seal(&mut segment) {
            Ok(()) => self.send(segment.sealed()),
            Err(_) => self.is_sound = false,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may have closed.
        drop(self.socket.write_all(bytes));
    }

    fn say_pending(&mut self) {
        while let Ok(Some(bytes)) = self.stack.pending_output() {
            self.send(&bytes);
        }
    }

    /// Takes what the socket gives.
    fn read(&mut self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 64 << 10];
        let n = match self.socket.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(patience == GLANCE, "neither an answer nor the end came in time");
                return;
            }
            Err(_) => 0,
        };
        self.has_ended = n == 0;
        self.raw.extend_from_slice(&buffer[..n]);
        self.inbound.extend_from_slice(&buffer[..n]);
        loop {
            match self.stack.open(&mut self.inbound) {
                Ok(Some(plain)) => {
                    let heard = self.heard.last_mut().unwrap();
                    heard.plain.extend_from_slice(&plain);
                    heard.proven = self.proven;
                    self.decoder.feed(plain.freeze());
                    self.parse();
                }
                Ok(None) => break,
                Err(_) => {
                    self.is_sound = false;
                    self.inbound.clear();
                    break;
                }
            }
        }
        self.say_pending();
    }

    fn parse(&mut self) {
        loop {
            match self.decoder.next() {
                Ok(Some(FrameEvent::Head { head, .. })) => self.arriving = Some((head, BytesMut::new())),
                Ok(Some(FrameEvent::Body(piece))) => {
                    if let Some((_, body)) = &mut self.arriving {
                        body.extend_from_slice(&piece);
                    }
                }
                Ok(Some(FrameEvent::End)) => {
                    if let Some((head, body)) = self.arriving.take() {
                        self.arrived(head, body.freeze());
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.is_sound = false;
                    self.decoder = FrameDecoder::new(1 << 20);
                    return;
                }
            }
        }
    }

    fn arrived(&mut self, head: Head, body: Bytes) {
        self.owed = self.owed.saturating_sub(1);
        match head {
            Head::RpcResponse { request } => match self.pending.remove(&request) {
                Some(pending) => self.answered(pending, &body),
                None => {
                    if let Ok(BlockTransferMessage::StreamHandle(handle)) = BlockTransferMessage::decode(body)
                    {
                        self.stream = handle.stream;
                    }
                }
            },
            Head::RpcFailure { request, .. } => drop(self.pending.remove(&request)),
            _ => {}
        }
    }
}

fn shared(secret: &str) -> Arc<AppSecret> {
    Arc::new(AppSecret::new(secret.to_owned()))
}

fn copy(keys: &SessionKeys) -> SessionKeys {
    SessionKeys::from_parts(
        Secret::new(*keys.v1().as_bytes()),
        Secret::new(*keys.v2().as_bytes()),
        Secret::new(*keys.input_iv()),
        Secret::new(*keys.output_iv()),
    )
}

fn open_all(sealed: &[u8], keys: &SessionKeys, mode: SessionMode) -> Vec<u8> {
    let mut layer = AesSession::client(copy(keys), mode, Box::new(OsRandom));
    let mut input = BytesMut::from(sealed);
    let mut plain = Vec::new();
    while let Ok(Some(piece)) = layer.open(&mut input) {
        plain.extend_from_slice(&piece);
    }
    plain
}
