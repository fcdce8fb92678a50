//! The life of a server: drains, the operator's port, applications and files that end.

#![allow(clippy::unwrap_used)]

mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle::internals::admin;
use sealed_shuffle::internals::local_socket::Place;
use sealed_shuffle_config::{AdminConfig, AdminSocket, AdminToken, ProcessEnvironment};
use sealed_shuffle_protocol::ids::ChunkIndex;
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_transport::lane::OnLane;
use tokio_util::sync::CancellationToken;

use running::{APP, CTR, GCM, PATIENCE, Peer, Running, eventually};

#[test]
fn idle_connections_close_when_the_server_stops() {
    let running = Running::start();
    let mut peers = [running.peer(GCM), running.peer(CTR), Peer::connect(running.address)];
    eventually("all are there", || running.metric("sealed_shuffle_connections") == 3);
    let began = Instant::now();
    running.stop.cancel();
    peers.iter_mut().for_each(Peer::wait_closed);
    drop(peers);
    assert_eq!(running.drained().cut, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "without waiting for the drain timeout");
    assert_eq!(running.closes("shutting_down"), 3);
    assert!(TcpStream::connect(running.address).is_err(), "nobody listens any more");
}

#[test]
fn open_stream_may_finish_when_the_server_stops() {
    let running = Running::start();
    running.write_map(1, &[1000, 100_000, 3000]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0, 1, 2]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
    running.stop.cancel();
    eventually("it drains", || running.server.is_draining());
    assert_eq!(peer.chunk(stream, 1).unwrap().len(), 100_000);
    assert_eq!(peer.chunk(stream, 2).unwrap().len(), 3000);
    assert!(peer.next().is_none(), "closed once the stream is read");
    drop(peer);
    assert_eq!(running.drained().cut, 0);
}

