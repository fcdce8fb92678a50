use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sealed_shuffle_protocol::auth::{AesSession, EngineVersion, FirstBytes, Initiator, Responder};
use sealed_shuffle_protocol::cipher::{Segment, SessionCipher};
use sealed_shuffle_protocol::connection::{
    Agreement, Challenge, Request, ServerConnection, ServerEvent, ServerSettings,
};
use sealed_shuffle_protocol::ids::{AppId, RequestId};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::AppSecret;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::random::OsRandom;
use crate::region::{OpenFile, Region};
use crate::seal::{Budget, Stretch};
use crate::wire::{CountingSocket, WireCounters};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> ServerSettings {
    ServerSettings {
        limits: Limits::default(),
        handshake_timeout: 30 * SECOND,
        idle_timeout: 120 * SECOND,
        stalled_timeout: 60 * SECOND,
        authenticates: true,
        admits_anonymous: true,
    }
}

fn wire() -> WireSettings {
    WireSettings { pipelined: 4, budget_timeout: 60 * SECOND, slow_lane: Lane::new(1) }
}

fn pool() -> SegmentPool {
    SegmentPool::new(Budget::new(1 << 20), 64 << 10, 2)
}

fn secret() -> Arc<AppSecret> {
    Arc::new(AppSecret::new("a shared secret".to_owned()))
}

/// Echoes RPCs; the body `close` is refused and ends the connection. Every stream is the same file.
#[derive(Default)]
struct Echo {
    mode: Option<SessionMode>,
    file: Option<Region>,
    /// It has something to say, and ends the connection with it.
    is_woken: bool,
}

impl Handler for Echo {
    type Engine = ServerConnection<Body>;

    async fn on_event(&mut self, engine: &mut Self::Engine, event: ServerEvent) -> Result<(), CloseReason> {
        match event {
            ServerEvent::Challenge(challenge) => {
                let Challenge::X25519(challenge) = challenge else { panic!("{challenge:?}") };
                let (answer, keys) = Responder::respond(&challenge, &secret(), &mut OsRandom).unwrap();
                engine.accept(challenge.app_id().clone(), &answer.encode(), Some(Agreement::X25519(keys)))
            }
            ServerEvent::Request(Request::Rpc { request, body }) if &body[..] == b"close" => {
                engine.fail_rpc(request, "refused")?;
                engine.close(CloseReason::Refused("told to".to_owned()));
                Ok(())
            }
            ServerEvent::Request(Request::Rpc { request, body }) => engine.answer_rpc(request, &body),
            ServerEvent::Request(Request::Stream { name }) => {
                let file = self.file.clone().unwrap_or_else(Region::empty);
                engine.answer_stream(name, Body::new(file))
            }
            _ => Ok(()),
        }
    }

    fn session_layer(&mut self, agreed: Agreement) -> Box<dyn Layer> {
        let Agreement::X25519(keys) = agreed else { panic!("{agreed:?}") };
        Box::new(AesSession::server(keys, FirstBytes::Frame, Box::new(OsRandom)))
    }

    fn on_mode(&mut self, _: &mut Self::Engine, mode: SessionMode) {
        self.mode = Some(mode);
    }

    async fn wake(&mut self) {
        match self.is_woken {
            true => {}
            false => std::future::pending().await,
        }
    }

    fn on_wake(&mut self, engine: &mut Self::Engine) {
        engine.close(CloseReason::ShuttingDown);
    }
}

async fn serve(socket: &mut impl Socket) -> CloseReason {
    serve_by(socket, Echo::default()).await
}

async fn serve_by(socket: &mut impl Socket, mut echo: Echo) -> CloseReason {
    let mut engine = ServerConnection::new(now(), settings());
    drive(socket, &mut engine, &mut echo, Stack::default(), pool(), &wire()).await
}

