//! Our client accepts nothing weaker than it was told, from servers that offer less.
//!
//! Each script speaks for a server that wants the client to step down. The client ends with an error that says so, does
//! not come back with less, and has said nothing of what it wanted to ask.

use std::convert::identity;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_client::{Address, Client, ErrorKind, FetchError, Security, Settings};
use sealed_shuffle_config::TlsVersions;
use sealed_shuffle_protocol::auth::legacy::{self, LegacyLimits, LegacySettings};
use sealed_shuffle_protocol::auth::{AesSession, AuthMessage, FirstBytes, Responder, SessionKeys};
use sealed_shuffle_protocol::cipher::{Layer, Role, Segment, SessionMode};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::sasl::{self, Demand, Offer, Protection, SaslCipher, SaslLayer, SaslMessage};
use sealed_shuffle_protocol::secret::{AppSecret, Secret};
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, StreamHandle};
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::Stack;
use sealed_shuffle_transport::tls::{LiveServerTls, TlsLayer};

use crate::authority::{Authority, Bundle, self_signed};
use crate::running::{APP, CTR, CTR_2, GCM, PATIENCE, message};
use crate::step::MODES;

const SECRET: &str = "a secret that both ends know";
/// Part of everything that the client wants to ask.
const CANARY: &str = "rdd_77001_77002";

/// A server for the connections of one client, and what it heard.
struct Hostile {
    address: Address,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    connections: usize,
    raw: Vec<u8>,
    /// What TLS and Spark's ciphers had around it.
    plain: Vec<u8>,
}

/// One connection.
struct Talk {
    socket: TcpStream,
    stack: Stack,
    decoder: FrameDecoder,
    inbound: BytesMut,
    said: Arc<Mutex<Said>>,
}

impl Hostile {
    fn start(script: impl Fn(&mut Talk) -> Option<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let said = Arc::new(Mutex::new(Said::default()));
        let log = Arc::clone(&said);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                log.lock().unwrap().connections += 1;
                let (stack, decoder) = (Stack::default(), FrameDecoder::new(1 << 20));
                let mut talk =
                    Talk { socket, stack, decoder, inbound: BytesMut::new(), said: Arc::clone(&log) };
                script(&mut talk);
                while talk.read().is_some() {}
            }
        });
        Self { address, said }
    }

    /// What a fetch ends with. Retries are allowed, and must not be made.
    #[track_caller]
    fn refused_by(&self, change: impl FnOnce(Settings) -> Settings, security: Security) -> FetchError {
        let settings = change(
            Settings::new(security)
                .max_retries(2)
                .retry_wait(Duration::from_millis(1))
                .handshake_timeout(PATIENCE)
                .answer_timeout(PATIENCE),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async {
            let client = Client::new(settings, AppId::new(APP));
            let blocks = vec![CANARY.parse().unwrap()];
            let mut fetch = client.fetch(&self.address, &ExecutorId::new("1"), blocks);
            fetch.next().await.unwrap().unwrap_err()
        });
        let said = self.said.lock().unwrap();
        assert_eq!(said.connections, 1, "it came back: {error}");
        assert!(!holds(&said.raw, CANARY), "the request went out in clear: {error}");
        error
    }

    /// The same where the server must not learn the request under any key either.
    #[track_caller]
    fn told_nothing_by(&self, security: Security) -> FetchError {
        let error = self.refused_by(identity, security);
        assert!(!holds(&self.said.lock().unwrap().plain, CANARY), "{error}");
        error
    }
}

