//! A peer of a server that says whatever it is told to.
#![allow(dead_code)] // each test crate uses its part
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::auth::{AesSession, AuthMessage, EngineVersion, Initiator};
use sealed_shuffle_protocol::cipher::{Segment, SessionCipher, SessionMode};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::BlockTransferMessage;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::Stack;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const GCM: SessionMode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm };
pub(crate) const CTR: SessionMode = SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr };
pub(crate) const CTR_2: SessionMode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Ctr };

/// A peer that says whatever it is told to.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    pub(crate) stack: Stack,
    inbound: BytesMut,
    decoder: FrameDecoder,
    next_request: i64,
    /// Silence is as good as an end; otherwise it is a failed test.
    pub(crate) gives_up: bool,
    /// Plaintext of everything that came.
    pub(crate) heard: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// The same on a socket that is connected.
    pub(crate) fn on(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let (inbound, decoder) = (BytesMut::new(), FrameDecoder::new(1 << 20));
        Self {
            socket,
            stack: Stack::default(),
            inbound,
            decoder,
            next_request: 1,
            gives_up: false,
            heard: Vec::new(),
        }
    }

    /// Its socket, for who reads or writes beneath it.
    pub(crate) fn socket(&self) -> TcpStream {
        self.socket.try_clone().unwrap()
    }

    /// Proves `app`; an error is the server's text, empty where it closed without a word.
    pub(crate) fn handshake(&mut self, app: &str, secret: &str, mode: SessionMode) -> Result<(), String> {
        let secret = Arc::new(AppSecret::new(secret.to_owned()));
        let (initiator, challenge) = Initiator::start(AppId::new(app), secret, &mut OsRandom).unwrap();
        self.send(&Head::RpcRequest { request: RequestId(0) }, &challenge.encode());
        match self.next() {
            Some((Head::RpcResponse { .. }, body)) => {
                let keys = initiator.finish(&AuthMessage::decode(&body).unwrap()).unwrap();
                self.stack.push(Box::new(AesSession::client(keys, mode, Box::new(OsRandom))));
                Ok(())
            }
            Some((Head::RpcFailure { error, .. }, _)) => Err(error),
            None => Err(String::new()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn say_pending(&mut self) {
        while let Some(bytes) = self.stack.pending_output().unwrap() {
            self.socket.write_all(&bytes).unwrap();
        }
    }

    /// Bytes as they are, cipher or not.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Plaintext through the cipher, if there is one.
    pub(crate) fn try_say(&mut self, plain: &[u8]) -> std::io::Result<()> {
        if plain.is_empty() {
            return Ok(());
        }
        let sealed = self.sealed(plain);
        self.socket.write_all(&sealed)
    }

    /// Plaintext as it goes out, for who writes it by other means.
    pub(crate) fn sealed(&mut self, plain: &[u8]) -> Vec<u8> {
        let layout = self.stack.layout();
        // Each further layer needs a little more than the first one knows of.
        let room = layout.sealed_len(plain.len() as u64) + (64 << 10);
        let mut segment = Segment::with_capacity(usize::try_from(room).unwrap());
        segment.reset(layout);
        assert_eq!(segment.put(plain), plain.len());
        self.stack.seal(&mut segment).unwrap();
        segment.sealed().to_vec()
    }

    pub(crate) fn send(&mut self, head: &Head, body: &[u8]) {
        let said = self.try_say(&message(head, body));
        assert!(said.is_ok() || self.gives_up, "{said:?}");
    }

    /// The next message; `None` once the server has closed.
    pub(crate) fn next(&mut self) -> Option<(Head, Bytes)> {
        let mut current: Option<(Head, BytesMut)> = None;
        loop {
            match self.decoder.next().unwrap() {
                Some(FrameEvent::Head { head, .. }) => current = Some((head, BytesMut::new())),
                Some(FrameEvent::Body(piece)) => current.as_mut().unwrap().1.extend_from_slice(&piece),
                Some(FrameEvent::End) => return current.map(|(head, body)| (head, body.freeze())),
                None if self.read_some() == 0 => return None,
                None => {}
            }
        }
    }

    /// Takes what the socket gives; 0 at its end.
    pub(crate) fn read_some(&mut self) -> usize {
        let mut buffer = [0; 64 << 10];
        let n = match self.socket.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !self.gives_up => {
                panic!("nothing came in time")
            }
            Err(_) => 0,
        };
        self.inbound.extend_from_slice(&buffer[..n]);
        while let Some(plain) = self.stack.open(&mut self.inbound).unwrap() {
            self.heard.extend_from_slice(&plain);
            self.decoder.feed(plain.freeze());
        }
        self.say_pending();
        n
    }

    /// Waits for the end, discarding what comes.
    pub(crate) fn wait_closed(&mut self) {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("not closed in time"),
                Err(_) => return,
            }
        }
    }

    pub(crate) fn finish_writing(&self) {
        // A server that has closed already is as good.
        drop(self.socket.shutdown(Shutdown::Write));
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn rpc(&mut self, message: &BlockTransferMessage) -> Result<Bytes, String> {
        self.rpc_bytes(&message.encode().unwrap())
    }

    pub(crate) fn rpc_bytes(&mut self, body: &[u8]) -> Result<Bytes, String> {
        let request = self.request();
        self.send(&Head::RpcRequest { request }, body);
        match self.next() {
            Some((Head::RpcResponse { request: of }, body)) if of == request => Ok(body),
            Some((Head::RpcFailure { request: of, error }, _)) if of == request => Err(error),
            None => Err(String::new()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn chunk(&mut self, stream: StreamId, index: i32) -> Result<Bytes, String> {
        self.ask_for_chunk(stream, index);
        self.asked_chunk()
    }

    pub(crate) fn ask_for_chunk(&mut self, stream: StreamId, index: i32) {
        self.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(index) }, &[]);
    }

    /// The chunk that was asked for.
    pub(crate) fn asked_chunk(&mut self) -> Result<Bytes, String> {
        match self.next() {
            Some((Head::ChunkFetchSuccess { .. }, body)) => Ok(body),
            Some((Head::ChunkFetchFailure { error, .. }, _)) => Err(error),
            None => Err(String::new()),
            other => panic!("{other:?}"),
        }
    }
}

/// A message with its body.
pub(crate) fn message(head: &Head, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    head.encode(body.len() as u64, &mut out).unwrap();
    out.extend_from_slice(body);
    out.freeze()
}
