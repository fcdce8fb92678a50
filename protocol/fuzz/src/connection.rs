//! Both connection engines under a list of operations: requests, answers, bytes in any pieces, time, ends, and bytes of
//! a stranger between them.
//!
//! While nobody meddles, nothing that one end sends may be refused by the other. From then on only a panic is a fault.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::auth::{AesSession, FirstBytes, Initiator, Responder};
use sealed_shuffle_protocol::cipher::{Layer, SessionMode};
use sealed_shuffle_protocol::connection::{
    Agreement, Challenge, ClientConnection, ClientEvent, ClientSettings, CloseReason, Engine, Greeting,
    Request, ServerConnection, ServerEvent, ServerSettings, Transmit,
};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::secret::AppSecret;

use super::input::Input;
use super::layers::seal;
use super::random::Seeded;

/// One end: an engine, its session layer, and the bytes on their way to it.
struct End<E> {
    engine: E,
    layer: Option<AesSession>,
    /// From the wire, not opened yet.
    waiting: BytesMut,
    /// Sent by the other end, not delivered yet.
    wire: VecDeque<u8>,
}

impl<E: Engine<Body = Bytes>> End<E> {
    fn new(engine: E) -> Self {
        Self { engine, layer: None, waiting: BytesMut::new(), wire: VecDeque::new() }
    }

    /// What the engine wants to say, sealed.
    fn say(&mut self, now: Instant, session: impl Fn(Agreement) -> AesSession) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit() {
            match transmit {
                Transmit::Head(plain) | Transmit::Body(plain) => match &mut self.layer {
                    None => out.extend_from_slice(&plain),
                    Some(layer) if layer.is_ready() => out.extend(seal(layer, &plain)),
                    Some(_) => {}
                },
                Transmit::Boundary => {}
                Transmit::Install(agreed) => self.layer = Some(session(*agreed)),
            }
        }
        self.engine.handle_output(now, out.len(), false);
        out
    }

    /// Delivers so many bytes of the wire; `false` where a layer refuses them.
    fn hear(&mut self, now: Instant, count: usize) -> bool {
        let count = count.min(self.wire.len());
        self.waiting.extend(self.wire.drain(..count));
        let Some(layer) = &mut self.layer else {
            let plain = self.waiting.split().freeze();
            self.engine.handle_bytes(now, plain);
            return true;
        };
        loop {
            match layer.open(&mut self.waiting) {
                Ok(None) => return true,
                Ok(Some(plain)) => self.engine.handle_bytes(now, plain.freeze()),
                Err(_) => return false,
            }
        }
    }
}

/// The first byte chooses the mode, each further one an operation.
pub(crate) fn operations(data: &[u8]) {
    let mut input = Input(data);
    let Some(mut pair) = Pair::new(input.byte()) else { return };
    while !input.is_empty() && !pair.is_over {
        pair.operate(&mut input);
        pair.settle();
    }
}

struct Pair {
    now: Instant,
    mode: SessionMode,
    client: End<ClientConnection<Bytes>>,
    server: End<ServerConnection<Bytes>>,
    /// Requests that the server has not answered, in order.
    requests: VecDeque<Request>,
    /// Names the next request, chunk and stream, each once.
    next: i32,
    /// A stranger's bytes, a deadline or an end: anything may follow.
    is_disturbed: bool,
    is_over: bool,
}

impl Pair {
    fn new(choice: u8) -> Option<Self> {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let client_settings = ClientSettings {
            limits: Limits::default(),
            handshake_timeout: seconds(10),
            answer_timeout: seconds(120),
            idle_timeout: seconds(300),
        };
        let authenticates = choice & 1 == 1;
        let server_settings = ServerSettings {
            limits: Limits::default(),
            handshake_timeout: seconds(30),
            idle_timeout: seconds(120),
            stalled_timeout: seconds(60),
            authenticates,
            admits_anonymous: !authenticates,
        };
        let mode = SessionMode::all().nth(usize::from(choice >> 1) % SessionMode::all().count())?;
        let client = if authenticates {
            let secret = AppSecret::new("a shared secret".to_owned()).into();
            let (initiator, challenge) =
                Initiator::start(AppId::new("app-1"), secret, &mut Seeded(1)).ok()?;
            let greeting = Greeting::X25519(initiator);
            let message = challenge.encode();
            ClientConnection::authenticating(now, client_settings, RequestId(0), greeting, &message).ok()?
        } else {
            ClientConnection::in_clear(now, client_settings)
        };
        let mut pair = Self {
            now,
            mode,
            client: End::new(client),
            server: End::new(ServerConnection::new(now, server_settings)),
            requests: VecDeque::new(),
            next: 1,
            is_disturbed: false,
            is_over: false,
        };
        pair.client.engine.handle_ready(now);
        pair.settle();
        Some(pair)
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        match operation {
            0..0x30 => self.ask(operation, input),
            0x30..0x60 => {
                let count = usize::from(input.byte()) * 64 + 1;
                if !self.server.hear(self.now, count) {
                    self.ended("the server's layer");
                }
            }
            0x60..0x90 => {
                let count = usize::from(input.byte()) * 64 + 1;
                if !self.client.hear(self.now, count) {
                    self.ended("the client's layer");
                }
            }
            0x90..0xc0 => self.answer(operation, input),
            0xc0..0xd0 => {
                let count = usize::from(input.byte());
                self.is_disturbed = true;
                self.server.wire.extend(input.take(count));
            }
            0xd0..0xe0 => {
                let count = usize::from(input.byte());
                self.is_disturbed = true;
                self.client.wire.extend(input.take(count));
            }
            0xe0..0xf0 => {
                self.now += Duration::from_secs(u64::from(input.byte()));
                self.is_disturbed = true;
                let (client, server) = (&mut self.client.engine, &mut self.server.engine);
                self.is_over |=
                    client.handle_timeout(self.now).is_err() || server.handle_timeout(self.now).is_err();
                let _ = (client.poll_timeout(), server.poll_timeout());
            }
            0xf0..0xf8 => {
                self.is_disturbed = true;
                self.server.engine.close(CloseReason::ShuttingDown);
                let _ = self.server.engine.take_close_reason();
            }
            0xf8..=0xff => {
                self.is_disturbed = true;
                let _ = (self.client.engine.handle_eof().label(), self.server.engine.handle_eof().label());
            }
        }
    }

