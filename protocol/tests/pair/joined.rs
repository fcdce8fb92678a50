//! [`Pair`]: a client engine and a server engine, their session layers, and the bytes between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::auth::{AesSession, EngineVersion, FirstBytes, Initiator, Responder};
use sealed_shuffle_protocol::cipher::{Layer, SessionCipher, SessionMode};
use sealed_shuffle_protocol::connection::{
    Agreement, Challenge, ClientConnection, ClientEvent, ClientSettings, CloseReason, Engine, Greeting,
    Request, ServerConnection, ServerEvent, ServerSettings, Transmit,
};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, RequestId};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::AppSecret;

use crate::support::{Seeded, pattern, seal_one};

pub(crate) type Client = ClientConnection<Bytes>;
pub(crate) type Server = ServerConnection<Bytes>;

/// The RPC that carries the challenge.
pub(crate) const GREETING: RequestId = RequestId(7);

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn client_settings() -> ClientSettings {
    ClientSettings {
        limits: Limits::default(),
        handshake_timeout: seconds(10),
        answer_timeout: seconds(120),
        idle_timeout: seconds(300),
    }
}

/// A server that wants the handshake.
pub(crate) fn server_settings() -> ServerSettings {
    ServerSettings {
        limits: Limits::default(),
        handshake_timeout: seconds(30),
        idle_timeout: seconds(120),
        stalled_timeout: seconds(60),
        authenticates: true,
        admits_anonymous: false,
    }
}

/// A server without secrets.
pub(crate) fn open_settings() -> ServerSettings {
    ServerSettings { authenticates: false, admits_anonymous: true, ..server_settings() }
}

/// The four modes of Spark's AES sessions.
pub(crate) fn modes() -> [SessionMode; 4] {
    let mode = |version, cipher| SessionMode { version, cipher };
    [
        mode(EngineVersion::V1, SessionCipher::Ctr),
        mode(EngineVersion::V2, SessionCipher::Ctr),
        mode(EngineVersion::V1, SessionCipher::Gcm),
        mode(EngineVersion::V2, SessionCipher::Gcm),
    ]
}

pub(crate) fn secret(text: &str) -> Arc<AppSecret> {
    Arc::new(AppSecret::new(text.to_owned()))
}

/// How the bytes of one direction are cut on their way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Not at all.
    Nowhere,
    /// Once, at this position of the direction.
    At(usize),
    /// Into single bytes.
    Everywhere,
}

impl Cut {
    /// Cuts `bytes`, which begin at `position` of their direction.
    fn pieces(self, position: usize, bytes: &Bytes) -> Vec<Bytes> {
        match self {
            Self::At(at) if position < at && at < position + bytes.len() => {
                vec![bytes.slice(..at - position), bytes.slice(at - position..)]
            }
            Self::Everywhere => (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect(),
            _ => vec![bytes.clone()],
        }
    }
}

/// One end: an engine and what lies between it and the wire.
pub(crate) struct End<E> {
    pub(crate) engine: E,
    pub(crate) layer: Option<AesSession>,
    inbound: BytesMut,
    /// Bytes that were handed to this end.
    pub(crate) received: usize,
}

impl<E: Engine<Body = Bytes>> End<E> {
    fn new(engine: E) -> Self {
        Self { engine, layer: None, inbound: BytesMut::new(), received: 0 }
    }

    /// Everything that the engine wants to say, sealed; `session` makes its layer of the keys.
    fn say(&mut self, session: impl Fn(sealed_shuffle_protocol::auth::SessionKeys) -> AesSession) -> Bytes {
        let mut out = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit() {
            let plain = match transmit {
                Transmit::Head(bytes) | Transmit::Body(bytes) => bytes,
                Transmit::Boundary => continue,
                Transmit::Install(keys) => {
                    assert!(self.layer.is_none(), "a second layer");
                    let Agreement::X25519(keys) = *keys else { panic!("{keys:?}") };
                    self.layer = Some(session(keys));
                    continue;
                }
            };
            match &mut self.layer {
                None => out.extend_from_slice(&plain),
                Some(layer) => out.extend(seal_one(layer, &plain)),
            }
        }
        out.into()
    }

    /// Opens what has arrived, one piece.
    fn open(&mut self) -> Result<Option<Bytes>, CloseReason> {
        match &mut self.layer {
            None if self.inbound.is_empty() => Ok(None),
            None => Ok(Some(self.inbound.split().freeze())),
            Some(layer) => Ok(layer.open(&mut self.inbound)?.map(BytesMut::freeze)),
        }
    }

    fn hear(&mut self, piece: &[u8]) {
        self.received += piece.len();
        self.inbound.extend_from_slice(piece);
    }
}

/// What a client was told, comparable: bodies joined, since how they are cut is nobody's business.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    Ready,
    Rpc(RequestId, Result<Bytes, String>),
    MergedMeta(RequestId, i32, Bytes),
    Chunk(ChunkIndex, Bytes),
    ChunkFailed(ChunkIndex, String),
    Stream(String, Bytes),
    StreamFailed(String, String),
}

