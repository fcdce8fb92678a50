//! What can go wrong for a client, sorted by what the caller can do about it.
//!
//! A server says why it failed in text alone: the first line of a Java stack trace. [`server_kind`] is
//! the one place that reads such texts; they are those of Spark 3.3.4 to 4.3.0 and of our own server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::auth::AuthError;
use sealed_shuffle_protocol::auth::legacy::LegacyError;
use sealed_shuffle_protocol::cipher::{BROKEN_GCM, CipherError, SOUND_GCM};
use sealed_shuffle_protocol::codec::{DecodeError, EncodeError};
use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::sasl::SaslError;
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_protocol::shuffle::{BlockId, ShapeError};
use sealed_shuffle_transport::tls::{TlsError, TlsFault};
use thiserror::Error;

use super::Address;

/// What an error means to a caller.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// One end refuses the other: wrong secret, wrong application, no AES, a certificate that is not trusted.
    Refused,
    /// The server answers, and the block, executor or file is not there.
    Missing,
    /// Bytes arrived that are not what was sent.
    Corrupt,
    /// Nobody answers, or not in time, or the connection broke. Worth another try later.
    Unreachable,
    /// The server broke the protocol, or speaks another one.
    Protocol,
    /// The server failed in words that say nothing of the above.
    Failed,
    /// The trouble is on this side: a file, a limit, a wrong request.
    Local,
}

impl ErrorKind {
    /// A short fixed word for metrics and machines.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Unreachable => "unreachable",
            Self::Protocol => "protocol",
            Self::Failed => "failed",
            Self::Local => "local",
        }
    }
}