/// Spark's client asks for all chunks of a stream at once, and opens another one for what failed. A drain that waited for
/// more would take its whole time, and refuse connections for longer than clients retry.
#[test]
fn stream_with_a_failed_chunk_is_waited_for_until_all_its_chunks_are_asked_for() {
    let running = Running::start();
    running.write_map(1, &[1000, 2000]);
    let mut peer = running.registered(CTR);
    let stream = peer.open(1, &[0, 7, 1]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
    assert!(peer.chunk(stream, 1).is_err(), "there are two partitions");
    let began = Instant::now();
    running.stop.cancel();
    eventually("it drains", || running.server.is_draining());
    assert!(peer.chunk(stream, 2).is_err(), "the chunk that failed is what the next index gets");
    assert!(peer.next().is_none(), "closed once all are asked for");
    drop(peer);
    assert_eq!(running.drained().cut, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "without waiting for the drain timeout");
}

#[test]
fn transfer_that_has_begun_is_sent_whole_when_the_server_stops() {
    let running = Running::start();
    const LEN: u64 = 32 << 20;
    running.write_map(1, &[LEN]);
    let mut peer = running.registered(CTR);
    let stream = peer.open(1, &[0]).unwrap().stream;
    peer.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    eventually("it has begun", || running.metric("sealed_shuffle_chunks_in_transfer") == 1);
    running.stop.cancel();
    eventually("it drains", || running.server.is_draining());
    let Some((_, body)) = peer.next() else { panic!("it was cut") };
    assert!(body == running::content(LEN));
    drop(peer);
    assert_eq!(running.drained().cut, 0);
}

#[test]
fn what_does_not_finish_is_cut_at_the_deadline() {
    let running = Running::start_with(|config| config.timeouts.drain = Duration::from_millis(200));
    running.write_map(1, &[32 << 20]);
    let mut reader = running.registered(CTR);
    let stream = reader.open(1, &[0]).unwrap().stream;
    reader.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    let mut holder = running.peer(GCM);
    holder.open(1, &[0]).unwrap();
    eventually("it has begun", || running.metric("sealed_shuffle_chunks_in_transfer") == 1);
    let began = Instant::now();
    assert_eq!(running.drained().cut, 2);
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(running.metric("sealed_shuffle_connections"), 0);
    assert_eq!(running.metric("sealed_shuffle_memory_in_use_bytes"), 0);
    assert_eq!(running.metric("sealed_shuffle_chunks_in_transfer"), 0);
}

#[test]
fn flood_does_not_outrun_the_drain() {
    let running = Running::start_with(|config| config.timeouts.drain = Duration::from_millis(200));
    let mut peer = running.peer(CTR);
    let address = running.address;
    let flood = std::thread::spawn(move || {
        let noise = running::message(&Head::OneWayMessage, &[7; 100]).repeat(100);
        while peer.try_say(&noise).is_ok() {}
    });
    eventually("the flood runs", || running.metric("sealed_shuffle_received_bytes_total") > 1 << 20);
    running.drained();
    flood.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

/// The admin port of a running server, over TCP and at a socket.
struct Admin {
    address: SocketAddr,
    socket: PathBuf,
    _dir: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Admin {
    fn of(running: &Running) -> Self {
        Self::with(running, AdminConfig::default())
    }

    fn with(running: &Running, mut config: AdminConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        config.socket = Some(AdminSocket { path: path.clone(), users: Vec::new(), by_default: false });
        let (listener, socket) = running.runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener, admin::bind_socket(&config, Place::Free).await.unwrap().unwrap())
        });
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let port = admin::Port::new(running.server.clone(), &config, 8);
        running.runtime.spawn(port.clone().serve_tcp(listener, stop.clone().cancelled_owned()));
        running.runtime.spawn(port.serve_socket(socket, stop.clone().cancelled_owned()));
        Self { address, socket: path, _dir: dir, _stop: stop.drop_guard() }
    }

    /// Status and the whole answer, over TCP.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.ask_with(method, path, &[("Host", "localhost")])
    }

    fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        status_of(self.say(request(method, path, headers).as_bytes()))
    }

    /// The same at the socket.
    fn ask_at_socket(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut socket = UnixStream::connect(&self.socket).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(request(method, path, headers).as_bytes()).unwrap();
        status_of(answer_of(socket))
    }

    fn say(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have answered and closed before all was sent.
        drop(socket.write_all(bytes));
        drop(socket.shutdown(std::net::Shutdown::Write));
        answer_of(socket)
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

fn answer_of(mut socket: impl Read) -> String {
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(answer: String) -> (u16, String) {
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}"));
    (status.parse().unwrap(), answer)
}

#[test]
fn metrics_show_what_was_served_and_how() {
    let running = Running::start();
    let admin = Admin::of(&running);
    running.write_map(1, &[1000, 2000]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0, 1]).unwrap().stream;
    peer.chunk(stream, 0).unwrap();
    peer.chunk(stream, 1).unwrap();
    let (status, page) = admin.ask("GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        r#"sealed_shuffle_blocks_total{channel="aes-gcm",handshake="aes-x25519-v2",cipher="AES/GCM/NoPadding"} 2"#,
        r#"sealed_shuffle_block_bytes_total{channel="aes-gcm",handshake="aes-x25519-v2",cipher="AES/GCM/NoPadding"} 3000"#,
        r#"sealed_shuffle_requests_total{request="chunk_fetch"} 2"#,
        r#"sealed_shuffle_requests_total{request="register_executor"} 1"#,
        "sealed_shuffle_connections 1",
        "sealed_shuffle_executors 1",
        "sealed_shuffle_applications 1",
        "# TYPE sealed_shuffle_requests_total counter",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains(&running.secret));
}

