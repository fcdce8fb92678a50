//! Someone on the network between a client and a running server, without any key: what it sends once more over real
//! sockets is executed by nobody.

#![allow(clippy::unwrap_used)]

mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::{GcmKeySize, SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, RequestId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, RemoveBlocks, Strings};

use running::{APP, CTR, CTR_2, EXECUTOR, Peer, Running, eventually, message, register};

/// A cached block, on the executor's disk.
const CACHED: &str = "rdd_3_1";
/// Bytes of the head in front of a chunk.
const CHUNK_HEAD: usize = 8 + 1 + 8 + 4;
/// A block of several messages.
const BLOCK: usize = 700_000;

#[test]
fn servers_own_bytes_that_come_back_remove_nothing() {
    for mode in gcm() {
        let running = Running::start();
        let (proxy, mut client) = Proxy::with_client(&running, mode);
        let cached = write_cached(&running);

        // Where the second message of the block begins: its lengths are in clear.
        running.write_map(0, &[BLOCK as u64]);
        let first = client.open(0, &[0]).unwrap();
        let before = proxy.to_client().len();
        client.chunk(first.stream, 0).unwrap();
        let lens: Vec<_> =
            messages(&proxy.to_client()[before..]).iter().map(|m| plain_len(m, mode)).collect();
        assert!(lens.len() > 1, "{lens:?}");

        // Another block of that length has a request there, which means nothing in a block.
        let planted = message(&Head::RpcRequest { request: RequestId(5) }, &remove_cached());
        let at = lens[0] - CHUNK_HEAD;
        let data = running.write_map(1, &[BLOCK as u64]);
        let mut content = fs::read(&data).unwrap();
        content[at..at + planted.len()].copy_from_slice(&planted);
        fs::write(&data, &content).unwrap();
        let second = client.open(1, &[0]).unwrap();
        let before = proxy.to_client().len();
        assert_eq!(client.chunk(second.stream, 0).unwrap(), content, "the honest exchange");
        assert!(cached.exists());

        let heard = proxy.to_client();
        proxy.say_to_server(messages(&heard[before..])[1]);
        client.finish_writing();
        client.wait_closed();
        assert!(cached.exists(), "{mode}: the server removed a block because its own bytes came back");
        eventually("the end is counted", || running.closes("cipher") == 1);
        running.assert_serves();
    }
}

#[test]
fn request_that_comes_twice_is_executed_once() {
    for mode in gcm() {
        let running = Running::start();
        let (proxy, mut client) = Proxy::with_client(&running, mode);
        let cached = write_cached(&running);
        let before = proxy.to_server().len();
        client.rpc_bytes(&remove_cached()).unwrap();
        assert!(!cached.exists(), "the honest exchange");

        write_cached(&running);
        let said = proxy.to_server();
        proxy.say_to_server(&said[before..]);
        client.finish_writing();
        client.wait_closed();
        assert!(cached.exists(), "{mode}: the server removed a block again");
        eventually("the end is counted", || running.closes("cipher") == 1);
        running.assert_serves();
    }
}

#[test]
fn recorded_connection_that_is_played_again_says_nothing() {
    for mode in [CTR, CTR_2].into_iter().chain(gcm()) {
        let running = Running::start();
        let (proxy, mut client) = Proxy::with_client(&running, mode);
        let cached = write_cached(&running);
        client.rpc_bytes(&remove_cached()).unwrap();
        assert!(!cached.exists(), "the honest exchange");

        write_cached(&running);
        let said = proxy.to_server();
        let challenge = usize::try_from(u64::from_be_bytes(*said.first_chunk().unwrap())).unwrap();
        let mut again = Peer::connect(running.address);
        again.send_raw(&said[..challenge]).unwrap();
        // It is answered like any other, with new keys.
        again.socket.read_exact(&mut [0; 9]).unwrap();
        again.send_raw(&said[challenge..]).unwrap();
        again.finish_writing();
        again.wait_closed();
        assert!(cached.exists(), "{mode}");
        running.assert_serves();
    }
}

fn gcm() -> [SessionMode; 2] {
    EngineVersion::ALL.map(|version| SessionMode { version, cipher: SessionCipher::Gcm })
}

fn write_cached(running: &Running) -> PathBuf {
    running.write_rdd(CACHED, b"cached")
}

fn remove_cached() -> Vec<u8> {
    let message: BlockTransferMessage = RemoveBlocks {
        app: AppId::new(APP),
        executor: ExecutorId::new(EXECUTOR),
        blocks: Strings::try_from_iter([CACHED]).unwrap(),
    }
    .into();
    message.encode().unwrap().to_vec()
}

/// The GCM messages in whole bytes of one direction.
fn messages(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = wire.first_chunk() {
        let (first, rest) = wire.split_at(usize::try_from(u64::from_be_bytes(*length)).unwrap());
        messages.push(first);
        wire = rest;
    }
    messages
}

/// Bytes of plaintext in a message.
fn plain_len(message: &[u8], mode: SessionMode) -> usize {
    let layout = match mode.version {
        EngineVersion::V1 => GcmKeySize::Aes256.layout(),
        EngineVersion::V2 => GcmKeySize::Aes128.layout(),
    };
    let units = message.len() - layout.head;
    units - units.div_ceil(layout.unit + layout.tail) * layout.tail
}

/// Passes one connection on, keeps what it hears, and says what it is told to.
struct Proxy {
    to_server: Arc<Mutex<Vec<u8>>>,
    to_client: Arc<Mutex<Vec<u8>>>,
    server: TcpStream,
}

impl Proxy {
    /// A proxy in front of the server, and a client behind it that has proven itself and registered.
    fn with_client(running: &Running, mode: SessionMode) -> (Self, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Peer::connect(listener.local_addr().unwrap());
        let proxy = Self::between(listener.accept().unwrap().0, running.address);
        client.handshake(APP, &running.secret, mode).unwrap();
        client.rpc(&register(&[running.dir.to_str().unwrap()])).unwrap();
        (proxy, client)
    }

    fn between(client: TcpStream, address: SocketAddr) -> Self {
        let server = TcpStream::connect(address).unwrap();
        let proxy = Self { to_server: Arc::default(), to_client: Arc::default(), server };
        for socket in [&client, &proxy.server] {
            socket.set_nodelay(true).unwrap();
        }
        let copy = |socket: &TcpStream| socket.try_clone().unwrap();
        pass_on(copy(&client), copy(&proxy.server), Arc::clone(&proxy.to_server));
        pass_on(copy(&proxy.server), client, Arc::clone(&proxy.to_client));
        proxy
    }

    fn to_server(&self) -> Vec<u8> {
        self.to_server.lock().unwrap().clone()
    }

    fn to_client(&self) -> Vec<u8> {
        self.to_client.lock().unwrap().clone()
    }

    /// Bytes that the client did not send.
    fn say_to_server(&self, bytes: &[u8]) {
        (&self.server).write_all(bytes).unwrap();
    }
}

/// Passes bytes and the end of them on. They are kept before they are passed on: who has heard an answer finds it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, kept: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            kept.lock().unwrap().extend_from_slice(&buffer[..n]);
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        // The other end may have closed already.
        drop(to.shutdown(Shutdown::Write));
    });
}