impl Talk {
    fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 16 << 10];
        let n = self.socket.read(&mut buffer).unwrap_or(0);
        let mut said = self.said.lock().unwrap();
        said.raw.extend_from_slice(&buffer[..n]);
        self.inbound.extend_from_slice(&buffer[..n]);
        while let Ok(Some(plain)) = self.stack.open(&mut self.inbound) {
            said.plain.extend_from_slice(&plain);
            self.decoder.feed(plain.freeze());
        }
        drop(said);
        while let Ok(Some(bytes)) = self.stack.pending_output() {
            self.raw(&bytes)?;
        }
        (n > 0).then_some(())
    }

    /// The next RPC.
    fn rpc(&mut self) -> Option<(RequestId, Bytes)> {
        let mut body = BytesMut::new();
        let mut asked = None;
        loop {
            match self.decoder.next().ok()? {
                Some(FrameEvent::Head { head: Head::RpcRequest { request }, .. }) => asked = Some(request),
                Some(FrameEvent::Head { .. }) => return None,
                Some(FrameEvent::Body(piece)) => body.extend_from_slice(&piece),
                Some(FrameEvent::End) => return Some((asked?, body.freeze())),
                None => self.read()?,
            }
        }
    }

    fn answer(&mut self, request: RequestId, body: &[u8]) -> Option<()> {
        self.raw(&message(&Head::RpcResponse { request }, body))
    }

    fn fail(&mut self, request: RequestId, error: &str) -> Option<()> {
        self.raw(&message(&Head::RpcFailure { request, error: error.to_owned() }, b""))
    }

    /// Past all layers.
    fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.socket.write_all(bytes).ok()
    }

    fn enter(&mut self, layer: impl Layer + 'static) {
        self.stack.push(Box::new(layer));
    }

    /// Answers the X25519 handshake as it should be.
    fn x25519(&mut self) -> Option<()> {
        let (request, body) = self.rpc()?;
        let challenge = AuthMessage::decode(&body).ok()?;
        let (answer, keys) = Responder::respond(&challenge, &secret(), &mut OsRandom).ok()?;
        self.enter(AesSession::server(keys, FirstBytes::Frame, Box::new(OsRandom)));
        self.answer(request, &answer.encode())
    }

    /// Offers `offer` and proves itself; the layer is entered where one was agreed on.
    fn sasl(&mut self, offer: &Offer) -> Option<()> {
        let (request, _) = self.rpc()?;
        let (server, challenge) = sasl::Server::start(offer, &mut OsRandom).ok()?;
        self.answer(request, &challenge)?;
        let (request, body) = self.rpc()?;
        let response = SaslMessage::decode(&body).ok()?;
        let judged = server.judge(response.token(), &secret()).ok()?;
        if let Protection::Conf(keys) = judged.protection {
            self.enter(SaslLayer::new(keys, Role::Server, 64 << 10));
        }
        self.answer(request, &judged.answer)
    }

    fn tls(&mut self, tls: &LiveServerTls) {
        self.enter(TlsLayer::server(tls.current(), Arc::default()).unwrap());
    }
}