/// Why a call failed. [`ClientError::kind`] says what that means to the caller.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The name has no address, or the server took no connection.
    #[error("cannot connect to {server}: {source}; is it running, and is the port right?")]
    Connect {
        /// The server.
        server: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The server took no connection in time.
    #[error("no connection to {server} within {after:?} (spark.shuffle.io.connectionCreationTimeout)")]
    ConnectTimeout {
        /// The server.
        server: Address,
        /// The deadline.
        after: Duration,
    },
    /// The handshake failed: this end never goes on with less.
    #[error("{server}: {reason}{}", hint(reason))]
    Handshake {
        /// The server.
        server: Address,
        /// How it ended.
        #[source]
        reason: Arc<CloseReason>,
    },
    /// The connection ended with answers owed.
    #[error("connection to {server} ended: {reason}{}", mode_hint(*.answered, reason))]
    Closed {
        /// The server.
        server: Address,
        /// Whether the server had answered anything on it.
        answered: bool,
        /// How it ended.
        #[source]
        reason: Arc<CloseReason>,
    },
    /// An answer did not come in time.
    #[error("{server} did not answer {what} within {after:?}")]
    NoAnswer {
        /// The server.
        server: Address,
        /// The request.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// Over AES-GCM the server answered what was asked first and nothing after it. A server that hangs looks alike.
    #[error(
        "{server} answers the first request of a connection only, and nothing more within {after:?}: it hangs, or it is \
         Spark {broken}, whose AES-GCM is broken. Move such a server to Spark {sound}, or set \
         spark.network.crypto.cipher=AES/CTR/NoPadding here and there",
        broken = BROKEN_GCM,
        sound = SOUND_GCM
    )]
    OneAnswer {
        /// The server.
        server: Address,
        /// The deadline.
        after: Duration,
    },
    /// The server answered that it failed.
    #[error("{server}: {}{}", Shown(first_line(text)), server_hint(text))]
    Server {
        /// The server.
        server: Address,
        /// Its words: a line, mostly with a Java stack trace behind it.
        text: String,
    },
    /// An answer that is none.
    #[error("{server} answered {what} with something else: {source}")]
    Answer {
        /// The server.
        server: Address,
        /// The request.
        what: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An answer of the wrong kind or shape.
    #[error("{server} answered {what} wrongly: {}", Shown(how))]
    Unexpected {
        /// The server.
        server: Address,
        /// The request.
        what: &'static str,
        /// What came.
        how: String,
    },
    /// A block that is larger than what may be held in memory.
    #[error(
        "the block has {len} bytes, and no more than {limit} are fetched to memory \
         (spark.network.maxRemoteBlockSizeFetchToMem): fetch it to a file (--out)"
    )]
    TooLargeForMemory {
        /// Its bytes.
        len: u64,
        /// The bound.
        limit: u64,
    },
    /// The reader took nothing for so long that the connection went on without it.
    #[error("the blocks that had arrived were not taken within {0:?}")]
    SlowReader(Duration),
    /// A range of partitions in the message of Spark 2.
    #[error("{0} names a range of partitions, which spark.shuffle.useOldFetchProtocol=true cannot ask for")]
    BatchInOldProtocol(BlockId),
    /// A block whose name is no plain file name.
    #[error("{0:?} is no plain file name: fetch this block without --out")]
    NoFileName(String),
    /// Two blocks that would be one file.
    #[error("{0} is asked for twice")]
    Duplicate(BlockId),
    /// A file of ours.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A request that cannot be said.
    #[error("the request cannot be sent: {0}")]
    Unsayable(#[from] EncodeError),
    /// The system gives no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// TLS needs a name or an address to hold the certificate against.
    #[error("{server}: no host name or address that a certificate could be for")]
    ServerName {
        /// Who was to be connected to.
        server: Address,
    },
    /// Our half of the handshake failed before anything was sent.
    #[error("handshake: {0}")]
    Challenge(#[from] AuthError),
    /// The same for the PBKDF2 handshake.
    #[error("handshake: {0}")]
    LegacyChallenge(#[from] LegacyError),
    /// The same for SASL.
    #[error("handshake: {0}")]
    SaslStart(#[from] SaslError),
}

impl ClientError {
    /// What it means to the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::OneAnswer { .. } => ErrorKind::Unreachable,
            Self::Handshake { reason, .. } | Self::Closed { reason, .. } => close_kind(reason),
            Self::Server { text, .. } => server_kind(text),
            Self::Answer { .. } | Self::Unexpected { .. } => ErrorKind::Protocol,
            Self::TooLargeForMemory { .. }
            | Self::SlowReader(_)
            | Self::BatchInOldProtocol(_)
            | Self::NoFileName(_)
            | Self::Duplicate(_)
            | Self::File { .. }
            | Self::Unsayable(_)
            | Self::Random(_)
            | Self::ServerName { .. }
            | Self::Challenge(_)
            | Self::LegacyChallenge(_)
            | Self::SaslStart(_) => ErrorKind::Local,
        }
    }

    /// Whether the same request may succeed on a new connection: what Spark retries
    /// (RetryingBlockTransferor, 4.3.0: an IOException, which an answered failure is not).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::OneAnswer { .. } => true,
            Self::Handshake { reason, .. } | Self::Closed { reason, .. } => {
                close_kind(reason) == ErrorKind::Unreachable
                    && !matches!(**reason, CloseReason::HandshakeTimeout(_))
            }
            _ => false,
        }
    }

    /// Whether every other block of the same executor fails alike.
    pub(super) fn is_for_all_blocks(&self) -> bool {
        match self {
            Self::Server { text, .. } => {
                self.kind() == ErrorKind::Refused || first_line(text).contains("Executor is not registered")
            }
            Self::TooLargeForMemory { .. } => false,
            _ => true,
        }
    }

    pub(super) fn shape(server: &Address, what: &'static str, error: &ShapeError) -> Self {
        Self::Unexpected { server: server.clone(), what, how: error.to_string() }
    }
}

/// Why one block could not be fetched. Blocks of one request share the cause.
#[derive(Clone, Debug, Error)]
#[error("{block}: {error}")]
#[non_exhaustive]
pub struct FetchError {
    /// The block.
    pub block: BlockId,
    /// The cause.
    #[source]
    pub error: Arc<ClientError>,
}

impl FetchError {
    /// What it means to the caller.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// Whether a later try may succeed; the tries that were configured are spent.
    pub fn is_retryable(&self) -> bool {
        self.error.is_retryable()
    }
}

fn close_kind(reason: &CloseReason) -> ErrorKind {
    match reason {
        CloseReason::HandshakeRefused(_)
        | CloseReason::Refused(_)
        | CloseReason::Handshake(_)
        | CloseReason::LegacyHandshake(_)
        | CloseReason::SaslHandshake(_)
        | CloseReason::HandshakeAnswer(_) => ErrorKind::Refused,
        CloseReason::Cipher(CipherError::Tls(error)) => tls_kind(error.downcast_ref()),
        CloseReason::Frame(_) | CloseReason::Cipher(_) => ErrorKind::Corrupt,
        CloseReason::Message(_)
        | CloseReason::EarlyBytes(_)
        | CloseReason::Unexpected(_)
        | CloseReason::TooLarge { .. } => ErrorKind::Protocol,
        CloseReason::Unsayable(_) | CloseReason::BodyFailed(_) => ErrorKind::Local,
        CloseReason::PeerClosed
        | CloseReason::PeerClosedMidMessage
        | CloseReason::HandshakeTimeout(_)
        | CloseReason::Idle(_)
        | CloseReason::StalledSender(_)
        | CloseReason::StalledReader(_)
        | CloseReason::NoAnswer(..)
        | CloseReason::Io(_)
        | CloseReason::ShuttingDown => ErrorKind::Unreachable,
        // The enum may grow in its own crate.
        _ => ErrorKind::Protocol,
    }
}

