//! The probe against our own server in several configurations, and against peers that say what they are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use sealed_shuffle_client::{
    Address, ClientError, Judgement, Peer, Probe, ProbeReport, Security, Trust, Verdict, WrongSecret,
};
use sealed_shuffle_config::{Origin, Policy, TlsConfig, TlsFile, TlsSource};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::RequestId;
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::tls::{LiveClientTls, dev};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::*;

/// First body bytes of the handshakes (AuthMessage, ClientChallenge, SaslMessage, Spark 4.3.0 and 3.0.3).
const X25519: u8 = 0xfb;
const PBKDF2: u8 = 0xfa;
const SASL: u8 = 0xea;
/// OpenBlocks.
const REQUEST: u8 = 0;

fn probe(secret: Option<&str>) -> Probe {
    let mut probe = Probe::default();
    probe.secret = secret.map(|secret| Arc::new(AppSecret::new(secret.to_owned())));
    probe
}

/// Our server with a minimum, and TLS if there is a place with its keys.
async fn ours(minimum: SecurityLevel, tls: Option<&Place>) -> Running {
    let root = tempfile::tempdir().unwrap();
    let mut config = server_config(&gcm(), &root);
    config.policy = Policy::at_least(minimum);
    config.tls = tls.map(Place::config);
    Running::start_with(&config, root).await
}

/// Keys and certificates for development.
struct Place(TempDir);

impl Place {
    fn of(host: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in dev::make(&[host.to_owned()], "a password", "/nowhere").unwrap() {
            std::fs::write(dir.path().join(file.name), &*file.content).unwrap();
        }
        Self(dir)
    }

    fn config(&self) -> TlsConfig {
        TlsConfig::new(TlsSource::Bundle(TlsFile {
            key: "spark.sealed.tls.bundle",
            path: self.0.path().join("bundle.zip"),
            origin: Origin::Conf,
            password: None,
            password_key: "spark.sealed.tls.bundle",
        }))
    }

    fn trust(&self) -> Arc<LiveClientTls> {
        Arc::new(LiveClientTls::load(self.config()).unwrap())
    }
}

/// Levels that were accepted, in clear or in TLS.
fn accepted(report: &ProbeReport, in_tls: bool) -> Vec<SecurityLevel> {
    let modes = report.modes.iter().filter(|seen| seen.mode.tls.is_some() == in_tls);
    modes.filter(|seen| seen.verdict == Verdict::Accepted).map(|seen| seen.mode.level).collect()
}

fn warned(report: &ProbeReport, words: &str) -> bool {
    report.warnings.iter().any(|warning| warning.contains(words))
}

#[tokio::test]
async fn our_server_is_seen_to_accept_its_minimum_and_all_above() {
    use SecurityLevel::{AesCtr, AesGcm, AesLegacy, Plaintext, SaslConf};

    for (minimum, expected) in [
        (AesGcm, vec![AesGcm, AesGcm]),
        (AesCtr, vec![AesCtr, AesCtr, AesGcm, AesGcm]),
        (AesLegacy, vec![AesLegacy, AesCtr, AesCtr, AesGcm, AesGcm]),
        (
            Plaintext,
            [vec![Plaintext], vec![SaslConf; 5], vec![AesLegacy, AesCtr, AesCtr, AesGcm, AesGcm]].concat(),
        ),
    ] {
        let server = ours(minimum, None).await;
        let report = probe(Some(SECRET)).look_at(&server.address).await.unwrap();
        assert_eq!(accepted(&report, false), expected, "{report:#?}");
        assert_eq!((report.peer, report.wrong_secret), (Peer::Ours, WrongSecret::Refused));
        assert_eq!(report.judge(minimum), Judgement::Enough);
        assert_eq!(matches!(report.judge(AesGcm), Judgement::Weaker(_)), minimum < AesGcm);
        assert!(report.tls.is_none() && report.without_identity(true).is_none());
    }
}

