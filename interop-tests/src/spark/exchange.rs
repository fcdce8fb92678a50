//! What Spark's clients present, and what comes of a request: an answer, a failure, or nothing.

use serde_json::{Value, json};

use crate::{modes::Mode, oracle::Digest};

/// What to present on connecting.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The application id of the handshake.
    pub app: String,
    /// The secret, or none to speak without authentication.
    pub secret: Option<String>,
    /// Transport keys.
    pub conf: Vec<(String, String)>,
}

impl Credentials {
    /// The application's own, in the given mode; the secret is left out where nothing is proven.
    pub fn new(mode: &Mode, app: &str, secret: &str) -> Self {
        let conf = mode.client_conf().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { app: app.to_owned(), secret: mode.authenticates().then(|| secret.to_owned()), conf }
    }

    /// No authentication at all.
    pub fn none(app: &str) -> Self {
        Self { app: app.to_owned(), secret: None, conf: Vec::new() }
    }

    /// The same with one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.conf.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn describe(&self) -> Value {
        let conf: serde_json::Map<String, Value> =
            self.conf.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        json!({"app": self.app, "secret": self.secret, "conf": conf})
    }
}

/// Why Spark's client says that something failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The Java class of the exception.
    pub class: String,
    /// Its message, word for word, remote stack trace included.
    pub message: String,
    /// Messages of its causes.
    pub causes: Vec<String>,
}

impl Failure {
    fn of(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let causes =
            error["causes"].as_array().into_iter().flatten().map(|cause| text(&cause["message"])).collect();
        Self { class: text(&error["class"]), message: text(&error["message"]), causes }
    }

    /// The first line of what the service said, without what the client put in front.
    pub fn text(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        if line.starts_with("Failure while fetching StreamChunkId") {
            return line.split_once("]: ").map_or(line, |(_, text)| text);
        }
        line
    }

    /// In a line: what was said, or the last cause where nothing was.
    pub fn reason(&self) -> String {
        let cause = self.causes.last().map(String::as_str).unwrap_or_default();
        let text = if self.message.is_empty() { cause } else { self.text() };
        if text.is_empty() { self.class.clone() } else { text.to_owned() }
    }

    /// Whether the connection went away, which Spark's clients retry, rather than an answer saying no.
    pub fn is_disconnect(&self) -> bool {
        let io = ["java.io.IOException", "java.nio.channels.ClosedChannelException"];
        io.contains(&self.class.as_str())
            || self.message.contains("closed") && self.class.contains("IOException")
    }
}

/// The answer to one request: received, refused, or nothing within the time given.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The decoded answer.
    Answer(Value),
    /// An exception.
    Failed(Failure),
    /// Nothing came.
    Silence,
}

impl Outcome {
    pub(super) fn of(answer: Value) -> Self {
        if answer["timeout"].as_bool() == Some(true) {
            return Self::Silence;
        }
        match answer.get("error") {
            Some(error) => Self::Failed(Failure::of(error)),
            None => Self::Answer(answer),
        }
    }

    /// The answer, or a panic with the failure.
    #[track_caller]
    pub fn answer(self) -> Value {
        match self {
            Self::Answer(value) => value,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// The failure, or a panic with the answer.
    #[track_caller]
    pub fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            other => panic!("no failure but {other:?}"),
        }
    }

    /// Length and hash of the bytes received.
    #[track_caller]
    pub fn digest(self) -> Digest {
        Digest::received(&self.answer())
    }

    /// The name of what was opened.
    #[track_caller]
    pub(super) fn name(self) -> String {
        self.answer()["name"].as_str().expect("what is opened has a name").to_owned()
    }
}
