//! Everything that a peer is told where it does not get what it asked for.
//!
//! | a refusal has | for |
//! |---|---|
//! | [`Refusal::text`] | the peer: Spark's words to the letter where Spark has some or a client acts on them, else ours in Java's form |
//! | [`Refusal::count`] | the metrics |
//! | [`Refusal::log`] | the operator: how loud, and in which words |
//!
//! All three are exhaustive matches. No other room knows a Java class: `tests/layout` looks.
//!
//! Sources: ExternalBlockHandler, TransportRequestHandler, OneForOneStreamManager, SaslRpcHandler and
//! RemoteBlockPushResolver, Spark 4.3.0.

mod blocks;
mod merging;

use std::fmt::Display;
use std::net::SocketAddr;

use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::{BROKEN_GCM, SOUND_GCM};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_transport::lane::LaneError;
use sealed_shuffle_transport::pot::UsedUp;
use tracing::{Level, debug, warn};

use super::repeats::Loudness;
use super::streams::StreamError;
use super::{Failure, Shared};
use crate::disk::{LookupError, RegisterError, RegisterRefusal};
use crate::merge::MergeError;
use crate::telemetry::RefusalReason;

/// The label of a block that nobody has.
pub(super) const ABSENT: &str = "absent";

/// That of a block beyond what a frame can hold.
const TOO_LARGE: &str = "too_large_for_a_frame";

/// Labels of failed blocks beside those of the errors.
pub(super) const BLOCK_FAILURES: &[&str] = &[ABSENT, TOO_LARGE];

