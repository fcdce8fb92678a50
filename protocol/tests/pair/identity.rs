//! Who is served: handshakes, anonymous peers, and everything in between.

use bytes::Bytes;
use sealed_shuffle_protocol::auth::Initiator;
use sealed_shuffle_protocol::connection::{CloseReason, Engine, Identity, ServerSettings};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::Head;

use crate::joined::{
    Pair, Server, Told, ended, message, modes, open_settings, secret, serve, server_settings,
};
use crate::support::Seeded;

fn challenge() -> Bytes {
    let (_, challenge) =
        Initiator::start(AppId::new("app-1"), secret("a shared secret"), &mut Seeded(1)).unwrap();
    challenge.encode()
}

/// Feeds a raw server: events as text, what it says, and how it ended.
fn raw(settings: ServerSettings, bytes: impl IntoIterator<Item = Bytes>) -> Raw {
    let now = std::time::Instant::now();
    let mut raw = Raw { server: Server::new(now, settings), asked: Vec::new(), said: Vec::new(), end: None };
    for piece in bytes {
        raw.server.handle_bytes(now, piece);
        raw.turn();
    }
    raw
}

struct Raw {
    server: Server,
    asked: Vec<String>,
    said: Vec<u8>,
    end: Option<CloseReason>,
}

impl Raw {
    fn turn(&mut self) {
        use sealed_shuffle_protocol::connection::Transmit;
        if self.end.is_some() {
            return;
        }
        let secret = secret("a shared secret");
        loop {
            match self.server.poll_event() {
                Ok(Some(event)) => {
                    if let Err(end) = serve(&mut self.server, event, &secret, &mut self.asked) {
                        self.end = Some(end);
                        break;
                    }
                }
                Ok(None) => break,
                Err(end) => {
                    self.end = Some(end);
                    break;
                }
            }
        }
        while let Some(transmit) = self.server.poll_transmit() {
            if let Transmit::Head(bytes) | Transmit::Body(bytes) = transmit {
                self.said.extend_from_slice(&bytes);
            }
        }
    }