#[tokio::test]
async fn who_serves_anybody_in_clear_is_seen_to() {
    let server = Running::start(&Security::Plaintext).await;
    let report = probe(None).look_at(&server.address).await.unwrap();
    assert_eq!(accepted(&report, false), [SecurityLevel::Plaintext]);
    assert_eq!(report.without_identity(false), Some(&Verdict::Accepted));
    assert!(warned(&report, "plaintext is accepted"), "{report:#?}");
    assert!(matches!(report.judge(SecurityLevel::SaslConf), Judgement::Weaker(_)));
    assert_eq!(report.judge(SecurityLevel::Plaintext), Judgement::Enough);
}

#[tokio::test]
async fn without_a_secret_only_what_does_not_matter_is_left_open() {
    let server = ours(SecurityLevel::AesGcm, None).await;
    let report = probe(None).look_at(&server.address).await.unwrap();
    assert_eq!(accepted(&report, false), []);
    assert_eq!(report.wrong_secret, WrongSecret::Refused);
    assert!(matches!(report.judge(SecurityLevel::AesGcm), Judgement::CannotTell(_)));
}

#[tokio::test]
async fn a_secret_that_is_refused_is_tried_once() {
    let server = ours(SecurityLevel::Plaintext, None).await;
    let report = probe(Some("another secret")).look_at(&server.address).await.unwrap();
    let unclear = report.modes.iter().filter(|seen| match &seen.verdict {
        Verdict::Unclear(why) => why.contains("Authentication failed"),
        _ => false,
    });
    assert_eq!(unclear.count(), 11, "every mode with a proof, in the words of the first: {report:#?}");
    assert!(matches!(report.judge(SecurityLevel::AesGcm), Judgement::CannotTell(_)));
}

