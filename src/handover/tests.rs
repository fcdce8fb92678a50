use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealed_shuffle_config::HandoverConfig;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::lines::LONGEST_LINE;
use super::serve::run_asking;
use super::*;
use crate::local_socket::Place;

/// Records its calls. It refuses `never`, and fails for `later`.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn told(&self, app: &AppId, what: String) -> Result<(), EventError> {
        match app.as_str() {
            "never" => return Err(EventError::Refused("no\nnever".to_owned())),
            "later" => return Err(EventError::Failed("not now".to_owned())),
            _ => {}
        }
        self.0.lock().unwrap().push(what);
        Ok(())
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Receiver for Told {
    fn started(&self, app: &AppId, given: HandOverPayload) -> Result<(), EventError> {
        let secret = given.secret.map(|secret| String::from_utf8_lossy(secret.as_bytes()).into_owned());
        self.told(app, format!("+{app} {secret:?} {}", given.remember))
    }

    fn ended(&self, app: &AppId) -> Result<(), EventError> {
        self.told(app, format!("-{app}"))
    }

    fn held(&self) -> Vec<AppId> {
        ["app-1", "app 2", "app-3"].map(AppId::new).to_vec()
    }
}

struct Running {
    told: Arc<Told>,
    config: HandoverConfig,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    dir: TempDir,
}

impl Running {
    fn start() -> Self {
        Self::asking(|stream| Ok(stream.peer_cred()?.uid()))
    }

    fn asking(peer_user: impl Fn(&UnixStream) -> io::Result<u32> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = HandoverConfig::new(dir.path().join("s"), vec![4711], Duration::ZERO);
        let socket = bind(&config, Place::Free).unwrap();
        let (told, stop) = (Arc::new(Told::default()), CancellationToken::new());
        let receiver = Arc::clone(&told) as Arc<dyn Receiver>;
        let task = tokio::spawn(run_asking(socket, receiver, stop.clone().cancelled_owned(), peer_user));
        Self { told, config, stop, task, dir }
    }

    async fn connect(&self) -> Peer {
        Peer(BufReader::new(UnixStream::connect(&self.config.socket).await.unwrap()))
    }

    async fn greeted(&self) -> Peer {
        let mut peer = self.connect().await;
        assert_eq!(peer.say(GREETING).await, "ok");
        peer
    }
}

struct Peer(BufReader<UnixStream>);

impl Peer {
    /// The answer to a line.
    async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes()).await;
        self.answer().await.expect("an answer")
    }

    async fn send(&mut self, bytes: &[u8]) {
        // A server that refuses may close before it has read everything.
        self.0.get_mut().write_all(bytes).await.ok();
    }

    /// The next line, or `None` once the server has closed.
    async fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(read) if read > 0 => Some(line.trim_end().to_owned()),
            _ => None,
        }
    }
}

