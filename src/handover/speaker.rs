//! A client of our own: it says one event after the other, and waits for each answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use zeroize::Zeroizing;

use super::relay::{RelayError, connect};
use super::{GREETING, HELD};

/// Time for the server to take a line, and to answer it: what it does may wait for a disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 << 10;

/// The longest list of applications that is read: ten thousand of the longest ids.
const LONGEST_LIST: u64 = 4 << 20;

/// A connection to the hand-over socket of a server. After an error it is of no more use.
#[derive(Debug)]
pub struct Speaker {
    socket: BufReader<UnixStream>,
}

/// What a server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// It is refused for good.
    Refused(String),
    /// It may be done later.
    NotNow(String),
}

impl Speaker {
    /// Connects to a server that runs as our user, root, or one of `users`, and says which version is spoken.
    pub fn connect(path: &Path, users: &[u32]) -> Result<Self, RelayError> {
        let socket = connect(path, users)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut speaker = Self { socket: BufReader::new(socket) };
        match speaker.say(GREETING)? {
            Reply::Done => Ok(speaker),
            Reply::Refused(text) | Reply::NotNow(text) => Err(io::Error::other(text).into()),
        }
    }

    /// Whether the server has closed the connection. Between two answers it has nothing to say. It does not wait.
    pub fn is_gone(&self) -> bool {
        let mut byte = [0];
        let looked =
            rustix::net::recv(self.socket.get_ref(), &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(looked, Err(Errno::AGAIN | Errno::INTR))
    }

    /// An application runs, and proves itself with this secret, which the server may store for its next start.
    pub fn started(&mut self, app: &AppId, secret: &AppSecret) -> Result<Reply, RelayError> {
        let payload = Zeroizing::new(STANDARD.encode(&*payload(secret)));
        let words = ["started ", app.as_str(), " ", &payload, "\n"];
        // Allocated once, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(String::with_capacity(words.iter().map(|word| word.len()).sum()));
        words.iter().for_each(|word| line.push_str(word));
        self.send(&line)?;
        said(&self.answer(LONGEST_ANSWER)?)
    }

    /// The applications whose secret the server holds; `None` where it does not say.
    pub fn held(&mut self) -> Result<Option<Vec<AppId>>, RelayError> {
        self.send(&format!("{HELD}\n"))?;
        let answer = self.answer(LONGEST_LIST)?;
        let mut words = answer.split(' ');
        match words.next() {
            Some(HELD) => Ok(Some(words.map(AppId::new).collect())),
            // It is older than the question.
            _ => said(&answer).map(|_| None),
        }
    }

    /// An application is over.
    pub fn ended(&mut self, app: &AppId) -> Result<Reply, RelayError> {
        self.say(&format!("ended {}", app.as_str()))
    }

    /// An executor of an application is over.
    pub fn executor_ended(&mut self, app: &AppId, executor: &ExecutorId) -> Result<Reply, RelayError> {
        self.say(&format!("executor-ended {} {}", app.as_str(), executor.as_str()))
    }

    fn say(&mut self, line: &str) -> Result<Reply, RelayError> {
        self.send(&format!("{line}\n"))?;
        said(&self.answer(LONGEST_ANSWER)?)
    }

    fn send(&mut self, line: &str) -> Result<(), RelayError> {
        Ok(self.socket.get_mut().write_all(line.as_bytes())?)
    }

    fn answer(&mut self, longest: u64) -> Result<String, RelayError> {
        let mut answer = String::new();
        (&mut self.socket).take(longest).read_line(&mut answer)?;
        match answer.pop() {
            Some('\n') => Ok(answer),
            _ => Err(RelayError::Gone),
        }
    }
}

/// The secret as it stands; in the other form of a payload where it would be taken for that.
fn payload(secret: &AppSecret) -> Zeroizing<Vec<u8>> {
    let bytes = secret.as_bytes();
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with('{'));
    match text {
        None => Zeroizing::new(bytes.to_vec()),
        Some(text) => {
            let quoted = Zeroizing::new(serde_json::Value::from(text).to_string());
            Zeroizing::new([br#"{"secret":"#, quoted.as_bytes(), b"}"].concat())
        }
    }
}

fn said(answer: &str) -> Result<Reply, RelayError> {
    match answer.split_once(' ').unwrap_or((answer, "")) {
        ("ok", "") => Ok(Reply::Done),
        ("refused", text) => Ok(Reply::Refused(text.to_owned())),
        ("failed", text) => Ok(Reply::NotNow(text.to_owned())),
        _ => Err(io::Error::other("the server answers something else").into()),
    }
}