#[tokio::test]
async fn tls_is_looked_at_and_the_secret_goes_in_once_it_verifies() {
    let place = Place::of("127.0.0.1");
    let server = ours(SecurityLevel::Tls, Some(&place)).await;

    let mut trusting = probe(Some(SECRET));
    trusting.tls = Some(place.trust());
    let report = trusting.look_at(&server.address).await.unwrap();
    let tls = report.tls.as_ref().unwrap();
    assert!(tls.versions.iter().all(|(_, seen)| seen.is_ok()), "{tls:#?}");
    assert_eq!((tls.trust.clone(), tls.chain.len()), (Trust::Verified, 2));
    assert_eq!(tls.chain[0].names, ["127.0.0.1"]);
    assert_eq!(accepted(&report, false), []);
    assert_eq!(accepted(&report, true).len(), 11, "{report:#?}");
    assert!(matches!(report.without_identity(true), Some(Verdict::Refused(_))));
    assert_eq!(report.judge(SecurityLevel::Tls), Judgement::Enough);
    assert!(warned(&report, "certs dev"));

    for tls in [None, Some(Place::of("127.0.0.1").trust()), Some(Place::of("elsewhere").trust())] {
        let mut strange = probe(Some(SECRET));
        strange.tls = tls;
        let report = strange.look_at(&server.address).await.unwrap();
        assert_ne!(report.tls.as_ref().unwrap().trust, Trust::Verified);
        assert_eq!(accepted(&report, true), [], "{report:#?}");
        assert!(warned(&report, "certificate"));
        assert!(matches!(report.without_identity(true), Some(Verdict::Refused(_))), "anybody may ask that");
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_believed() {
    let place = Place::of("elsewhere");
    let server = ours(SecurityLevel::Tls, Some(&place)).await;
    let mut trusting = probe(Some(SECRET));
    trusting.tls = Some(place.trust());
    let report = trusting.look_at(&server.address).await.unwrap();
    match &report.tls.as_ref().unwrap().trust {
        Trust::Failed(why) => assert!(why.contains("elsewhere"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(accepted(&report, true), []);
}

/// Says what a script says to the first byte of each request's body.
struct Said {
    address: Address,
    heard: Arc<Mutex<Vec<u8>>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy)]
enum Say {
    Fail(&'static str),
    Answer(&'static [u8]),
    Raw(&'static [u8]),
    Close,
    Silence,
}

impl Said {
    async fn start(script: fn(u8) -> Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(socket, script, Arc::clone(&log)));
            }
        });
        Self { address, heard, _task: AbortOnDropHandle::new(task) }
    }
}

async fn converse(mut socket: TcpStream, script: fn(u8) -> Say, heard: Arc<Mutex<Vec<u8>>>) {
    let mut decoder = FrameDecoder::new(1 << 20);
    let mut asked = None;
    let mut input = BytesMut::new();
    loop {
        // What is no frame (a TLS client's first words) ends the connection, as in Spark.
        match decoder.next() {
            Err(_) => return,
            Ok(None) => {
                if socket.read_buf(&mut input).await.unwrap_or(0) == 0 {
                    return;
                }
                decoder.feed(input.split().freeze());
            }
            Ok(Some(FrameEvent::Head { head: Head::RpcRequest { request }, .. })) => asked = Some(request),
            Ok(Some(FrameEvent::Body(body))) => {
                let Some(request) = asked.take() else { continue };
                heard.lock().unwrap().push(body[0]);
                if !say(&mut socket, script(body[0]), request).await {
                    return;
                }
            }
            Ok(Some(_)) => {}
        }
    }
}

async fn say(socket: &mut TcpStream, say: Say, request: RequestId) -> bool {
    let mut out = BytesMut::new();
    match say {
        Say::Fail(error) => {
            Head::RpcFailure { request, error: error.to_owned() }.encode(0, &mut out).unwrap();
        }
        Say::Answer(body) => {
            Head::RpcResponse { request }.encode(body.len() as u64, &mut out).unwrap();
            out.extend_from_slice(body);
        }
        Say::Raw(bytes) => out.extend_from_slice(bytes),
        Say::Close => return false,
        Say::Silence => {}
    }
    socket.write_all(&out).await.is_ok()
}

const EXPECTED_SASL: &str = "java.lang.IllegalStateException: Expected SaslMessage, received something else (maybe your \
                             client does not have SASL enabled?)\n\tat org.apache.spark.network.sasl.SaslMessage.decode";
const MISMATCHED: &str = "java.lang.RuntimeException: javax.security.sasl.SaslException: DIGEST-MD5: digest response \
                          format violation. Mismatched response.\n\tat org.apache.spark.network.sasl.SparkSaslServer";
const OFFER: &[u8] =
    b"realm=\"default\",nonce=\"YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS\",qop=\"auth-conf,auth\",\
                       charset=utf-8,cipher=\"3des,rc4\",algorithm=md5-sess";

#[tokio::test]
async fn the_secret_takes_part_in_no_handshake_that_is_not_spoken() {
    let server = Said::start(|first| match first {
        REQUEST | 0x7f => Say::Fail(
            "java.lang.IllegalArgumentException: x\n\tat org.apache.spark.rpc.netty.NettyRpcHandler.receive",
        ),
        _ => Say::Fail("java.io.StreamCorruptedException: y\n\tat org.apache.spark.rpc.netty.RequestMessage"),
    })
    .await;
    let report = probe(Some(SECRET)).look_at(&server.address).await.unwrap();
    assert_eq!(report.peer, Peer::Rpc);
    assert_eq!(accepted(&report, false), [SecurityLevel::Plaintext]);
    assert_eq!(report.wrong_secret, WrongSecret::NotTested);
    let mut heard = server.heard.lock().unwrap().clone();
    heard.sort_unstable();
    assert_eq!(heard, [REQUEST, SASL, PBKDF2, X25519], "one of each");
}

#[tokio::test]
async fn sasl_is_read_from_its_offer() {
    let server = Said::start(|first| match first {
        // The digest is answered too, with the challenge once more.
        SASL => Say::Answer(OFFER),
        _ => Say::Fail(EXPECTED_SASL),
    })
    .await;
    let report = probe(None).look_at(&server.address).await.unwrap();
    let of = |cipher: &str| {
        let mut modes = report.modes.iter().filter(|seen| seen.mode.handshake.name() == "sasl-digest-md5");
        modes.find(|seen| seen.mode.cipher == cipher).map(|seen| seen.verdict.label())
    };
    assert_eq!(
        [of("none"), of("3des"), of("rc4"), of("des")].map(Option::unwrap),
        ["skipped", "skipped", "skipped", "not spoken"]
    );
    assert_eq!(report.peer, Peer::Spark);
    assert_eq!(report.wrong_secret, WrongSecret::Answered, "a digest of nobody's secret was answered");
    assert!(matches!(report.judge(SecurityLevel::Plaintext), Judgement::Weaker(_)));
}

#[tokio::test]
async fn a_refused_digest_is_a_wrong_secret_refused() {
    static TURN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let server = Said::start(|first| match first {
        SASL if TURN.fetch_not(std::sync::atomic::Ordering::Relaxed) => Say::Fail(MISMATCHED),
        SASL => Say::Answer(OFFER),
        _ => Say::Fail(EXPECTED_SASL),
    })
    .await;
    let report = probe(None).look_at(&server.address).await.unwrap();
    assert_eq!(report.wrong_secret, WrongSecret::Refused);
    assert!(matches!(report.judge(SecurityLevel::AesGcm), Judgement::CannotTell(_)));
}

#[tokio::test]
async fn silence_says_nothing() {
    let server = Said::start(|_| Say::Silence).await;
    let mut impatient = probe(Some(SECRET));
    impatient.timeout = Duration::from_millis(50);
    let report = impatient.look_at(&server.address).await.unwrap();
    assert_eq!((accepted(&report, false), report.peer), (vec![], Peer::Unknown));
    assert!(report.modes.iter().all(|seen| matches!(seen.verdict, Verdict::Unclear(_))), "{report:#?}");
    for minimum in [SecurityLevel::Plaintext, SecurityLevel::AesGcm] {
        assert!(matches!(report.judge(minimum), Judgement::CannotTell(_)));
    }
}

#[tokio::test]
async fn other_protocols_are_not_taken_for_a_safe_server() {
    for script in [
        (|_| Say::Raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as fn(u8) -> Say,
        |_| Say::Raw(&[0xff; 64]),
        |_| Say::Raw(&[0, 0, 0, 0, 0, 0, 0, 9, 4]),
        |_| Say::Close,
    ] {
        let server = Said::start(script).await;
        let report = probe(Some(SECRET)).look_at(&server.address).await.unwrap();
        assert_eq!(report.peer, Peer::Unknown);
        assert!(report.tls.is_none());
        let not_spoken = |verdict: &Verdict| matches!(verdict, Verdict::NotSpoken(_));
        assert!(report.modes.iter().all(|seen| not_spoken(&seen.verdict)), "{report:#?}");
        assert!(matches!(report.judge(SecurityLevel::AesGcm), Judgement::CannotTell(_)));
    }
}

#[tokio::test]
async fn hostile_words_are_harmless_in_the_report() {
    let server = Said::start(|_| Say::Fail("java.lang.SecurityException: \u{1b}]0;owned\u{7}\u{202e}")).await;
    let report = probe(None).look_at(&server.address).await.unwrap();
    let text = report.to_json(SecurityLevel::AesGcm).to_string();
    assert!(text.contains("owned"), "{text}");
    let harmless = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(text.chars().all(harmless) && !text.contains("\\u001b"), "{text}");
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    drop(listener);
    let error = probe(None).look_at(&address).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
}