/// An error of TLS that is none of ours cannot be: nothing else makes them.
fn tls_kind(error: Option<&TlsError>) -> ErrorKind {
    match error.map(TlsError::fault) {
        Some(TlsFault::Refused) => ErrorKind::Refused,
        Some(TlsFault::Changed) => ErrorKind::Corrupt,
        Some(TlsFault::NotTls) | None => ErrorKind::Protocol,
    }
}

/// What a server's words mean, most telling first.
const WORDS: [(&str, ErrorKind); 19] = [
    ("SecurityException", ErrorKind::Refused),
    ("Authentication failed", ErrorKind::Refused),
    ("Unknown challenge", ErrorKind::Refused),
    ("Expected SaslMessage", ErrorKind::Refused),
    ("Unknown message type: -5", ErrorKind::Refused),
    ("localDirs entry is not", ErrorKind::Refused),
    ("Executor is not registered", ErrorKind::Missing),
    ("Data file is missing", ErrorKind::Missing),
    ("Failed to open file", ErrorKind::Missing),
    ("Chunk was not found", ErrorKind::Missing),
    ("' was not found.", ErrorKind::Missing),
    ("BlockNotFoundException", ErrorKind::Missing),
    ("NoSuchFileException", ErrorKind::Missing),
    ("FileNotFoundException", ErrorKind::Missing),
    // A partition past the last one: an index that ends early.
    ("IndexOutOfBoundsException", ErrorKind::Missing),
    ("java.io.EOFException", ErrorKind::Missing),
    ("Block not found", ErrorKind::Missing),
    // Of its index, meta or data file: not found, or empty.
    ("Merged shuffle ", ErrorKind::Missing),
    ("is not registered or NM was restarted", ErrorKind::Missing),
];

/// Sorts the words of a server; of a stack trace the causes count too.
fn server_kind(text: &str) -> ErrorKind {
    let first = first_line(text);
    let causes = text.lines().filter(|line| line.starts_with("Caused by:"));
    let mut telling = std::iter::once(first).chain(causes);
    telling
        .find_map(|line| WORDS.iter().find(|(words, _)| line.contains(words)))
        .map_or(ErrorKind::Failed, |(_, kind)| *kind)
}

/// The line that a person reads.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("the server failed without a word")
}

fn hint(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::HandshakeRefused(text) if text.contains("Unknown message type") => {
            "; the server knows no authentication: set spark.authenticate=true and \
             spark.network.crypto.enabled=true there, or spark.authenticate=false here to speak in clear"
        }
        CloseReason::HandshakeRefused(text) if text.contains("SaslMessage") => {
            "; the server speaks SASL without AES: set spark.network.crypto.enabled=true there"
        }
        CloseReason::HandshakeRefused(_) | CloseReason::Handshake(_) => {
            "; is spark.authenticate.secret the same here and there?"
        }
        CloseReason::HandshakeAnswer(_) => {
            "; is this a shuffle service or executor of Spark 3.2 or later, with spark.network.crypto.enabled=true?"
        }
        CloseReason::PeerClosed | CloseReason::PeerClosedMidMessage => {
            "; it may expect TLS, or not be a Spark server at all"
        }
        _ => "",
    }
}

/// Spark does not negotiate the cipher: a server that has another one hangs up at the first request.
fn mode_hint(answered: bool, reason: &CloseReason) -> &'static str {
    match reason {
        // It says itself what to do.
        CloseReason::Cipher(CipherError::Tls(_)) => "",
        CloseReason::PeerClosed | CloseReason::PeerClosedMidMessage | CloseReason::Cipher(_) if !answered => {
            "; are spark.network.crypto.cipher and spark.network.crypto.authEngineVersion the same here and there?"
        }
        _ => "",
    }
}