#[test]
fn health_says_when_the_server_drains() {
    let running = Running::start();
    let admin = Admin::of(&running);
    assert_eq!(admin.ask("GET", "/healthz").0, 200);
    running.write_map(1, &[10]);
    let mut peer = running.registered(GCM);
    peer.open(1, &[0]).unwrap();
    running.stop.cancel();
    eventually("it drains", || running.server.is_draining());
    let (status, text) = admin.ask("GET", "/healthz");
    assert_eq!(status, 503);
    assert!(text.contains("draining"));
    drop(peer);
    running.drained();
}

#[test]
fn operator_ends_an_application_at_the_socket() {
    let running = Running::start();
    let admin = Admin::of(&running);
    running.write_map(1, &[10]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0]).unwrap().stream;
    let any_host = [("Host", "x")];
    assert_eq!(admin.ask_at_socket("DELETE", "/applications/another", &any_host).0, 404);
    let (status, text) = admin.ask_at_socket("DELETE", &format!("/applications/{APP}"), &any_host);
    assert_eq!(status, 200);
    assert!(text.contains("forgot 1 executors"), "{text}");
    assert_eq!(admin.ask_at_socket("DELETE", &format!("/applications/{APP}"), &any_host).0, 404);
    assert!(peer.chunk(stream, 0).is_err());
    assert_eq!(running.metric("sealed_shuffle_executors"), 0);
    assert_eq!(admin.ask_at_socket("GET", "/healthz", &any_host).0, 200, "it reads there, too");
    running.assert_serves();
}

