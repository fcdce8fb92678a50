//! What a peer that has proven nothing, or one application among many, may make the server spend: memory, lines of the
//! log, places and time. Each with the honest client beside it.

#![allow(clippy::unwrap_used)]

mod running;

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use running::{APP, EXECUTOR, GCM, PATIENCE, Peer, Running, eventually, message, register};
use sealed_shuffle::{ByteCount, HandOverPayload, HandoverConfig, Receiver, ServerConfig};
use sealed_shuffle_config::Policy;
use sealed_shuffle_protocol::auth::Initiator;
use sealed_shuffle_protocol::auth::legacy::{self, LegacySettings};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::{AppId, RequestId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{GetLocalDirsForExecutors, Strings};
use sealed_shuffle_transport::random::OsRandom;
use tracing::Level;

/// What this process has logged; servers of all tests write to it.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start_logging() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let log = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_ansi(false);
        log.with_writer(|| LogWriter).init();
    });
}

fn log() -> String {
    String::from_utf8(LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
}

/// The lines about a peer.
fn lines_of(peer: &Peer) -> Vec<String> {
    let address = format!("peer={}", peer.socket.local_addr().unwrap());
    log().lines().filter(|line| line.contains(&address)).map(str::to_owned).collect()
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i32(i32::try_from(text.len()).unwrap());
    out.put_slice(text.as_bytes());
}

/// A RegisterExecutor with one directory, of any length.
fn registration(dir: &str) -> BytesMut {
    let mut body = BytesMut::from(&[2][..]);
    put_text(&mut body, APP);
    put_text(&mut body, EXECUTOR);
    body.put_i32(1);
    put_text(&mut body, dir);
    body.put_i32(64);
    put_text(&mut body, "org.apache.spark.shuffle.sort.SortShuffleManager");
    body
}

#[test]
fn an_application_id_above_its_bound_is_neither_kept_nor_logged() {
    start_logging();
    let running = Running::start();
    for number in 0..20 {
        let long = format!("long-{number}-{}", "x".repeat(65_000));
        let mut peer = Peer::connect(running.address);
        let text = peer.handshake(&long, "another", GCM).unwrap_err();
        assert!(text.contains("longer than the 255 that are taken"), "{text}");
    }
    let at_the_bound = "y".repeat(255);
    let text = Peer::connect(running.address).handshake(&at_the_bound, "another", GCM).unwrap_err();
    assert!(text.contains("Authentication failed"), "the control is judged: {text}");

    let listed = running.server.applications(None, None).to_string();
    assert!(listed.contains(&at_the_bound) && !listed.contains("long-0-"), "{listed}");
    assert!(!log().contains(&"x".repeat(300)), "the log has a long id");
    running.assert_serves();
}

#[test]
fn a_path_above_its_bound_is_refused_before_it_is_walked() {
    let running = Running::start_with(|config| config.memory_budget = ByteCount::mib(64));
    let mut peer = running.peer(GCM);
    let text = peer.rpc_bytes(&registration(&"./".repeat(4 << 20))).unwrap_err();
    assert!(text.contains("longer than the 4096 that are taken"), "{text}");
    let dots = format!("{}/{}", running.dir.to_str().unwrap(), "./".repeat(1000));
    peer.rpc_bytes(&registration(&dots)).expect("a path within the bound is walked");
    running.assert_serves();
}

#[test]
fn what_a_peer_names_cannot_forge_a_line_or_steer_a_terminal() {
    start_logging();
    let running = Running::start();
    let mut peer = running.peer(GCM);
    let hostile = "/x\n2026-01-01T00:00:00Z  INFO forged \u{1b}[2J \u{9b}2J \u{202e}end";
    peer.rpc_bytes(&registration(hostile)).unwrap_err();
    peer.rpc(&register(&["/plain path"])).unwrap_err();
    eventually("both are said", || lines_of(&peer).iter().any(|line| line.contains("/plain path")));
    let said =
        lines_of(&peer).into_iter().find(|line| line.contains("forged")).expect("it is said, in one line");
    assert!(said.contains(r"/x\n2026") && said.contains(r"\u{1b}[2J \u{9b}2J \u{202e}end"), "{said}");
    assert!(!log().contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    running.assert_serves();
}

#[test]
fn junk_is_said_in_full_a_few_times_and_then_counted() {
    start_logging();
    let running = Running::start();
    let peers: Vec<_> = (0..50)
        .map(|_| {
            let mut peer = Peer::connect(running.address);
            drop(peer.send_raw(&[0xff; 64]));
            peer.wait_closed();
            peer
        })
        .collect();
    eventually("all are closed", || running.closes("bad_frame") == 50);
    let said: usize = peers.iter().map(|peer| lines_of(peer).len()).sum();
    assert_eq!(said, 4, "lines about junk");
    // Other kinds from the same address are still said.
    let mut other = Peer::connect(running.address);
    other.handshake(APP, "another", GCM).unwrap_err();
    eventually("it is said", || lines_of(&other).iter().any(|line| line.contains("refused a handshake")));
    running.assert_serves();

    let before = log().len();
    running.drained();
    let sums = log()[before..].to_owned();
    let sum = sums.lines().find(|line| line.contains("count=46")).expect("the rest is summed up");
    assert!(sum.contains("bad_frame") && sum.contains("negative frame length"), "{sum}");
}

/// A server that knows no secret until it is handed over.
fn handing_over(wait: Duration, change: impl FnOnce(&mut ServerConfig)) -> Running {
    Running::start_with(|config| {
        let socket = config.envelope.state_dir.join("handover.sock");
        config.secret = None;
        config.handover = Some(HandoverConfig::new(socket, Vec::new(), wait));
        change(config);
    })
}

fn begin(server: &Running, app: &str, secret: &str) {
    let given = HandOverPayload::new(Some(AppSecret::new(secret.to_owned())), true);
    server.server.started(&AppId::new(app), given).unwrap();
}

#[test]
fn an_unknown_application_and_a_wrong_secret_take_as_long_and_a_right_one_takes_no_time() {
    const WAIT: Duration = Duration::from_secs(2);
    let running = handing_over(WAIT, |_| {});
    begin(&running, APP, "right");
    let refused = |app: &str| {
        let began = Instant::now();
        let text = Peer::connect(running.address).handshake(app, "wrong", GCM).unwrap_err();
        assert!(text.contains("Authentication failed"), "{text}");
        began.elapsed()
    };
    let (known, unknown) = std::thread::scope(|scope| {
        let known = scope.spawn(|| refused(APP));
        let unknown = scope.spawn(|| refused("app-that-nobody-knows"));
        (known.join().unwrap(), unknown.join().unwrap())
    });
    assert!(known >= WAIT && unknown >= WAIT, "{known:?} and {unknown:?}");
    let began = Instant::now();
    Peer::connect(running.address).handshake(APP, "right", GCM).unwrap();
    assert!(began.elapsed() < WAIT, "the right secret is not held up: {:?}", began.elapsed());
}

#[test]
fn a_late_secret_is_found_while_strangers_wait() {
    let running = handing_over(PATIENCE, |config| config.timeouts.handshake = PATIENCE);
    let (_, challenge) = Initiator::start(AppId::new("nobody"), nobodys_secret(), &mut OsRandom).unwrap();
    let challenge = message(&Head::RpcRequest { request: RequestId(0) }, &challenge.encode());
    let strangers: Vec<_> = (0..100)
        .map(|_| {
            let mut stranger = Peer::connect(running.address);
            stranger.send_raw(&challenge).unwrap();
            stranger
        })
        .collect();
    let late = std::thread::scope(|scope| {
        let late = scope.spawn(|| Peer::connect(running.address).handshake(APP, "right", GCM));
        begin(&running, APP, "right");
        late.join().unwrap()
    });
    late.unwrap();
    drop(strangers);
}

fn nobodys_secret() -> Arc<AppSecret> {
    Arc::new(AppSecret::new("nobody's".to_owned()))
}

#[test]
fn a_recorded_challenge_does_not_leave_the_deadline_of_the_handshake() {
    const SOON: Duration = Duration::from_millis(300);
    let running = Running::start_with(|setup| setup.timeouts.handshake = SOON);
    let lenient = Running::start_with(|setup| {
        setup.timeouts.handshake = SOON;
        setup.policy = Policy::at_least(SecurityLevel::Plaintext);
    });
    let secret = |server: &Running| Arc::new(AppSecret::new(server.secret.clone()));
    let older = |server| {
        let settings = LegacySettings { iterations: 100, ..LegacySettings::default() };
        legacy::Initiator::start(AppId::new(APP), secret(server), settings, &mut OsRandom).unwrap().1.encode()
    };
    let (_, challenge) = Initiator::start(AppId::new(APP), secret(&running), &mut OsRandom).unwrap();
    let replayed = |server: &Running, challenge: &[u8]| {
        let mut peer = Peer::connect(server.address);
        peer.send(&Head::RpcRequest { request: RequestId(0) }, challenge);
        assert!(matches!(peer.next(), Some((Head::RpcResponse { .. }, _))), "it is accepted, as a fresh one");
        peer.wait_closed();
    };
    replayed(&running, &challenge.encode());
    eventually("counted", || running.closes("handshake_timeout") == 1);
    replayed(&lenient, &older(&lenient));
    eventually("counted", || lenient.closes("handshake_timeout") == 1);
    assert!(!lenient.server.applications(None, None).to_string().contains("aes-legacy"), "nobody spoke it");

    // A policy without the older handshake judges before anything is computed.
    let mut peer = Peer::connect(running.address);
    peer.send(&Head::RpcRequest { request: RequestId(0) }, &older(&running));
    let Some((Head::RpcFailure { error, .. }, _)) = peer.next() else { panic!("it is refused") };
    assert!(error.contains("spark.sealed.security.minimum"), "{error}");

    // The honest client says something, and stays.
    let mut honest = running.registered(GCM);
    std::thread::sleep(2 * SOON);
    honest.rpc(&register(&[running.dir.to_str().unwrap()])).unwrap();
}

#[test]
fn a_short_question_gets_no_huge_answer() {
    let running = Running::start();
    let mut peer = running.peer(GCM);
    let dirs: Vec<_> =
        (0..100).map(|n| format!("{}/{n}/{}", running.dir.display(), "./".repeat(1500))).collect();
    peer.rpc(&register(&dirs.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let ask = |peer: &mut Peer| {
        let executors = Strings::try_from_iter([EXECUTOR]).unwrap();
        peer.rpc(&GetLocalDirsForExecutors { app: AppId::new(APP), executors }.into())
    };
    let text = ask(&mut peer).unwrap_err();
    assert!(text.contains("ask for fewer executors at once"), "{text}");
    peer.rpc(&register(&[running.dir.to_str().unwrap()])).unwrap();
    let answer = ask(&mut peer).expect("a list of usual size is answered");
    assert!(answer.len() < 1000, "{} bytes", answer.len());
}