/// Why a peer does not get what it asked for.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No identity is proven.
    Unauthenticated,
    /// The handshake does not verify; some handshakes have words of their own.
    Handshake { app: AppId, reason: String, text: Option<String> },
    /// SASL without encryption, where that is not enough.
    SaslUnencrypted { app: AppId, level: SecurityLevel },
    /// SASL with a cipher, where none is served.
    SaslCipher { app: AppId, level: SecurityLevel },
    /// A channel below the minimum; text and cure are the policy's.
    BelowMinimum { app: Option<AppId>, level: SecurityLevel, policy: String, text: String, cure: String },
    /// The same for a peer without identity that names an application with a minimum of its own.
    BelowMinimumOf { app: AppId, level: SecurityLevel, text: String },
    /// AES-GCM that takes one message of a connection; news, or known of this client.
    BrokenGcm { app: Option<AppId>, is_news: bool },
    /// A message for another application than the connection has proven.
    OtherApplication { proven: AppId, app: AppId },
    /// A peer without identity names an application that was registered with one.
    OutOfReach { app: AppId },
    /// More local directories than an executor may register.
    TooManyDirs { dirs: usize, most: usize },
    /// An executor cannot be registered.
    Register { app: AppId, executor: ExecutorId, error: RegisterError },
    /// A registered executor cannot take part in merging.
    RegisterMerging { app: AppId, executor: ExecutorId, error: MergeError },
    /// The keys or files that merging needs are not to be had.
    PrepareMerging { app: AppId, error: MergeError },
    /// More blocks in a request than a stream may have.
    TooManyBlocks { blocks: usize, most: usize },
    /// A stream cannot be opened or read.
    Stream(StreamError),
    /// A stream that a name says is not there.
    NoSuchStream { name: String },
    /// A chunk that is not there, which is no fault.
    NoSuchChunk,
    /// A block that no frame can hold.
    TooLarge { len: u64 },
    /// A block cannot be had.
    Block(LookupError),
    /// A request about blocks cannot be answered.
    Lookup(LookupError),
    /// A chunk of a merged partition cannot be had.
    MergedChunk(MergeError),
    /// A request of merging fails.
    Merging(MergeError),
    /// This server does not merge.
    NoMerging,
    /// The same, asked to remove what was merged.
    NoMergingToRemove,
    /// Merged files are sealed, and others cannot read them by themselves.
    SealedMerges,
    /// A message that nothing is known to do about.
    Unexpected { message: &'static str },
    /// The same, as an upload.
    UnexpectedUpload { message: &'static str },
    /// A request whose parts do not fit each other.
    Malformed(String),
    /// A request that cannot be decoded, in Spark's words.
    Undecodable(String),
    /// An executor that is asked about twice.
    DuplicateExecutor { name: String },
    /// An answer that would take more bytes than one may.
    AnswerTooLarge { most: u64 },
    /// An answer that cannot be put together.
    Unanswerable(String),
    /// Work that waits for a disk that does not answer, or is known to be down.
    Disk(LaneError),
}

/// How a refusal is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Count {
    /// As one of something that is not allowed.
    Refused(RefusalReason),
    /// As a block that was not to be had.
    Block(&'static str),
    /// Not at all: the request alone is counted.
    Nothing,
}

impl Refusal {
    /// What the peer reads: the first line of a failure in Spark, with its cause where that has one.
    pub(super) fn text(&self) -> Failure {
        match self {
            Self::Unauthenticated => security("Unauthenticated call."),
            Self::Handshake { text, .. } => {
                text.clone().unwrap_or_else(|| illegal_argument("Authentication failed."))
            }
            Self::SaslUnencrypted { .. } => security(
                "This server wants SASL with encryption (spark.network.sasl.serverAlwaysEncrypt): set \
                 spark.authenticate.enableSaslEncryption=true in the application, or better \
                 spark.network.crypto.enabled=true.",
            ),
            Self::SaslCipher { .. } => security(
                "This server serves no cipher of SASL (spark.sealed.sasl.ciphers): set \
                 spark.network.crypto.enabled=true in the application.",
            ),
            Self::BelowMinimum { text, .. } | Self::BelowMinimumOf { text, .. } => text.clone(),
            Self::BrokenGcm { .. } => illegal_state(format_args!(
                "the AES-GCM of this application takes the first message of a connection and loses all others, as that \
                 of Spark {BROKEN_GCM} does: move the application to Spark {SOUND_GCM}, or set \
                 spark.network.crypto.cipher=AES/CTR/NoPadding in it."
            )),
            Self::OtherApplication { proven, app } => {
                security(format_args!("Client for {proven} not authorized for application {app}."))
            }
            Self::OutOfReach { app } => security(format_args!(
                "Application {app} was registered with authentication, and this connection proved no identity: set \
                 spark.authenticate=true."
            )),
            Self::TooManyDirs { dirs, most } => illegal_argument(format_args!(
                "{dirs} localDirs are more than the {most} of spark.sealed.limits.local-dirs"
            )),
            Self::Register { error, .. } => error.spark_text(),
            Self::RegisterMerging { error, .. }
            | Self::PrepareMerging { error, .. }
            | Self::MergedChunk(error)
            | Self::Merging(error) => error.spark_text(),
            Self::TooManyBlocks { blocks, most } => illegal_argument(format_args!(
                "{blocks} blocks in one request are more than the {most} of spark.sealed.limits.chunks-per-stream"
            )),
            Self::Stream(error) => stream_text(error),
            Self::NoSuchStream { name } => format!("Stream '{name}' was not found."),
            Self::NoSuchChunk => illegal_state("Chunk was not found"),
            Self::TooLarge { len } => illegal_argument(format_args!(
                "a block of {len} bytes does not fit a frame: lower spark.network.maxRemoteBlockSizeFetchToMem, so that \
                 it is fetched to disk"
            )),
            Self::Block(error) | Self::Lookup(error) => error.spark_text(),
            Self::NoMerging => unsupported("Cannot handle shuffle block merge"),
            Self::NoMergingToRemove => unsupported("Cannot handle merged shuffle remove"),
            Self::SealedMerges => {
                unsupported("Merged shuffle files are sealed and cannot be read from the local disk")
            }
            Self::Unexpected { message } => unsupported(format_args!("Unexpected message: {message}")),
            Self::UnexpectedUpload { message } => {
                unsupported(format_args!("Unexpected message with #receiveStream: {message}"))
            }
            Self::Malformed(why) => illegal_argument(why),
            Self::Undecodable(text) => text.clone(),
            Self::DuplicateExecutor { name } => illegal_argument(format_args!("duplicate element: {name}")),
            Self::AnswerTooLarge { most } => illegal_argument(format_args!(
                "the directories of these executors take more than {most} bytes: ask for fewer executors at once"
            )),
            Self::Unanswerable(why) => illegal_state(why),
            Self::Disk(LaneError::Shut { why }) => io(why),
            Self::Disk(error) => io(format_args!("a disk did not answer: {error}")),
        }
    }

    /// How the metrics count it.
    pub(super) fn count(&self) -> Count {
        match self {
            Self::Handshake { .. } => Count::Refused(RefusalReason::Authentication),
            Self::SaslUnencrypted { .. }
            | Self::SaslCipher { .. }
            | Self::BelowMinimum { .. }
            | Self::BelowMinimumOf { .. } => Count::Refused(RefusalReason::BelowMinimum),
            Self::BrokenGcm { .. } => Count::Refused(RefusalReason::BrokenGcm),
            Self::OtherApplication { .. } | Self::OutOfReach { .. } => {
                Count::Refused(RefusalReason::Application)
            }
            Self::Register {
                error: RegisterError::Dir(_) | RegisterError::Refused(RegisterRefusal::Taken { .. }),
                ..
            }
            | Self::RegisterMerging { .. } => Count::Refused(RefusalReason::LocalDir),
            Self::Register { error: RegisterError::Refused(_), .. }
            | Self::TooManyDirs { .. }
            | Self::TooManyBlocks { .. }
            | Self::AnswerTooLarge { .. }
            | Self::Stream(StreamError::TooMany(_) | StreamError::TooHeavy(_) | StreamError::UsedUp(_)) => {
                Count::Refused(RefusalReason::Limit)
            }
            Self::Stream(StreamError::Unknown) => Count::Refused(RefusalReason::Stream),
            Self::NoMerging
            | Self::NoMergingToRemove
            | Self::Unexpected { .. }
            | Self::UnexpectedUpload { .. } => Count::Refused(RefusalReason::Unsupported),
            Self::TooLarge { .. } => Count::Block(TOO_LARGE),
            Self::Block(error) => Count::Block(error.label()),
            Self::PrepareMerging { error, .. } | Self::MergedChunk(error) | Self::Merging(error) => {
                Count::Block(error.label())
            }
            Self::Unauthenticated
            | Self::Stream(StreamError::OutOfOrder { .. } | StreamError::BeyondEnd(_))
            | Self::NoSuchStream { .. }
            | Self::NoSuchChunk
            | Self::Lookup(_)
            | Self::SealedMerges
            | Self::Malformed(_)
            | Self::Undecodable(_)
            | Self::DuplicateExecutor { .. }
            | Self::Unanswerable(_)
            | Self::Disk(_) => Count::Nothing,
        }
    }

    /// What the log says of it: how loud, the application it is about, and the words. Nothing where the words for the
    /// peer, which are logged with every request that fails, say it all.
    pub(super) fn log(&self) -> Option<(Level, Option<&AppId>, String)> {
        let warning = |app, text: &dyn Display| Some((Level::WARN, app, text.to_string()));
        match self {
            Self::Handshake { app, reason, .. } => warning(
                Some(app),
                &format_args!(
                    "refused a handshake; is spark.authenticate.secret the same here and in the application? {reason}"
                ),
            ),
            Self::SaslUnencrypted { app, level } | Self::SaslCipher { app, level } => {
                warning(Some(app), &format_args!("refused SASL ({level}): {}", self.text()))
            }
            Self::BelowMinimum { app, level, policy, cure, .. } => warning(
                app.as_ref(),
                &format_args!(
                    "refused a connection below the minimum; {cure} in the application (it speaks {level}, {policy})"
                ),
            ),
            Self::BelowMinimumOf { app, level, .. } => warning(
                Some(app),
                &format_args!("refused a peer without identity below the application's minimum (it speaks {level})"),
            ),
            Self::BrokenGcm { app, is_news: false } => {
                Some((Level::DEBUG, app.as_ref(), "refused a broken AES-GCM".to_owned()))
            }
            Self::BrokenGcm { app, is_news: true } => warning(
                app.as_ref(),
                &format_args!(
                    "recognised a Spark whose AES-GCM takes one message of a connection and loses the others \
                     ({BROKEN_GCM}): this application is refused here; move it to Spark {SOUND_GCM}, or set \
                     spark.network.crypto.cipher=AES/CTR/NoPadding in it"
                ),
            ),
            Self::OtherApplication { proven, app } => warning(
                Some(app),
                &format_args!("refused a message for another application than {proven}, which the peer has proven"),
            ),
            Self::OutOfReach { app } => {
                warning(Some(app), &"refused a peer without identity: the application was registered with one")
            }
            Self::Register { app, executor, error } => {
                warning(Some(app), &format_args!("refused to register an executor ({executor}): {error}"))
            }
            Self::RegisterMerging { app, executor, error } => {
                warning(Some(app), &format_args!("an executor cannot take part in merging ({executor}): {error}"))
            }
            Self::PrepareMerging { app, error } => {
                warning(Some(app), &format_args!("an executor cannot take part in merging: {error}"))
            }
            Self::Block(error) => warning(None, &format_args!("a block failed: {error}")),
            Self::MergedChunk(error) => warning(None, &format_args!("a merged chunk failed: {error}")),
            Self::Merging(error) => Some((Level::DEBUG, None, format!("a request of merging failed: {error}"))),
            Self::Unauthenticated
            | Self::TooManyDirs { .. }
            | Self::TooManyBlocks { .. }
            | Self::Stream(_)
            | Self::NoSuchStream { .. }
            | Self::NoSuchChunk
            | Self::TooLarge { .. }
            | Self::Lookup(_)
            | Self::NoMerging
            | Self::NoMergingToRemove
            | Self::SealedMerges
            | Self::Unexpected { .. }
            | Self::UnexpectedUpload { .. }
            | Self::Malformed(_)
            | Self::Undecodable(_)
            | Self::DuplicateExecutor { .. }
            | Self::AnswerTooLarge { .. }
            | Self::Unanswerable(_)
            // They are said where they are found.
            | Self::Disk(_) => None,
        }
    }

    /// Counts it, logs it, and writes it into the audit trail; `claimed` is who the peer says that it is. The text is for the
    /// peer.
    pub(super) fn tell(&self, shared: &Shared, peer: SocketAddr, claimed: Option<&AppId>) -> Failure {
        let (metrics, repeats) = (&shared.metrics, &shared.repeats);
        match self.count() {
            Count::Refused(reason) => {
                metrics.refused(reason);
                if shared.audit.is_on() {
                    let (app, words) = match self.log() {
                        Some((_, app, words)) => (app, words),
                        None => (None, self.text()),
                    };
                    shared.audit.refused(reason.name(), app.or(claimed), peer, &words);
                }
            }
            Count::Block(label) => metrics.block_failed(label),
            Count::Nothing => {}
        }
        if let Some((level, app, words)) = self.log() {
            let words = Shown(&words);
            let app = app.map(tracing::field::display);
            let is_said = || match self.count() {
                Count::Refused(reason) => repeats.is_said(Loudness::Warn, reason.name(), peer, &words),
                Count::Block(label) => repeats.is_fault_said(label, peer, &words),
                Count::Nothing => repeats.is_said(Loudness::Warn, "other", peer, &words),
            };
            match level {
                Level::WARN if is_said() => {
                    warn!(%peer, app, "{words}");
                }
                Level::WARN => {}
                _ => debug!(%peer, app, "{words}"),
            }
        }
        self.text()
    }
}

/// What a peer reads that asks for a stream, or for a chunk of it.
fn stream_text(error: &StreamError) -> String {
    match error {
        StreamError::Unknown => illegal_argument("Unknown stream ID."),
        StreamError::OutOfOrder { got, expected } => {
            illegal_state(format_args!("Received out-of-order chunk index {got} (expected {expected})"))
        }
        StreamError::BeyondEnd(chunk) => {
            illegal_state(format_args!("Requested chunk index beyond end {chunk}"))
        }
        StreamError::TooMany(most) => illegal_state(format_args!(
            "{most} streams are open on this connection, the most it may hold \
             (spark.sealed.limits.streams-per-connection): read or close them"
        )),
        StreamError::TooHeavy(most) => illegal_state(format_args!(
            "the open streams of this connection would hold more than {most} numbers of blocks (3 * \
             spark.sealed.limits.chunks-per-stream): read or close them"
        )),
        StreamError::UsedUp(UsedUp { total, .. }) => illegal_state(format_args!(
            "the open streams of this application hold its share of {total} bytes (half of \
             spark.sealed.memory.budget): try again later"
        )),
    }
}

fn illegal_argument(text: impl Display) -> String {
    format!("java.lang.IllegalArgumentException: {text}")
}

fn illegal_state(text: impl Display) -> String {
    format!("java.lang.IllegalStateException: {text}")
}

fn io(text: impl Display) -> String {
    format!("java.io.IOException: {text}")
}

fn runtime(text: impl Display) -> String {
    format!("java.lang.RuntimeException: {text}")
}

fn security(text: impl Display) -> String {
    format!("java.lang.SecurityException: {text}")
}

fn unsupported(text: impl Display) -> String {
    format!("java.lang.UnsupportedOperationException: {text}")
}