fn secret() -> AppSecret {
    AppSecret::new(SECRET.to_owned())
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn aes(mode: SessionMode) -> Security {
    Security::aes(secret(), mode.version, mode.cipher)
}

fn legacy_mode() -> Security {
    let settings = LegacySettings { iterations: 100, ..LegacySettings::default() };
    Security::Legacy { secret: Arc::new(secret()), settings }
}

fn sasl_mode(wanted: Demand) -> Security {
    Security::Sasl { secret: Arc::new(secret()), wanted, max_block: 64 << 10 }
}

fn conf(ciphers: &[SaslCipher]) -> Security {
    sasl_mode(Demand::Conf(ciphers.to_vec()))
}

/// Every mode that proves something.
fn proving() -> Vec<Security> {
    let mut modes: Vec<_> = MODES.into_iter().map(aes).collect();
    modes.extend([legacy_mode(), sasl_mode(Demand::Auth), conf(&SaslCipher::ALL)]);
    modes
}

/// A handle in clear for any request.
fn handle(request: RequestId) -> Bytes {
    let handle = BlockTransferMessage::from(StreamHandle { stream: StreamId(1), num_chunks: 1 });
    message(&Head::RpcResponse { request }, &handle.encode().unwrap())
}

#[track_caller]
fn says(error: &FetchError, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{words:?} is not in {error}");
}

#[test]
fn a_refused_handshake_is_no_reason_to_try_another() {
    for (text, words) in [
        ("java.lang.IllegalArgumentException: Unknown challenge message.", "Unknown challenge"),
        ("java.lang.IllegalStateException: Expected SaslMessage, received something else", "SASL"),
        ("java.lang.IllegalArgumentException: Unknown message type: -5", "spark.authenticate=true"),
        ("", ""),
    ] {
        for security in proving() {
            let server = Hostile::start(move |talk| {
                let (request, _) = talk.rpc()?;
                talk.fail(request, text)?;
                // Whatever comes next would be a step down.
                talk.rpc().map(|_| ())
            });
            says(&server.told_nothing_by(security), ErrorKind::Refused, words);
        }
    }
}

#[test]
fn an_answer_that_is_none_ends_the_handshake() {
    type Answer = fn(&Bytes) -> Bytes;
    let answers: [Answer; 4] = [
        |_| Bytes::new(),
        // A server without authentication would answer with a handle.
        |_| BlockTransferMessage::from(StreamHandle { stream: StreamId(1), num_chunks: 1 }).encode().unwrap(),
        Bytes::clone,
        |challenge| Bytes::from([&[0xfb], &challenge[1..]].concat()),
    ];
    for answer in answers {
        for security in proving() {
            let server = Hostile::start(move |talk| {
                let (request, challenge) = talk.rpc()?;
                talk.answer(request, &answer(&challenge))
            });
            says(&server.told_nothing_by(security), ErrorKind::Refused, "");
        }
    }
}

#[test]
fn a_server_without_the_secret_is_told_nothing() {
    let wrong = || AppSecret::new("another".to_owned());
    let server = Hostile::start(move |talk| {
        let (request, body) = talk.rpc()?;
        let challenge = legacy::ClientChallenge::decode(&body).ok()?;
        // It cannot verify the challenge, and makes up a response from one that it can.
        let app = challenge.app_id().clone();
        let settings = LegacySettings { iterations: 100, ..LegacySettings::default() };
        let (_, own) = legacy::Initiator::start(app, Arc::new(wrong()), settings, &mut OsRandom).ok()?;
        let (response, _) =
            legacy::Responder::respond(&own, &wrong(), &LegacyLimits::default(), &mut OsRandom).ok()?;
        talk.answer(request, &response.encode())
    });
    says(&server.told_nothing_by(legacy_mode()), ErrorKind::Refused, "another secret");

    for security in [sasl_mode(Demand::Auth), conf(&SaslCipher::ALL)] {
        let server = Hostile::start(|talk| {
            let (request, _) = talk.rpc()?;
            let offer = Offer { auth: true, ciphers: SaslCipher::ALL.to_vec() };
            let (_, challenge) = sasl::Server::start(&offer, &mut OsRandom).ok()?;
            talk.answer(request, &challenge)?;
            let (request, _) = talk.rpc()?;
            talk.answer(request, b"rspauth=0123456789abcdef0123456789abcdef")
        });
        says(&server.told_nothing_by(security), ErrorKind::Refused, "");
    }
}

#[test]
fn sasl_takes_no_weaker_offer() {
    let auth_only = Offer { auth: true, ciphers: Vec::new() };
    let weak = Offer { auth: true, ciphers: vec![SaslCipher::Rc4_40, SaslCipher::Rc4_56, SaslCipher::Des] };
    let conf_only = Offer { auth: false, ciphers: vec![SaslCipher::TripleDes] };
    for (offer, security) in [
        (auth_only.clone(), conf(&SaslCipher::ALL)),
        (auth_only, conf(&[SaslCipher::TripleDes])),
        (weak, conf(&[SaslCipher::TripleDes, SaslCipher::Rc4])),
        (conf_only, sasl_mode(Demand::Auth)),
    ] {
        let server = Hostile::start(move |talk| {
            let (request, _) = talk.rpc()?;
            let (_, challenge) = sasl::Server::start(&offer, &mut OsRandom).ok()?;
            talk.answer(request, &challenge)
        });
        says(&server.told_nothing_by(security), ErrorKind::Refused, "the server");
        // A proof for a weaker protection must not be made at all.
        assert!(!holds(&server.said.lock().unwrap().raw, "response="));
    }
}

#[test]
fn what_follows_a_handshake_in_clear_is_not_taken() {
    for mode in MODES {
        let server = Hostile::start(|talk| {
            talk.x25519()?;
            let (request, _) = talk.rpc()?;
            talk.raw(&handle(request))
        });
        assert!(matches!(server.refused_by(identity, aes(mode)).kind(), ErrorKind::Corrupt), "{mode:?}");
    }
    let server = Hostile::start(|talk| {
        talk.sasl(&Offer { auth: true, ciphers: SaslCipher::ALL.to_vec() })?;
        let (request, _) = talk.rpc()?;
        talk.raw(&handle(request))
    });
    says(&server.refused_by(identity, conf(&SaslCipher::ALL)), ErrorKind::Corrupt, "SASL");
}

#[test]
fn an_answer_in_another_mode_of_the_same_keys_is_not_taken() {
    for (told, other) in [(GCM, CTR), (GCM, CTR_2), (GCM, MODES[2]), (CTR, CTR_2), (CTR, GCM), (CTR_2, CTR)] {
        let server = Hostile::start(move |talk| {
            let (request, body) = talk.rpc()?;
            let challenge = AuthMessage::decode(&body).ok()?;
            let (answer, keys) = Responder::respond(&challenge, &secret(), &mut OsRandom).ok()?;
            // A server's side of the wrong mode: a client's with the two initial counters swapped.
            let swapped = SessionKeys::from_parts(
                Secret::new(*keys.v1().as_bytes()),
                Secret::new(*keys.v2().as_bytes()),
                Secret::new(*keys.output_iv()),
                Secret::new(*keys.input_iv()),
            );
            let mut wrong = AesSession::client(swapped, other, Box::new(OsRandom));
            talk.enter(AesSession::server(keys, FirstBytes::Frame, Box::new(OsRandom)));
            talk.answer(request, &answer.encode())?;
            let (request, _) = talk.rpc()?;
            let plain = handle(request);
            let mut segment = Segment::with_capacity(4096);
            segment.reset(wrong.layout());
            segment.put(&plain);
            wrong.seal(&mut segment).unwrap();
            talk.raw(segment.sealed())
        });
        assert_eq!(server.refused_by(identity, aes(told)).kind(), ErrorKind::Corrupt, "{told:?} {other:?}");
    }
}

#[test]
fn bytes_that_come_with_the_answer_to_the_handshake_end_it() {
    let server = Hostile::start(|talk| {
        let (request, body) = talk.rpc()?;
        let challenge = AuthMessage::decode(&body).ok()?;
        let (answer, _) = Responder::respond(&challenge, &secret(), &mut OsRandom).ok()?;
        let first = message(&Head::RpcResponse { request }, &answer.encode());
        talk.raw(&[first, handle(request)].concat())
    });
    says(&server.told_nothing_by(aes(GCM)), ErrorKind::Protocol, "before the handshake was answered");
}

mod within_tls {
    use super::*;

    struct Files {
        authority: Authority,
        trust: Bundle,
    }

    impl Files {
        fn new() -> Self {
            let authority = Authority::new("an authority");
            let trust = Bundle::new(None, &[&authority]);
            Self { authority, trust }
        }
    }

    /// Every mode, within TLS 1.3.
    fn all_refused(
        script: impl Fn(&mut Talk) -> Option<()> + Clone + Send + 'static,
        files: &Files,
        kind: ErrorKind,
        words: &str,
    ) {
        let mut modes = proving();
        modes.push(Security::Plaintext);
        for security in modes {
            let server = Hostile::start(script.clone());
            let tls = files.trust.client(TlsVersions::V1_3);
            let error = server.refused_by(|settings| settings.tls(Some(tls)), security);
            says(&error, kind, words);
            let said = server.said.lock().unwrap();
            assert_eq!(said.raw[..2], [22, 3], "it begins with TLS, whatever follows");
            assert!(!holds(&said.plain, CANARY) && !holds(&said.plain, APP), "{error}");
        }
    }

    #[test]
    fn an_answer_in_clear_is_not_taken() {
        let files = Files::new();
        let script = |talk: &mut Talk| {
            talk.read()?;
            talk.raw(&handle(RequestId(1)))
        };
        all_refused(script, &files, ErrorKind::Protocol, "spark.ssl.rpc.enabled");
    }

    #[test]
    fn an_alert_is_the_end() {
        let files = Files::new();
        let script = |talk: &mut Talk| {
            talk.read()?;
            talk.raw(b"\x15\x03\x03\x00\x02\x02\x28")
        };
        all_refused(script, &files, ErrorKind::Refused, "spark.ssl.rpc.enabledAlgorithms");
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_not_taken() {
        let files = Files::new();
        let own = Bundle::new(Some(&self_signed()), &[]).server();
        let script = move |talk: &mut Talk| {
            talk.tls(&own);
            talk.rpc().map(|_| ())
        };
        all_refused(script, &files, ErrorKind::Refused, "no authority that is trusted here");
    }

    #[test]
    fn an_older_version_than_was_told_is_not_taken() {
        let files = Files::new();
        let bundle = Bundle::new(Some(&files.authority.issue()), &[]);
        let old = bundle.server_that(|config| config.versions = Some(TlsVersions::V1_2));
        let script = move |talk: &mut Talk| {
            talk.tls(&old);
            talk.rpc().map(|_| ())
        };
        all_refused(script, &files, ErrorKind::Refused, "spark.ssl.rpc.protocol");
    }
}