    fn says(&self, text: &str) -> bool {
        self.said.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// One of each request that is no handshake.
fn requests() -> Vec<(&'static str, Bytes)> {
    let (stream, chunk, request) = (StreamId(0), ChunkIndex(0), RequestId(5));
    let merged = Head::MergedBlockMetaRequest {
        request,
        app: AppId::new("app-1"),
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
        reduce: ReduceId(0),
    };
    vec![
        ("rpc", message(&Head::RpcRequest { request }, b"\x00anything")),
        ("chunk", message(&Head::ChunkFetchRequest { stream, chunk }, b"")),
        ("stream", message(&Head::StreamRequest { stream: "0_0".to_owned() }, b"")),
        ("upload", message(&Head::UploadStream { request, meta: Bytes::from_static(b"m") }, b"the body")),
        ("merged", message(&merged, b"")),
    ]
}

#[test]
fn nothing_but_the_handshake_is_answered_without_identity() {
    for (name, bytes) in requests() {
        let raw = raw(server_settings(), [bytes]);
        assert_eq!(raw.asked.len(), 1, "{name}: {:?}", raw.asked);
        assert!(raw.asked[0].starts_with("unauthenticated"), "{name}: {:?}", raw.asked);
        assert!(raw.says("java.lang."), "{name} gets a failure that it can read");
        assert!(raw.server.is_closing(), "{name}");
        assert_eq!(raw.server.identity(), None);
    }
}

#[test]
fn one_way_messages_without_identity_are_ignored() {
    let one_way = message(&Head::OneWayMessage, b"whatever");
    let raw =
        raw(server_settings(), [one_way, message(&Head::RpcRequest { request: RequestId(1) }, &challenge())]);
    assert!(raw.asked.is_empty(), "{:?}", raw.asked);
    assert_eq!(raw.server.identity(), Some(&Identity::Proven(AppId::new("app-1"))));
}

#[test]
fn all_requests_are_answered_to_anonymous_peers_where_these_are_admitted() {
    for (name, bytes) in requests() {
        let raw = raw(open_settings(), [bytes]);
        assert_eq!(raw.asked.len(), 1, "{name}");
        assert!(!raw.asked[0].starts_with("unauthenticated"), "{name}: {:?}", raw.asked);
    }
}

#[test]
fn peer_may_prove_itself_where_it_need_not() {
    let settings = ServerSettings { admits_anonymous: true, ..server_settings() };
    let mut pair = Pair::sealed_with(modes()[3], "a shared secret", settings.clone());
    pair.settle();
    assert_eq!(pair.told, [Told::Ready]);
    assert_eq!(pair.server.engine.identity(), Some(&Identity::Proven(AppId::new("app-1"))));

    let mut pair = Pair::in_clear(settings);
    pair.client.engine.rpc(RequestId(1), b"hello").unwrap();
    pair.settle();
    assert_eq!(pair.server.engine.identity(), Some(&Identity::Anonymous));
}

#[test]
fn peer_that_was_anonymous_once_stays_so() {
    let settings = ServerSettings { admits_anonymous: true, ..server_settings() };
    let rpc = |request, body: &[u8]| message(&Head::RpcRequest { request: RequestId(request) }, body);
    let raw = raw(settings, [rpc(1, b"hello"), rpc(2, &challenge())]);
    assert_eq!(raw.server.identity(), Some(&Identity::Anonymous));
    assert_eq!(raw.asked.len(), 2, "the late challenge is an ordinary RPC: {:?}", raw.asked);
}

#[test]
fn challenge_is_an_ordinary_rpc_on_a_server_without_secrets() {
    let mut pair = Pair::sealed_with(modes()[0], "a shared secret", open_settings());
    pair.settle();
    assert_eq!(pair.asked.len(), 1);
    assert!(pair.asked[0].starts_with("Rpc"), "{:?}", pair.asked);
    // Our application echoes it, which is no answer to a challenge.
    assert!(matches!(pair.client_end, Some(CloseReason::Handshake(_))), "{:?}", pair.client_end);
    assert!(pair.told.is_empty());
}

#[test]
fn second_challenge_is_an_ordinary_rpc() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        pair.client.engine.rpc(RequestId(9), &challenge()).unwrap();
        pair.settle();
        assert_eq!(pair.told[1..], [Told::Rpc(RequestId(9), Ok(challenge()))]);
    }
}

#[test]
fn wrong_secret_is_refused_with_a_text_and_never_answered_again() {
    let mut pair = Pair::sealed_with(modes()[0], "another secret", server_settings());
    pair.settle();
    let Some(CloseReason::HandshakeRefused(text)) = &pair.client_end else { panic!("{:?}", pair.client_end) };
    assert_eq!(text, "Authentication failed.");
    assert!(pair.server.engine.is_closing());
    assert!(pair.told.is_empty());
}

#[test]
fn bytes_between_challenge_and_answer_end_the_connection() {
    let greeting = message(&Head::RpcRequest { request: RequestId(1) }, &challenge());
    for behind in [&b"\0"[..], &greeting] {
        let early = [&greeting[..], behind].concat();
        let raw = raw(server_settings(), [early.into()]);
        let Some(CloseReason::EarlyBytes(n)) = raw.end else { panic!("{:?}", raw.end) };
        assert_eq!(n, behind.len());
        assert!(raw.said.is_empty(), "no answer went out");
    }
}

#[test]
fn client_ends_when_bytes_follow_the_answer_in_clear() {
    let mut pair = Pair::sealed(modes()[0]);
    pair.settle();
    let answer = pair.wire.1.clone();

    let mut other = Pair::sealed(modes()[0]);
    let now = other.now;
    other.client.engine.handle_bytes(now, [&answer[..], b"\0"].concat().into());
    let end = ended(&mut other.client.engine);
    assert!(matches!(end, Some(CloseReason::EarlyBytes(1))), "{end:?}");
}

#[test]
fn challenge_that_does_not_decode_is_refused() {
    for body in [&[0xEA][..], &[0xEA, 0xff, 0xff, 0xff, 0xff], &[0xEA, 0, 0, 0, 1, b'a']] {
        let raw = raw(server_settings(), [message(&Head::RpcRequest { request: RequestId(1) }, body)]);
        assert!(raw.says("Unknown challenge message"), "{body:?}");
        assert!(raw.server.is_closing());
    }
}