#[test]
fn nothing_is_changed_over_tcp_without_a_token() {
    let running = Running::start();
    let admin = Admin::of(&running);
    let _peer = running.registered(GCM);
    let application = format!("/applications/{APP}");
    for authorization in ["Bearer ", "Bearer 0123456789abcdef0123456789abcdef", "Basic eDp4"] {
        let headers = [("Host", "localhost"), ("Authorization", authorization)];
        let (status, text) = admin.ask_with("DELETE", &application, &headers);
        assert_eq!(status, 403, "{text}");
        for word in [admin.socket.to_str().unwrap(), "--end", "spark.sealed.admin.token-file"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
    assert_eq!(admin.ask("GET", "/applications").0, 200, "reading stays");
    assert_eq!(running.metric("sealed_shuffle_executors"), 1);
    assert_eq!(admin.ask_at_socket("DELETE", &application, &[("Host", "x")]).0, 200);
}

#[test]
fn token_changes_over_tcp_and_another_does_not() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let running = Running::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let token = Some(AdminToken::read(&ProcessEnvironment, &file).unwrap());
    let admin = Admin::with(&running, AdminConfig { token, ..AdminConfig::default() });
    let _peer = running.registered(GCM);
    let ends = |authorization: &str, more: &[(&str, &str)]| {
        let authorization = ("Authorization", authorization);
        let headers: Vec<_> = [("Host", "localhost"), authorization].iter().chain(more).copied().collect();
        admin.ask_with("DELETE", &format!("/applications/{APP}"), &headers)
    };
    for wrong in ["Bearer 0123456789abcdef0123456789abcdeF", "Bearer ", "", "Basic eDp4", TOKEN] {
        let (status, text) = ends(wrong, &[]);
        assert_eq!(status, 401, "{wrong:?} {text}");
        assert!(text.to_ascii_lowercase().contains("www-authenticate: bearer"), "{text}");
        assert!(!text.contains(TOKEN));
    }
    let right = format!("Bearer {TOKEN}");
    assert_eq!(ends(&right, &[("Origin", "http://localhost")]).0, 403, "a web page");
    assert_eq!(ends(&right, &[("Origin", "null")]).0, 403, "a web page in a sandbox");
    assert_eq!(running.metric("sealed_shuffle_executors"), 1);
    assert_eq!(ends(&right, &[]).0, 200);
}

#[test]
fn request_for_another_host_reads_nothing() {
    let running = Running::start();
    let config = AdminConfig { hosts: vec!["node-1".into()], ..AdminConfig::default() };
    let admin = Admin::with(&running, config);
    let asks = |host: &str| admin.ask_with("GET", "/applications", &[("Host", host)]);
    let (status, text) = asks("evil.example:7338");
    assert_eq!(status, 403);
    assert!(text.contains("spark.sealed.admin.hosts") && !text.contains("application/json"), "{text}");
    assert_eq!(admin.ask_with("GET", "/metrics", &[]).0, 400, "none at all");
    assert_eq!(admin.ask_with("GET", "/metrics", &[("Host", "localhost"), ("Host", "evil.example")]).0, 400);
    for ours in ["localhost", "127.0.0.1:7338", "node-1:7338"] {
        assert_eq!(asks(ours).0, 200, "{ours}");
    }
}

#[test]
fn wrong_methods_and_garbage_on_the_admin_port_are_refused() {
    let running = Running::start();
    let admin = Admin::of(&running);
    for (method, path, status) in [
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/applications/x", 405),
        ("DELETE", "/applications/", 404),
        ("POST", "/", 405),
        ("GET", "/index.html", 404),
        ("GET", "/../../etc/passwd", 404),
        ("OPTIONS", "*", 404),
    ] {
        assert_eq!(admin.ask(method, path).0, status, "{method} {path}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let endless = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(10_000));
    for garbage in
        [&b"\0\0\0\0\0\0\0\x0a\x05"[..], b"\x16\x03\x01", long.as_bytes(), endless.as_bytes(), b"GET"]
    {
        let answer = admin.say(garbage);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(admin.ask("GET", "/healthz").0, 200);
    running::assert_no_panics();
}

#[test]
fn application_is_forgotten_when_its_directories_vanish() {
    let running = Running::start();
    running.write_map(1, &[10]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0]).unwrap().stream;
    assert_eq!(running.metric("sealed_shuffle_applications"), 1);
    fs::remove_dir_all(running.root.join("spark-1")).unwrap();
    let start = Instant::now();
    let mut later = start;
    eventually("a sweep forgets it", || {
        later += Duration::from_secs(60);
        running.server.sweep(&OnLane::here(), later);
        running.metric("sealed_shuffle_applications") == 0
    });
    assert!(peer.chunk(stream, 0).is_err());
    fs::create_dir_all(&running.dir).unwrap();
    running.assert_serves();
}

#[test]
fn deleted_file_is_closed_by_a_sweep() {
    let running = Running::start();
    let data = running.write_map(1, &[100_000]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0]).unwrap().stream;
    peer.chunk(stream, 0).unwrap();
    eventually("only the cache holds it", || running.server.store().counters().files_open == 1);
    fs::remove_file(data).unwrap();
    running.server.store().sweep(&OnLane::here(), Instant::now());
    assert_eq!(running.server.store().counters().files_open, 0);
}

#[test]
fn admin_shows_the_policy_and_takes_encoded_names() {
    let running = Running::start();
    let admin = Admin::of(&running);
    let (status, answer) = admin.ask("GET", "/policy");
    assert_eq!(status, 200);
    assert!(
        answer.contains(r#""minimum":"aes-ctr""#) && answer.contains(r#""target":"aes-gcm""#),
        "{answer}"
    );
    let peer = running.registered(CTR);
    let (status, answer) = admin.ask("GET", "/applications?target=aes-ctr");
    assert_eq!(status, 200);
    assert!(answer.contains(r#""below_target":false"#) && answer.contains(r#""executors":1"#), "{answer}");
    assert_eq!(admin.ask("GET", "/applications?target=best").0, 400);
    assert_eq!(running.metric(r#"sealed_shuffle_applications_by_channel{channel="aes-ctr"}"#), 1);
    assert_eq!(running.metric("sealed_shuffle_applications_below_target"), 1);
    drop(peer);
    assert_eq!(admin.ask_at_socket("DELETE", "/applications/app%2D1", &[("Host", "x")]).0, 200);
}