fn rpc(request: i64, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head::RpcRequest { request: RequestId(request) }.encode(body.len() as u64, &mut out).unwrap();
    out.extend_from_slice(body);
    out.to_vec()
}

fn response(request: i64, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head::RpcResponse { request: RequestId(request) }.encode(body.len() as u64, &mut out).unwrap();
    out.extend_from_slice(body);
    out.to_vec()
}

/// A socket that follows a script for reads and writes.
struct Scripted {
    /// The results of reads, one entry each; then `end`.
    reads: VecDeque<Vec<u8>>,
    end: End,
    /// Most bytes that a write takes.
    cap: usize,
    /// Writes fail after so many bytes.
    fails_after: usize,
    files: Files,
    written: Vec<u8>,
}

/// How the socket treats files.
#[derive(Clone, Copy, Debug)]
enum Files {
    /// It does not send files; they are read and written like other bytes.
    Read,
    /// It sends files, so many bytes at once.
    Sent(usize),
    /// Sending a file fails once so many bytes were written.
    FailAfter(usize),
    /// The peer never takes them.
    Stall,
}

#[derive(Clone, Copy)]
enum End {
    Eof,
    Reset,
    /// Repeats the last entry.
    Forever(&'static [u8]),
}

impl Scripted {
    fn new(reads: impl IntoIterator<Item = Vec<u8>>, end: End) -> Self {
        let reads = reads.into_iter().collect();
        Self { reads, end, cap: usize::MAX, fails_after: usize::MAX, files: Files::Read, written: Vec::new() }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match (self.reads.pop_front(), self.end) {
            (Some(bytes), _) => buf.put_slice(&bytes),
            (None, End::Forever(bytes)) => buf.put_slice(bytes),
            (None, End::Eof) => {}
            (None, End::Reset) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = buf.len().min(self.cap).min(self.fails_after - self.written.len());
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.written.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Socket for Scripted {
    fn sends_files(&self) -> bool {
        !matches!(self.files, Files::Read)
    }

    fn poll_send_file(&mut self, _: &mut Context<'_>, stretch: Stretch<'_>) -> Poll<io::Result<usize>> {
        let most = match self.files {
            Files::Sent(most) => most,
            Files::FailAfter(most) if self.written.len() < most => 1000,
            Files::FailAfter(_) => return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
            Files::Read | Files::Stall => return Poll::Pending,
        };
        let mut bytes = vec![0; usize::try_from(stretch.len).unwrap().min(most)];
        let n = rustix::io::pread(stretch.file.fd(), &mut bytes, stretch.offset).unwrap();
        self.written.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }
}

impl Socket for DuplexStream {}

/// A region that covers a whole file.
struct File {
    region: Region,
    path: PathBuf,
    content: Vec<u8>,
    _dir: TempDir,
}

impl File {
    fn of(len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rdd_1_2");
        let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &content).unwrap();
        let region = Region::new(Arc::new(OpenFile::open(&path)), 0, len as u64);
        Self { region, path, content, _dir: dir }
    }

    fn echo(&self) -> Echo {
        Echo { file: Some(self.region.clone()), ..Echo::default() }
    }

    /// A request for the file, and one for an answer behind it.
    fn asked() -> Vec<u8> {
        let mut out = BytesMut::new();
        Head::StreamRequest { stream: "file".to_owned() }.encode(0, &mut out).unwrap();
        [&out[..], &rpc(2, b"next")].concat()
    }

    /// The answers.
    fn answer(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        let len = self.content.len() as u64;
        let head = Head::StreamResponse { stream: "file".to_owned() };
        head.encode(len, &mut out).unwrap();
        [&out[..], &self.content, &response(2, b"next")].concat()
    }
}

#[tokio::test(start_paused = true)]
async fn file_arrives_the_same_sent_and_read() {
    let file = File::of(1_300_000);
    let ways = [1000, 65_536, usize::MAX].map(Files::Sent);
    for files in ways.into_iter().chain([Files::Read, Files::FailAfter(0), Files::FailAfter(700_000)]) {
        let mut socket = Scripted::new([File::asked()], End::Eof);
        socket.files = files;
        let reason = serve_by(&mut socket, file.echo()).await;
        assert!(matches!(reason, CloseReason::PeerClosed), "{files:?}: {reason:?}");
        assert!(socket.written == file.answer(), "{files:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn file_that_became_shorter_closes_alike_sent_and_read() {
    for left in [0, 100_000, 1_299_999] {
        for files in [Files::Read, Files::Sent(usize::MAX), Files::Sent(1000)] {
            let file = File::of(1_300_000);
            fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(left).unwrap();
            let mut socket = Scripted::new([File::asked()], End::Eof);
            socket.files = files;
            let reason = serve_by(&mut socket, file.echo()).await;
            let CloseReason::BodyFailed(text) = &reason else { panic!("{files:?}: {reason:?}") };
            assert!(text.contains("was truncated: the block needs 1300000 bytes of it"), "{text}");
            assert!(file.answer().starts_with(&socket.written));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reader_that_takes_no_file_is_cut() {
    let file = File::of(1_300_000);
    let mut socket = Scripted::new([File::asked()], End::Eof);
    socket.files = Files::Stall;
    let began = tokio::time::Instant::now();
    // The peer's side ends only when its answers are out.
    let reason = serve_by(&mut Silent(socket), file.echo()).await;
    assert!(matches!(reason, CloseReason::StalledReader(_)), "{reason:?}");
    assert_eq!(began.elapsed().as_secs(), 60);
}

/// A socket whose peer sends its bytes and then waits.
struct Silent(Scripted);

impl AsyncRead for Silent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.reads.is_empty() {
            true => Poll::Pending,
            false => Pin::new(&mut self.0).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Silent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Socket for Silent {
    fn sends_files(&self) -> bool {
        self.0.sends_files()
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, stretch: Stretch<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_send_file(cx, stretch)
    }
}

#[tokio::test]
async fn kernel_sends_files_and_all_bytes_are_counted() {
    let file = File::of(5_000_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let counters = Arc::new(WireCounters::default());
    let mut ours = CountingSocket::new(ours, Arc::clone(&counters));
    let echo = file.echo();
    let serving = tokio::spawn(async move { serve_by(&mut ours, echo).await });
    theirs.write_all(&File::asked()).await.unwrap();
    let mut answer = vec![0; file.answer().len()];
    theirs.read_exact(&mut answer).await.unwrap();
    assert!(answer == file.answer());
    drop(theirs);
    assert!(matches!(serving.await.unwrap(), CloseReason::PeerClosed));
    assert_eq!(counters.sent.load(Ordering::Relaxed), answer.len() as u64);
}

#[tokio::test]
async fn peer_that_leaves_while_a_file_is_sent_is_the_connections_end() {
    let file = File::of(20_000_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut ours, _) = listener.accept().await.unwrap();
    let echo = file.echo();
    let serving = tokio::spawn(async move { serve_by(&mut ours, echo).await });
    theirs.write_all(&File::asked()).await.unwrap();
    theirs.read_exact(&mut [0; 100_000]).await.unwrap();
    drop(theirs);
    let reason = serving.await.unwrap();
    assert!(matches!(reason, CloseReason::Io(_) | CloseReason::PeerClosed), "{reason:?}");
}

fn single_bytes(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.iter().map(|byte| vec![*byte]).collect()
}

#[tokio::test(start_paused = true)]
async fn conversation_is_the_same_under_every_write_cap() {
    let asked = [rpc(1, b"hello"), rpc(2, &[7; 300]), rpc(3, b""), rpc(4, b"close")].concat();
    let answers = [response(1, b"hello"), response(2, &[7; 300]), response(3, b"")].concat();
    for cap in (1..20).chain([100, 65_536]) {
        for reads in [vec![asked.clone()], single_bytes(&asked)] {
            let mut socket = Scripted::new(reads, End::Eof);
            socket.cap = cap;
            let reason = serve(&mut socket).await;
            assert!(matches!(reason, CloseReason::Refused(_)), "{reason:?}");
            assert!(socket.written.starts_with(&answers), "cap {cap}");
            assert!(socket.written.len() > answers.len(), "the refusal went out too");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn end_and_error_at_every_point_have_their_reason() {
    let asked = [rpc(1, b"hello"), rpc(2, b"more")].concat();
    let between = rpc(1, b"hello").len();
    for cut in 0..=asked.len() {
        let reason = serve(&mut Scripted::new([asked[..cut].to_vec()], End::Eof)).await;
        match cut == 0 || cut == between || cut == asked.len() {
            true => assert!(matches!(reason, CloseReason::PeerClosed), "cut at {cut}: {reason:?}"),
            false => assert!(matches!(reason, CloseReason::PeerClosedMidMessage), "cut at {cut}: {reason:?}"),
        }
        if cut > 0 {
            let reason = serve(&mut Scripted::new([asked[..cut].to_vec()], End::Reset)).await;
            assert!(matches!(reason, CloseReason::Io(_)), "cut at {cut}: {reason:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failing_write_ends_the_connection_wherever_it_fails() {
    let asked = [rpc(1, b"hello"), rpc(2, b"close")].concat();
    for fails_after in 0..response(1, b"hello").len() {
        let mut socket = Scripted::new([asked.clone()], End::Eof);
        socket.fails_after = fails_after;
        let reason = serve(&mut socket).await;
        assert!(matches!(reason, CloseReason::Io(_)), "{fails_after}: {reason:?}");
    }
}

/// A socket that is always readable never lets a timer run; deadlines must hold all the same.
#[tokio::test]
async fn deadlines_hold_against_a_peer_whose_bytes_never_run_out() {
    let reason = serve_noise(Duration::from_millis(50), Echo::default()).await;
    assert!(matches!(reason, CloseReason::HandshakeTimeout(_)), "{reason:?}");
}

#[tokio::test]
async fn handler_is_heard_though_the_bytes_of_the_peer_never_run_out() {
    let woken = Echo { is_woken: true, ..Echo::default() };
    let reason = serve_noise(5 * SECOND, woken).await;
    assert!(matches!(reason, CloseReason::ShuttingDown), "{reason:?}");
}

/// A peer that sends messages that nobody answers, without a pause.
async fn serve_noise(handshake_timeout: Duration, mut echo: Echo) -> CloseReason {
    const NOISE: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 13, 9, 0, 0, 0, 0];
    let settings = ServerSettings { admits_anonymous: false, handshake_timeout, ..settings() };
    let mut engine = ServerConnection::new(now(), settings);
    let mut socket = Scripted::new([], End::Forever(NOISE));
    drive(&mut socket, &mut engine, &mut echo, Stack::default(), pool(), &wire()).await
}

#[tokio::test(start_paused = true)]
async fn timers_end_what_nobody_moves() {
    let (mut ours, mut theirs) = duplex(64);
    let serving = tokio::spawn(async move { serve(&mut ours).await });
    let began = tokio::time::Instant::now();
    theirs.write_all(&rpc(1, b"hello")).await.unwrap();
    let mut answer = vec![0; response(1, b"hello").len()];
    theirs.read_exact(&mut answer).await.unwrap();
    let reason = serving.await.unwrap();
    assert!(matches!(reason, CloseReason::Idle(_)), "{reason:?}");
    assert_eq!(began.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn reader_that_takes_nothing_is_cut() {
    let (mut ours, mut theirs) = duplex(64);
    let serving = tokio::spawn(async move { serve(&mut ours).await });
    let began = tokio::time::Instant::now();
    theirs.write_all(&rpc(1, &[7; 5000])).await.unwrap();
    let reason = serving.await.unwrap();
    assert!(matches!(reason, CloseReason::StalledReader(_)), "{reason:?}");
    assert_eq!(began.elapsed().as_secs(), 60);
}

/// Seals as a client does.
fn seal(layer: &mut AesSession, plain: &[u8]) -> Vec<u8> {
    let mut segment = Segment::with_capacity(1 << 20);
    segment.reset(layer.layout());
    assert_eq!(segment.put(plain), plain.len());
    layer.seal(&mut segment).unwrap();
    segment.sealed().to_vec()
}

#[tokio::test(start_paused = true)]
async fn sealed_bytes_that_open_to_nothing_yet_are_activity() {
    let (mut ours, mut theirs) = duplex(1 << 20);
    let serving = tokio::spawn(async move { serve(&mut ours).await });
    let (initiator, challenge) = Initiator::start(AppId::new("app-1"), secret(), &mut OsRandom).unwrap();
    theirs.write_all(&rpc(0, &challenge.encode())).await.unwrap();
    let mut head = [0; 21];
    theirs.read_exact(&mut head).await.unwrap();
    let len = usize::try_from(u64::from_be_bytes(head[..8].try_into().unwrap())).unwrap();
    let mut answer = vec![0; len - head.len()];
    theirs.read_exact(&mut answer).await.unwrap();
    let keys =
        initiator.finish(&sealed_shuffle_protocol::auth::AuthMessage::decode(&answer).unwrap()).unwrap();
    let mode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm };
    let mut layer = AesSession::client(keys, mode, Box::new(OsRandom));

    // The first request ends the wait for the handshake.
    theirs.write_all(&seal(&mut layer, &rpc(1, b"hello"))).await.unwrap();
    // A GCM segment opens only when its tag has arrived.
    for byte in seal(&mut layer, &rpc(2, b"close")) {
        tokio::time::sleep(100 * SECOND).await;
        theirs.write_all(&[byte]).await.unwrap();
    }
    let reason = serving.await.unwrap();
    assert!(matches!(reason, CloseReason::Refused(_)), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn refusal_is_readable_by_a_peer_that_keeps_sending() {
    let (mut ours, theirs) = duplex(256);
    let serving = tokio::spawn(async move { serve(&mut ours).await });
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let sent = [rpc(1, b"close"), vec![0x5a; 1 << 20]].concat();
    let sending = tokio::spawn(async move { writer.write_all(&sent).await });
    sending.await.unwrap().unwrap();
    let reason = serving.await;
    let mut heard = Vec::new();
    // The task has dropped the writing half; the bytes that it wrote before are there.
    let _end = tokio::time::timeout(5 * SECOND, reader.read_to_end(&mut heard)).await;
    assert!(heard.ends_with(b"refused"), "{heard:?}");
    assert!(matches!(reason.unwrap(), CloseReason::Refused(_)));
}

#[tokio::test(start_paused = true)]
async fn unread_requests_wait_while_answers_do() {
    // A megabyte of answers: far fewer than `pipelined` of them are queued at a time.
    let (mut ours, mut theirs) = duplex(1 << 20);
    let pool = pool();
    let budget = pool.budget().clone();
    let serving = tokio::spawn(async move {
        let mut engine = ServerConnection::new(now(), settings());
        let wire = WireSettings { pipelined: 1000, ..wire() };
        drive(&mut ours, &mut engine, &mut Echo::default(), Stack::default(), pool, &wire).await
    });
    let body = vec![7; 60_000];
    for n in 0..17 {
        theirs.write_all(&rpc(n, &body)).await.unwrap();
    }
    assert!(budget.in_use() <= budget.total());
    for n in 0..17 {
        let mut answer = vec![0; response(n, &body).len()];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, response(n, &body));
    }
    drop(theirs);
    assert!(matches!(serving.await.unwrap(), CloseReason::PeerClosed));
}