/// Both ends and the time.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) client: End<Client>,
    pub(crate) server: End<Server>,
    pub(crate) mode: SessionMode,
    pub(crate) secret: Arc<AppSecret>,
    pub(crate) to_server: Cut,
    pub(crate) to_client: Cut,
    pub(crate) told: Vec<Told>,
    /// Requests as the server saw them.
    pub(crate) asked: Vec<String>,
    /// Everything that went over the wire: to the server, to the client.
    pub(crate) wire: (Vec<u8>, Vec<u8>),
    pub(crate) client_end: Option<CloseReason>,
    pub(crate) server_end: Option<CloseReason>,
    body: Option<(Told, u64, BytesMut)>,
}

impl Pair {
    pub(crate) fn in_clear(server: ServerSettings) -> Self {
        let now = Instant::now();
        let mut client = ClientConnection::in_clear(now, client_settings());
        client.handle_ready(now);
        Self::join(now, client, server, modes()[0])
    }

    pub(crate) fn sealed(mode: SessionMode) -> Self {
        Self::sealed_with(mode, "a shared secret", server_settings())
    }

    /// A client that claims application `app-1` and knows `proof`.
    pub(crate) fn sealed_with(mode: SessionMode, proof: &str, server: ServerSettings) -> Self {
        let now = Instant::now();
        let (initiator, challenge) =
            Initiator::start(AppId::new("app-1"), secret(proof), &mut Seeded(1)).unwrap();
        let client = ClientConnection::authenticating(
            now,
            client_settings(),
            GREETING,
            Greeting::X25519(initiator),
            &challenge.encode(),
        )
        .unwrap();
        Self::join(now, client, server, mode)
    }

