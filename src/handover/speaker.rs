//! A client of our own: it says one event after the other, and waits for each answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};

use super::GREETING;
use super::relay::{RelayError, connect};

/// Time for the server to take a line, and to answer it: what it does may wait for a disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 << 10;

/// A connection to the hand-over socket of a server. After an error it is of no more use.
#[derive(Debug)]
pub struct Speaker {
    socket: BufReader<UnixStream>,
}

/// What a server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
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
            Said::Done => Ok(speaker),
            Said::Refused(text) | Said::NotNow(text) => Err(io::Error::other(text).into()),
        }
    }

    /// An application is over.
    pub fn ended(&mut self, app: &AppId) -> Result<Said, RelayError> {
        self.say(&format!("ended {}", app.as_str()))
    }

    /// An executor of an application is over.
    pub fn executor_ended(&mut self, app: &AppId, executor: &ExecutorId) -> Result<Said, RelayError> {
        self.say(&format!("executor-ended {} {}", app.as_str(), executor.as_str()))
    }

    fn say(&mut self, line: &str) -> Result<Said, RelayError> {
        self.socket.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        (&mut self.socket).take(LONGEST_ANSWER).read_line(&mut answer)?;
        let Some(answer) = answer.strip_suffix('\n') else { return Err(RelayError::Gone) };
        match answer.split_once(' ').unwrap_or((answer, "")) {
            ("ok", "") => Ok(Said::Done),
            ("refused", text) => Ok(Said::Refused(text.to_owned())),
            ("failed", text) => Ok(Said::NotNow(text.to_owned())),
            _ => Err(io::Error::other("the server answers something else").into()),
        }
    }
}