    /// The client asks for something that it has not asked for before.
    fn ask(&mut self, what: u8, input: &mut Input<'_>) {
        let number = self.next;
        self.next += 1;
        let request = RequestId(i64::from(number) + 1000);
        let body = vec![what; usize::from(input.byte()) * 8];
        let client = &mut self.client.engine;
        // An engine refuses it before the handshake has ended, which is no fault.
        let sent = match what % 6 {
            0 => client.rpc(request, &body),
            1 => client.one_way(&body),
            2 => client.chunk(StreamId(1), ChunkIndex(number)),
            3 => client.stream(format!("1_{number}")),
            4 => client.upload(request, Bytes::from_static(b"meta"), body.into()),
            _ => client.merged_meta(
                request,
                AppId::new("app-1"),
                ShuffleId(0),
                ShuffleMergeId(0),
                ReduceId(number),
            ),
        };
        drop(sent);
    }

    /// The server answers the oldest request, or fails it.
    fn answer(&mut self, how: u8, input: &mut Input<'_>) {
        let Some(request) = self.requests.pop_front() else { return };
        let body = Bytes::from(vec![how; usize::from(input.byte()) * 16]);
        let (server, fails) = (&mut self.server.engine, how.is_multiple_of(4));
        let said = match request {
            Request::OneWay { .. } => Ok(()),
            Request::Rpc { request, .. } | Request::Upload { request, .. } if fails => {
                server.fail_rpc(request, "no")
            }
            Request::Rpc { request, .. } if how % 4 == 1 => server.answer_rpc_in_two(request, b"in two"),
            Request::Rpc { request, .. } | Request::Upload { request, .. } => {
                server.answer_rpc(request, &body)
            }
            Request::Chunk { stream, chunk } if fails => server.fail_chunk(stream, chunk, "no"),
            Request::Chunk { stream, chunk } => server.answer_chunk(stream, chunk, body),
            Request::Stream { name } if fails => server.fail_stream(name, "no"),
            Request::Stream { name } => server.answer_stream(name, body),
            Request::MergedBlockMeta { request, .. } if fails => server.fail_rpc(request, "no"),
            Request::MergedBlockMeta { request, .. } => server.answer_merged_meta(request, 1, body),
        };
        said.expect("an answer of some KiB can be said");
    }

    /// Everything that follows without anybody's doing.
    fn settle(&mut self) {
        loop {
            match self.server.engine.poll_event() {
                Ok(None) => break,
                Ok(Some(ServerEvent::Request(request))) => self.requests.push_back(request),
                Ok(Some(ServerEvent::Challenge(challenge))) => self.judge(&challenge),
                Ok(Some(ServerEvent::UploadPiece(piece))) => assert!(!piece.is_empty()),
                Ok(Some(ServerEvent::UploadEnd | ServerEvent::Unauthenticated(_))) => {}
                Err(error) => return self.ended(&error.to_string()),
            }
        }
        loop {
            match self.client.engine.poll_event() {
                Ok(None) => break,
                Ok(Some(ClientEvent::Body(piece))) => assert!(!piece.is_empty()),
                Ok(Some(_)) => {}
                Err(error) => return self.ended(&error.to_string()),
            }
        }
        let _ = (self.server.engine.memory_wanted(), self.client.engine.memory_wanted());
        let _ = (self.server.engine.expects_bulk(), self.client.engine.owed());
        let mode = self.mode;
        let up = self.client.say(self.now, |agreed| match agreed {
            Agreement::X25519(keys) => AesSession::client(keys, mode, Box::new(Seeded(3))),
            other => panic!("{other:?}"),
        });
        self.server.wire.extend(up);
        let down = self.server.say(self.now, |agreed| match agreed {
            Agreement::X25519(keys) => AesSession::server(keys, FirstBytes::Frame, Box::new(Seeded(4))),
            other => panic!("{other:?}"),
        });
        self.client.wire.extend(down);
    }

    fn judge(&mut self, challenge: &Challenge) {
        let secret = AppSecret::new("a shared secret".to_owned());
        let server = &mut self.server.engine;
        let answered = match challenge {
            Challenge::X25519(message) => Responder::respond(message, &secret, &mut Seeded(2)).ok(),
            Challenge::Pbkdf2(_) | Challenge::Sasl(_) => None,
        };
        let said = match answered {
            Some((response, keys)) => {
                server.accept(challenge.app_id().clone(), &response.encode(), Some(Agreement::X25519(keys)))
            }
            None => server.refuse("no", "it is a stranger's".to_owned()),
        };
        said.expect("there is a challenge to judge");
    }

    /// The connection is over; it may be, if somebody meddled.
    fn ended(&mut self, why: &str) {
        assert!(self.is_disturbed, "refused without a cause: {why}");
        self.is_over = true;
    }
}