    fn join(now: Instant, client: Client, server: ServerSettings, mode: SessionMode) -> Self {
        Self {
            now,
            client: End::new(client),
            server: End::new(ServerConnection::new(now, server)),
            mode,
            secret: secret("a shared secret"),
            to_server: Cut::Nowhere,
            to_client: Cut::Nowhere,
            told: Vec::new(),
            asked: Vec::new(),
            wire: (Vec::new(), Vec::new()),
            client_end: None,
            server_end: None,
            body: None,
        }
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Carries bytes to and fro until both are silent.
    pub(crate) fn settle(&mut self) {
        self.client_turn();
        loop {
            let up = self.client_says();
            let down =
                self.server.say(|keys| AesSession::server(keys, FirstBytes::Frame, Box::new(Seeded(4))));
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.client.engine.handle_output(self.now, up.len(), false);
            self.server.engine.handle_output(self.now, down.len(), false);
            self.wire.0.extend_from_slice(&up);
            self.wire.1.extend_from_slice(&down);
            for piece in self.to_server.pieces(self.server.received, &up) {
                self.server.hear(&piece);
                self.server_turn();
            }
            for piece in self.to_client.pieces(self.client.received, &down) {
                self.client.hear(&piece);
                self.client_turn();
            }
        }
    }

    /// What the client has to say, which goes nowhere.
    pub(crate) fn client_says(&mut self) -> Bytes {
        let mode = self.mode;
        self.client.say(|keys| AesSession::client(keys, mode, Box::new(Seeded(3))))
    }

    /// Bytes that someone between the ends sends to the server.
    pub(crate) fn hand_to_server(&mut self, bytes: &[u8]) {
        self.server.hear(bytes);
        self.server_turn();
    }

    /// Bytes that someone between the ends sends to the client.
    pub(crate) fn hand_to_client(&mut self, bytes: &[u8]) {
        self.client.hear(bytes);
        self.client_turn();
    }

    fn server_turn(&mut self) {
        if self.server_end.is_none() {
            self.server_end = self.server_steps().err();
        }
    }

    fn server_steps(&mut self) -> Result<(), CloseReason> {
        while let Some(plain) = self.server.open()? {
            self.server.engine.handle_bytes(self.now, plain);
            while let Some(event) = self.server.engine.poll_event()? {
                let (engine, asked) = (&mut self.server.engine, &mut self.asked);
                serve(engine, event, &self.secret, asked)?;
            }
        }
        Ok(())
    }

    fn client_turn(&mut self) {
        if self.client_end.is_none() {
            self.client_end = self.client_steps().err();
        }
    }

    fn client_steps(&mut self) -> Result<(), CloseReason> {
        while let Some(event) = self.client.engine.poll_event()? {
            self.tell(event);
        }
        while let Some(plain) = self.client.open()? {
            self.client.engine.handle_bytes(self.now, plain);
            while let Some(event) = self.client.engine.poll_event()? {
                self.tell(event);
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: ClientEvent) {
        let begin = |told, len| Some((told, len, BytesMut::new()));
        match event {
            ClientEvent::Ready => self.told.push(Told::Ready),
            ClientEvent::Rpc { request, result } => self.told.push(Told::Rpc(request, result)),
            ClientEvent::MergedMeta { request, num_chunks, bitmaps } => {
                self.told.push(Told::MergedMeta(request, num_chunks, bitmaps));
            }
            ClientEvent::ChunkFailed { chunk, error, .. } => self.told.push(Told::ChunkFailed(chunk, error)),
            ClientEvent::StreamFailed { name, error } => self.told.push(Told::StreamFailed(name, error)),
            ClientEvent::Chunk { chunk, len, .. } => self.body = begin(Told::Chunk(chunk, Bytes::new()), len),
            ClientEvent::Stream { name, len } => self.body = begin(Told::Stream(name, Bytes::new()), len),
            ClientEvent::Body(piece) => {
                assert!(!piece.is_empty(), "a piece of a body is never empty");
                self.body.as_mut().unwrap().2.extend_from_slice(&piece);
            }
            ClientEvent::BodyEnd => {
                let (told, len, body) = self.body.take().unwrap();
                assert_eq!(body.len() as u64, len);
                let body = body.freeze();
                self.told.push(match told {
                    Told::Chunk(chunk, _) => Told::Chunk(chunk, body),
                    Told::Stream(name, _) => Told::Stream(name, body),
                    other => other,
                });
            }
        }
    }
}

/// What stream `planted` holds: a whole request, which means nothing there.
pub(crate) fn planted() -> Bytes {
    message(&Head::RpcRequest { request: RequestId(666) }, b"remove")
}

/// The application on the serving end: RPCs are echoed, chunk `n` is `n` bytes long, what is negative, above
/// a million or named `no` fails.
pub(crate) fn serve(
    engine: &mut Server,
    event: ServerEvent,
    secret: &AppSecret,
    asked: &mut Vec<String>,
) -> Result<(), CloseReason> {
    let request = match event {
        ServerEvent::Challenge(challenge) => {
            let Challenge::X25519(challenge) = challenge else { panic!("{challenge:?}") };
            return match Responder::respond(&challenge, secret, &mut Seeded(2)) {
                Ok((answer, keys)) => {
                    engine.accept(challenge.app_id().clone(), &answer.encode(), Some(Agreement::X25519(keys)))
                }
                Err(error) => engine.refuse("Authentication failed.", error.to_string()),
            };
        }
        ServerEvent::Unauthenticated(what) => {
            asked.push(format!("unauthenticated: {what}"));
            return Ok(());
        }
        ServerEvent::UploadPiece(piece) => {
            asked.push(format!("piece of {} bytes", piece.len()));
            return Ok(());
        }
        ServerEvent::UploadEnd => {
            asked.push("end of the upload".to_owned());
            return Ok(());
        }
        ServerEvent::Request(request) => request,
    };
    asked.push(format!("{request:?}"));
    match request {
        Request::Rpc { request, body } if &body[..] == b"no" => engine.fail_rpc(request, "java.lang.No"),
        Request::Rpc { request, body } => engine.answer_rpc(request, &body),
        Request::OneWay { .. } => Ok(()),
        Request::Chunk { stream, chunk } => match usize::try_from(chunk.0) {
            Ok(len @ 0..=1_000_000) => engine.answer_chunk(stream, chunk, pattern(len).into()),
            _ => engine.fail_chunk(stream, chunk, "java.lang.No"),
        },
        Request::Stream { name } if name == "no" => engine.fail_stream(name, "java.lang.No"),
        Request::Stream { name } if name == "planted" => engine.answer_stream(name, planted()),
        Request::Stream { name } => {
            let len = name.len() * 100;
            engine.answer_stream(name, pattern(len).into())
        }
        Request::Upload { meta, .. } if &meta[..] == b"take" => Ok(()),
        Request::Upload { request, meta, .. } if &meta[..] == b"early" => {
            engine.answer_rpc(request, b"before its body")
        }
        Request::Upload { request, .. } => {
            engine.fail_rpc(request, "java.lang.No")?;
            engine.close(CloseReason::Refused("an upload".to_owned()));
            Ok(())
        }
        Request::MergedBlockMeta { request, reduce, .. } if reduce.0 < 0 => {
            engine.fail_rpc(request, "java.lang.No")
        }
        Request::MergedBlockMeta { request, reduce, .. } => {
            engine.answer_merged_meta(request, reduce.0, Bytes::from_static(b"bitmaps"))
        }
    }
}

/// Bytes of one message with its body.
pub(crate) fn message(head: &Head, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    head.encode(body.len() as u64, &mut out).unwrap();
    out.extend_from_slice(body);
    out.freeze()
}

/// Pulls events until the engine ends or waits.
pub(crate) fn ended<E: Engine>(engine: &mut E) -> Option<CloseReason> {
    loop {
        match engine.poll_event() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(end) => return Some(end),
        }
    }
}
