//! Transport messages, ids 0 to 12, without their bulk bodies.
//!
//! ```text
//!  0                8      9
//!  +----------------+------+--------+- - - - - - - -+ . . . . . . . . .
//!  | i64 length     | type | fields | in-frame body |  body behind
//!  +----------------+------+--------+- - - - - - - -+ . . . . . . . . .
//!  |<------------------- length ------------------->|
//!  |<--------- a Head --------->|
//! ```
//!
//! A [`Head`] is everything but the body. How long the body is travels beside it (`body_len`), in one place:
//! writing a head puts it into the frame length, the `bodySize` field or the byte count, whichever the kind
//! has. Layouts are those of `org.apache.spark.network.protocol`, Spark 4.3.0; ids 11 and 12 exist since 3.2.
//!
//! [`crate::frame`] reads heads, [`crate::connection`] writes them.

mod kind;

pub use kind::{BodyPlace, MessageKind};

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, Decoder, EncodeError, put_bytes, put_str};
use crate::ids::{AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId};
use crate::limits::{FAILURE_MAX, NAME_MAX};

/// The most that a frame may hold behind its length field. Spark's `TransportFrameDecoder` accepts no more.
pub const MAX_PAYLOAD: u64 = (1 << 31) - 2;

/// Bytes of the length field in front of each frame. The length counts them.
pub const LENGTH_LEN: usize = 8;

/// A transport message without its bulk body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Head {
    /// Asks for a chunk of an open stream.
    ChunkFetchRequest {
        /// The stream.
        stream: StreamId,
        /// Which of its chunks.
        chunk: ChunkIndex,
    },
    /// The chunk is the in-frame body.
    ChunkFetchSuccess {
        /// The stream.
        stream: StreamId,
        /// Which of its chunks.
        chunk: ChunkIndex,
    },
    /// The chunk cannot be had.
    ChunkFetchFailure {
        /// The stream.
        stream: StreamId,
        /// Which of its chunks.
        chunk: ChunkIndex,
        /// Java's text of an exception: `<java class>: <message>` and perhaps a stack trace.
        error: String,
    },
    /// A request; the question is the in-frame body.
    RpcRequest {
        /// Correlates the answer.
        request: RequestId,
    },
    /// An answer; it is the in-frame body, often empty.
    RpcResponse {
        /// The request that it answers.
        request: RequestId,
    },
    /// A request failed.
    RpcFailure {
        /// The request that it answers.
        request: RequestId,
        /// As in [`Head::ChunkFetchFailure`].
        error: String,
    },
    /// Asks for a named stream.
    StreamRequest {
        /// Its name; for a shuffle service `<stream id>_<chunk index>`.
        stream: String,
    },
    /// The stream follows behind the frame.
    StreamResponse {
        /// Its name. Clients match answers by order, not by name.
        stream: String,
    },
    /// There is no such stream, or it cannot be read.
    StreamFailure {
        /// Its name.
        stream: String,
        /// As in [`Head::ChunkFetchFailure`].
        error: String,
    },
    /// A request without an answer; the message is the in-frame body.
    OneWayMessage,
    /// A request whose data follow behind the frame.
    UploadStream {
        /// Correlates the answer.
        request: RequestId,
        /// The question: one block-transfer message.
        meta: Bytes,
    },
    /// Asks for the chunk bitmaps of a merged block.
    MergedBlockMetaRequest {
        /// Correlates the answer.
        request: RequestId,
        /// The application that the shuffle belongs to.
        app: AppId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
        /// The merged partition.
        reduce: ReduceId,
    },
    /// The bitmaps are the in-frame body.
    MergedBlockMetaSuccess {
        /// The request that it answers.
        request: RequestId,
        /// How many bitmaps there are.
        num_chunks: i32,
    },
}

impl Head {
    /// Appends the whole head to `out`: frame length, type and fields. `body_len` bytes of body must be
    /// written right behind it, wherever [`BodyPlace`] counts them.
    ///
    /// On an error nothing that was appended may be sent.
    pub fn encode(&self, body_len: u64, out: &mut BytesMut) -> Result<(), EncodeError> {
        let kind = self.kind();
        if body_len > 0 && kind.body_place() == BodyPlace::None {
            return Err(EncodeError::UnexpectedBody(kind.name()));
        }

        let start = out.len();
        out.put_u64(0);
        out.put_u8(kind.byte());
        self.encode_fields(body_len, out)?;

        let head_len = (out.len() - start) as u64;
        let in_frame = match kind.body_place() {
            BodyPlace::InFrame => body_len,
            BodyPlace::None | BodyPlace::Behind => 0,
        };
        let length = head_len.saturating_add(in_frame);
        let payload = length - LENGTH_LEN as u64;
        if payload > MAX_PAYLOAD {
            return Err(EncodeError::FrameTooLong { payload, max: MAX_PAYLOAD });
        }
        out[start..start + LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Which message it is.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::ChunkFetchRequest { .. } => MessageKind::ChunkFetchRequest,
            Self::ChunkFetchSuccess { .. } => MessageKind::ChunkFetchSuccess,
            Self::ChunkFetchFailure { .. } => MessageKind::ChunkFetchFailure,
            Self::RpcRequest { .. } => MessageKind::RpcRequest,
            Self::RpcResponse { .. } => MessageKind::RpcResponse,
            Self::RpcFailure { .. } => MessageKind::RpcFailure,
            Self::StreamRequest { .. } => MessageKind::StreamRequest,
            Self::StreamResponse { .. } => MessageKind::StreamResponse,
            Self::StreamFailure { .. } => MessageKind::StreamFailure,
            Self::OneWayMessage => MessageKind::OneWayMessage,
            Self::UploadStream { .. } => MessageKind::UploadStream,
            Self::MergedBlockMetaRequest { .. } => MessageKind::MergedBlockMetaRequest,
            Self::MergedBlockMetaSuccess { .. } => MessageKind::MergedBlockMetaSuccess,
        }
    }