fn server_hint(text: &str) -> &'static str {
    if first_line(text).trim_end() == "java.lang.IndexOutOfBoundsException" {
        return "; the map task has no such partition";
    }
    if text.contains("SaslMessage") || text.contains("Unauthenticated") {
        return "; the server wants authentication: set spark.authenticate.secret here";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_say_what_a_caller_can_do() {
        for (text, kind) in [
            (
                "java.lang.RuntimeException: Executor is not registered (appId=a, execId=1)",
                ErrorKind::Missing,
            ),
            ("java.lang.RuntimeException: Failed to open file: /x\n\tat y", ErrorKind::Missing),
            ("java.lang.IllegalStateException: Chunk was not found\n\tat", ErrorKind::Missing),
            ("Stream '7_0' was not found.", ErrorKind::Missing),
            ("org.apache.spark.storage.BlockNotFoundException: Block rdd_9_0 not found", ErrorKind::Missing),
            ("java.nio.file.NoSuchFileException: /d/0c/shuffle_0_0_0.index", ErrorKind::Missing),
            ("java.lang.IndexOutOfBoundsException: Index 9", ErrorKind::Missing),
            ("java.io.EOFException\n\tat z", ErrorKind::Missing),
            ("java.lang.SecurityException: Client a not authorized for application b.", ErrorKind::Refused),
            ("java.lang.IllegalArgumentException: Authentication failed.", ErrorKind::Refused),
            ("java.lang.IllegalArgumentException: Unknown message type: -5", ErrorKind::Refused),
            ("java.lang.RuntimeException: Merged shuffle meta file /x not found", ErrorKind::Missing),
            ("java.lang.RuntimeException: Merged shuffle index file /x is empty", ErrorKind::Missing),
            (
                "java.lang.IllegalArgumentException: application a is not registered or NM was restarted.",
                ErrorKind::Missing,
            ),
            ("java.lang.RuntimeException: boom", ErrorKind::Failed),
            (
                "java.lang.RuntimeException: x\nCaused by: java.io.FileNotFoundException: y",
                ErrorKind::Missing,
            ),
            ("java.lang.RuntimeException: x\n\tat a.SecurityException.b(c)", ErrorKind::Failed),
            ("", ErrorKind::Failed),
        ] {
            assert_eq!(server_kind(text), kind, "{text:?}");
        }
    }

    #[test]
    fn a_servers_words_are_harmless_and_short_where_they_are_shown() {
        let hostile = format!("java.X: \u{1b}]0;owned\u{7}\u{9b}2J\u{202e}{}\n\tat y", "x".repeat(1 << 20));
        let server = Address::new("h", 1);
        let refused = Arc::new(CloseReason::HandshakeRefused(hostile.clone()));
        for error in [
            ClientError::Handshake { server: server.clone(), reason: Arc::clone(&refused) },
            ClientError::Closed { server: server.clone(), answered: true, reason: refused },
            ClientError::Unexpected { server: server.clone(), what: "this", how: hostile.clone() },
            ClientError::Server { server: server.clone(), text: hostile },
        ] {
            let shown = error.to_string();
            assert!(shown.contains("java.X: \\u{1b}]0;owned"), "{shown}");
            assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown}");
            assert!(shown.len() < 2000, "{} bytes", shown.len());
        }
        let text = "java.lang.IllegalStateException: Chunk was not found".to_owned();
        let plain = ClientError::Server { server, text };
        assert!(
            plain.to_string().ends_with("java.lang.IllegalStateException: Chunk was not found"),
            "{plain}"
        );
    }

    #[test]
    fn only_what_may_heal_is_tried_again() {
        let server = Address::new("h", 1);
        let closed =
            |reason| ClientError::Closed { server: server.clone(), answered: true, reason: Arc::new(reason) };
        assert!(closed(CloseReason::PeerClosedMidMessage).is_retryable());
        assert!(closed(CloseReason::Io(io::ErrorKind::ConnectionReset.into())).is_retryable());
        assert!(!closed(CloseReason::HandshakeRefused("no".into())).is_retryable());
        assert!(!closed(CloseReason::Unexpected("answer")).is_retryable());
        let text = "java.lang.IllegalStateException: Chunk was not found".to_owned();
        assert!(!ClientError::Server { server: server.clone(), text }.is_retryable());
    }

    #[test]
    fn a_refused_handshake_says_what_to_set() {
        let refused = |text: &str| {
            let reason = Arc::new(CloseReason::HandshakeRefused(text.to_owned()));
            ClientError::Handshake { server: Address::new("h", 1), reason }.to_string()
        };
        let without_auth = refused("x: Unknown message type: -5\n\tat org.apache.spark.Y(Z.java:88)");
        assert!(without_auth.contains("spark.authenticate=true") && !without_auth.contains("Z.java"));
        assert!(refused("x: Expected SaslMessage").contains("spark.network.crypto.enabled=true"));
        assert!(refused("Authentication failed.").contains("spark.authenticate.secret"));
    }
}
