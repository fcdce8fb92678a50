//! The trait of every session cipher, and its errors.

use bytes::{Bytes, BytesMut};

use super::mode::{BROKEN_GCM, SOUND_GCM, SessionMode};
use super::segment::{Layout, Segment};
use crate::crypto::gcm::OpenError;
use crate::crypto::random::RandomError;

/// One layer between frames and socket: both directions of one connection.
///
/// The bytes of each direction pass in order, each exactly once. After an error the layer is of no use:
/// close the connection.
///
/// **Usage limits** are the type's own to state and to keep; none of the types here can reach a limit
/// within a connection of 2^60 bytes.
pub trait Layer: Send {
    /// Room to leave around plaintext. Ask again for every segment: a server learns its cipher late.
    fn layout(&self) -> Layout;

    /// Turns the content of `segment` into one sealed message, where it lies. An empty segment stays empty.
    ///
    /// The segment must have been reset to [`Layer::layout`].
    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError>;

    /// Opens as much as it can from the front of `input`, where it lies: one piece, never empty. `None`
    /// means that more input is needed; the bytes in `input` must then stay there.
    ///
    /// Call it until it returns `None`.
    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError>;

    /// The session's version and cipher, where the layer is one of Spark's AES sessions and knows them.
    fn mode(&self) -> Option<SessionMode> {
        None
    }

    /// Whether the layer can seal yet. While it cannot, what waits to be sent waits on; the layer may have something
    /// to say of its own.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether [`Layer::seal`] leaves the message where the plaintext lay, and needs no second buffer.
    fn seals_in_place(&self) -> bool {
        true
    }

    /// Whether sealing takes so long (tens of MB/s) that it must not run on a thread that serves others.
    fn is_slow(&self) -> bool {
        false
    }

    /// The connection ends in order: nothing more will be sealed. A layer that says goodbye does so in
    /// [`Layer::pending_output`].
    fn close(&mut self) {}

    /// Output of the layer's own accord, already sealed. Spark's ciphers are silent; TLS
    /// is not.
    fn pending_output(&mut self) -> Option<Bytes> {
        None
    }
}

/// Sealing or opening failed; the connection must be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// The tag of a segment is wrong: tampered with, or sealed with another key.
    #[error(
        "segment {segment} of an AES-GCM message does not verify: it was changed on the way, or keys differ"
    )]
    NotVerified {
        /// Position of the segment in its message.
        segment: u32,
        /// The error of the primitive.
        #[source]
        source: OpenError,
    },
    /// An AES-GCM message that this end sealed came back to it.
    #[error("an AES-GCM message of our own came back: something between the two ends sends bytes back")]
    Reflected,
    /// An AES-GCM message came a second time.
    #[error("an AES-GCM message came a second time: something between the two ends repeats bytes")]
    Replayed,
    /// An AES-GCM message came before one that its sender sealed earlier. Only peers that run this crate number theirs.
    #[error(
        "AES-GCM message {came} came where {due} was due: something between the two ends drops or moves bytes"
    )]
    Missing {
        /// The number of the next message in order.
        due: u64,
        /// The number that came.
        came: u64,
    },
    /// The length in front of a GCM message is one that no sender writes.
    #[error("an AES-GCM message claims {0} bytes, which is no possible length")]
    MessageLength(i64),
    /// A GCM message is announced 16 bytes longer than it is, as the releases of [`BROKEN_GCM`] do.
    #[error(
        "an AES-GCM message is announced as {0} bytes, 16 more than it has: so does the broken AES-GCM of Spark \
         {broken}. Move the peer to Spark {sound}, or set spark.network.crypto.cipher=AES/CTR/NoPadding on both ends",
        broken = BROKEN_GCM,
        sound = SOUND_GCM
    )]
    BrokenSender(u64),
    /// The header length of a GCM message does not fit the key in use.
    #[error(
        "an AES-GCM message has a header of {theirs} bytes, the session key asks for {ours}: engine versions differ"
    )]
    HeaderLength {
        /// The length that the session key asks for.
        ours: u8,
        /// The length that the peer wrote.
        theirs: u8,
    },
    /// The content does not fit one message of 2^31 - 1 bytes.
    #[error("an AES-GCM message would have {0} bytes, more than 2^31 - 1: seal smaller segments")]
    MessageTooLong(usize),
    /// The first bytes fit none of the ciphers that Spark has.
    #[error(
        "the first bytes after the handshake fit neither AES/CTR nor AES/GCM under either engine version: \
         the peer does something else, or keys differ"
    )]
    Unrecognised,
    /// A server wanted to speak before the client did: the cipher is not known yet.
    #[error("the session cipher is not known before the client's first bytes")]
    Undecided,
    /// The segment was laid out for another layer.
    #[error(
        "the segment is laid out as {found:?}, the layer needs {needed:?}: reset it to the layer's layout"
    )]
    Layout {
        /// The layout that the layer needs.
        needed: Layout,
        /// The layout that the segment has.
        found: Layout,
    },
    /// The segment is sealed already.
    #[error("the segment is sealed already: reset it before it is used again")]
    SealedTwice,
    /// A token of SASL's privacy layer is not one that the peer may send. The source is a
    /// [`TokenError`](crate::sasl::TokenError).
    #[error("SASL: {0}")]
    Sasl(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS could not be set up, or ended in an alert.
    #[error("TLS: {0}")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An earlier error left the layer unusable.
    #[error("the layer failed before")]
    Failed,
    /// No random bytes for salt and nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Refuses a segment that is not `layer`'s to seal.
pub(crate) fn check(segment: &Segment, needed: Layout) -> Result<(), CipherError> {
    if segment.layout() != needed {
        return Err(CipherError::Layout { needed, found: segment.layout() });
    }
    if segment.is_sealed() {
        return Err(CipherError::SealedTwice);
    }
    Ok(())
}