    /// Where its body lies.
    pub fn body_place(&self) -> BodyPlace {
        self.kind().body_place()
    }

    /// Reads the fields behind the type byte, and the length of a body behind the frame (else 0).
    ///
    /// An in-frame body is what `from` has left afterwards; for messages without one that is surplus, which
    /// Spark ignores. The `bodySize` of ids 3, 4 and 9 says nothing that the frame does not, and Spark
    /// ignores it too.
    pub(crate) fn decode(kind: MessageKind, from: &mut Decoder) -> Result<(Self, u64), DecodeError> {
        let head = match kind {
            MessageKind::ChunkFetchRequest => {
                Self::ChunkFetchRequest { stream: from.read()?, chunk: from.read()? }
            }
            MessageKind::ChunkFetchSuccess => {
                Self::ChunkFetchSuccess { stream: from.read()?, chunk: from.read()? }
            }
            MessageKind::ChunkFetchFailure => {
                Self::ChunkFetchFailure { stream: from.read()?, chunk: from.read()?, error: failure(from)? }
            }
            MessageKind::RpcRequest => {
                let request = from.read()?;
                from.i32()?;
                Self::RpcRequest { request }
            }
            MessageKind::RpcResponse => {
                let request = from.read()?;
                from.i32()?;
                Self::RpcResponse { request }
            }
            MessageKind::RpcFailure => Self::RpcFailure { request: from.read()?, error: failure(from)? },
            MessageKind::StreamRequest => Self::StreamRequest { stream: stream_name(from)? },
            MessageKind::StreamResponse => {
                let head = Self::StreamResponse { stream: stream_name(from)? };
                return Ok((head, length_behind(from.i64()?)));
            }
            MessageKind::StreamFailure => {
                Self::StreamFailure { stream: stream_name(from)?, error: failure(from)? }
            }
            MessageKind::OneWayMessage => {
                from.i32()?;
                Self::OneWayMessage
            }
            MessageKind::UploadStream => {
                let head = Self::UploadStream { request: from.read()?, meta: from.bytes()? };
                return Ok((head, length_behind(from.i64()?)));
            }
            MessageKind::MergedBlockMetaRequest => Self::MergedBlockMetaRequest {
                request: from.read()?,
                app: from.read()?,
                shuffle: from.read()?,
                merge: from.read()?,
                reduce: from.read()?,
            },
            MessageKind::MergedBlockMetaSuccess => {
                Self::MergedBlockMetaSuccess { request: from.read()?, num_chunks: from.i32()? }
            }
        };
        Ok((head, 0))
    }

    fn encode_fields(&self, body_len: u64, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::ChunkFetchRequest { stream, chunk } | Self::ChunkFetchSuccess { stream, chunk } => {
                out.put_i64(stream.0);
                out.put_i32(chunk.0);
            }
            Self::ChunkFetchFailure { stream, chunk, error } => {
                out.put_i64(stream.0);
                out.put_i32(chunk.0);
                put_str(out, error)?;
            }
            Self::RpcRequest { request } | Self::RpcResponse { request } => {
                out.put_i64(request.0);
                put_body_size(out, body_len)?;
            }
            Self::RpcFailure { request, error } => {
                out.put_i64(request.0);
                put_str(out, error)?;
            }
            Self::StreamRequest { stream } => put_str(out, stream)?,
            Self::StreamResponse { stream } => {
                put_str(out, stream)?;
                put_byte_count(out, body_len)?;
            }
            Self::StreamFailure { stream, error } => {
                put_str(out, stream)?;
                put_str(out, error)?;
            }
            Self::OneWayMessage => put_body_size(out, body_len)?,
            Self::UploadStream { request, meta } => {
                out.put_i64(request.0);
                put_bytes(out, meta)?;
                put_byte_count(out, body_len)?;
            }
            Self::MergedBlockMetaRequest { request, app, shuffle, merge, reduce } => {
                out.put_i64(request.0);
                put_str(out, app.as_str())?;
                out.put_i32(shuffle.0);
                out.put_i32(merge.0);
                out.put_i32(reduce.0);
            }
            Self::MergedBlockMetaSuccess { request, num_chunks } => {
                out.put_i64(request.0);
                out.put_i32(*num_chunks);
            }
        }
        Ok(())
    }
}

fn put_body_size(out: &mut BytesMut, body_len: u64) -> Result<(), EncodeError> {
    let size = i32::try_from(body_len)
        .map_err(|_| EncodeError::FrameTooLong { payload: body_len, max: MAX_PAYLOAD })?;
    out.put_i32(size);
    Ok(())
}

fn put_byte_count(out: &mut BytesMut, body_len: u64) -> Result<(), EncodeError> {
    out.put_i64(i64::try_from(body_len).map_err(|_| EncodeError::BodyTooLong(body_len))?);
    Ok(())
}

fn stream_name(from: &mut Decoder) -> Result<String, DecodeError> {
    from.text("the name of a stream", NAME_MAX)
}

fn failure(from: &mut Decoder) -> Result<String, DecodeError> {
    from.text("the text of a failure", FAILURE_MAX)
}

/// Spark treats a negative byte count like 0.
fn length_behind(byte_count: i64) -> u64 {
    u64::try_from(byte_count).unwrap_or(0)
}