#[tokio::test]
async fn applications_begin_and_end_as_they_are_said_to() {
    let running = Running::start();
    let mut peer = running.greeted().await;
    assert_eq!(peer.say("started app-1 c2VjcmV0").await, "ok");
    assert_eq!(peer.say("started app-2 -").await, "ok");
    assert_eq!(peer.say("ended app-1").await, "ok");
    assert_eq!(peer.say("ended never").await, "refused no never", "in one line");
    assert_eq!(peer.say("started later -").await, "failed not now");
    assert_eq!(peer.say("ended app-2").await, "ok", "a refusal ends nothing");
    assert_eq!(running.told.all(), ["+app-1 Some(\"secret\") true", "+app-2 None true", "-app-1", "-app-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_speaker_hands_secrets_over_and_asks_which_are_held() {
    let running = Running::start();
    let path = running.config.socket.clone();
    let speaking = tokio::task::spawn_blocking(move || {
        let mut speaker = Speaker::connect(&path, &[])?;
        let odd = r#" {"secret": "x"}"#;
        for (app, secret) in [("app-1", "secret"), ("app-2", odd)] {
            let said = speaker.started(&AppId::new(app), &AppSecret::new(secret.to_owned()))?;
            assert_eq!(said, Reply::Done);
        }
        let held = speaker.held()?.expect("an answer");
        assert_eq!(held, ["app-1", "app-3"].map(AppId::new), "no line can hold the other one");
        assert_eq!(speaker.ended(&AppId::new("app-1"))?, Reply::Done, "the connection goes on");
        assert!(!speaker.is_gone());
        Ok::<_, RelayError>(speaker)
    });
    let speaker = speaking.await.unwrap().unwrap();
    let told =
        ["+app-1 Some(\"secret\") true", "+app-2 Some(\" {\\\"secret\\\": \\\"x\\\"}\") true", "-app-1"];
    assert_eq!(running.told.all(), told);
    running.stop.cancel();
    running.task.await.unwrap();
    // The task of the connection ends on its own.
    let seen = async {
        while !speaker.is_gone() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it is seen without a word");
}

#[tokio::test]
async fn lines_without_sense_are_refused_one_by_one() {
    let running = Running::start();
    let mut peer = running.greeted().await;
    for line in ["", "shutdown", "started app-1", "started app-1 ???", "ended a b", GREETING] {
        assert!(peer.say(line).await.starts_with("refused "), "{line}");
    }
    assert_eq!(peer.say("ended app-1").await, "ok");
    assert_eq!(running.told.all(), ["-app-1"]);
}

#[tokio::test]
async fn another_version_is_refused_before_anything_is_said() {
    let running = Running::start();
    for line in ["sealed-shuffle-handover 2", "ended app-1", ""] {
        let mut peer = running.connect().await;
        assert!(peer.say(line).await.contains(GREETING), "{line}");
        assert_eq!(peer.answer().await, None);
    }
    assert!(running.told.all().is_empty());
}

#[tokio::test]
async fn a_line_longer_than_the_bound_ends_the_connection() {
    let running = Running::start();
    let mut peer = running.greeted().await;
    peer.send(&vec![b'a'; LONGEST_LINE]).await;
    assert!(peer.answer().await.expect("an answer").starts_with("refused a line of more than"));
    assert_eq!(peer.answer().await, None);
    assert_eq!(running.greeted().await.say("ended app-1").await, "ok", "others are served");
}

#[tokio::test]
async fn half_a_line_changes_nothing() {
    let running = Running::start();
    let mut peer = running.greeted().await;
    peer.send(b"ended app-1").await;
    peer.0.get_mut().shutdown().await.unwrap();
    assert_eq!(peer.answer().await, None);
    assert!(running.told.all().is_empty());
}

#[tokio::test]
async fn another_user_reads_one_refusal() {
    let running = Running::asking(|_| Ok(4712));
    let mut peer = running.connect().await;
    let refusal = peer.answer().await.expect("an answer");
    assert!(refusal.starts_with("refused user 4712") && refusal.contains("handover.users"), "{refusal}");
    assert_eq!(peer.answer().await, None);
    let named = Running::asking(|_| Ok(4711));
    assert_eq!(named.greeted().await.say("ended app-1").await, "ok");
    let unknown = Running::asking(|_| Err(io::Error::other("who knows")));
    assert_eq!(unknown.connect().await.answer().await, None);
}

#[tokio::test]
async fn the_socket_is_gone_at_the_end() {
    let running = Running::start();
    assert!(running.config.socket.exists());
    running.stop.cancel();
    running.task.await.unwrap();
    assert!(!running.config.socket.exists());
}

#[tokio::test]
async fn more_connections_than_places_wait_for_one_of_them_to_end() {
    let running = Running::start();
    let mut peers = Vec::new();
    for _ in 0..8 {
        peers.push(running.greeted().await);
    }
    let mut next = running.connect().await;
    next.send(format!("{GREETING}\n").as_bytes()).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), next.answer()).await.is_err());
    drop(peers.pop());
    assert_eq!(next.answer().await.as_deref(), Some("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_passes_lines_on_and_ends_with_its_input() {
    let running = Running::start();
    let path = running.config.socket.clone();
    let (answers, done) = tokio::task::spawn_blocking(move || {
        let mut answers = Vec::new();
        let said = format!("{GREETING}\nended app-1\nended never\n");
        let done = relay(&path, &[], Cursor::new(said), &mut answers);
        (String::from_utf8(answers).unwrap(), done)
    })
    .await
    .unwrap();
    done.unwrap();
    assert_eq!(answers, "ok\nok\nrefused no never\n");
    assert_eq!(running.told.all(), ["-app-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_ends_when_the_server_goes() {
    let running = Running::start();
    let path = running.config.socket.clone();
    let (input, mut held) = io::pipe().unwrap();
    let (answers, answered) = io::pipe().unwrap();
    let relaying = tokio::task::spawn_blocking(move || relay(&path, &[], input, answered));
    io::Write::write_all(&mut held, format!("{GREETING}\nended app-1\n").as_bytes()).unwrap();
    let mut first = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(answers), &mut first).unwrap();
    assert_eq!(first, "ok\n", "it is connected");
    running.stop.cancel();
    assert!(matches!(relaying.await.unwrap(), Err(RelayError::Gone | RelayError::Io(_))));
    let nobody = running.dir.path().join("nobody");
    assert!(matches!(relay(&nobody, &[], io::empty(), io::sink()), Err(RelayError::Unreachable { .. })));
}
