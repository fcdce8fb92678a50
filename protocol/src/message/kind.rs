//! The type byte of a transport message, and where its body lies (`Message.Type`, Spark 4.3.0).

use crate::codec::DecodeError;

/// What kind of transport message a frame holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum MessageKind {
    /// Asks for a chunk of an open stream.
    ChunkFetchRequest = 0,
    /// A chunk.
    ChunkFetchSuccess = 1,
    /// Why there is no chunk.
    ChunkFetchFailure = 2,
    /// A request that wants an answer.
    RpcRequest = 3,
    /// The answer.
    RpcResponse = 4,
    /// Why there is no answer.
    RpcFailure = 5,
    /// Asks for a named stream.
    StreamRequest = 6,
    /// The stream, behind the frame.
    StreamResponse = 7,
    /// Why there is no stream.
    StreamFailure = 8,
    /// A request that wants no answer.
    OneWayMessage = 9,
    /// A request with data behind the frame.
    UploadStream = 10,
    /// Asks for the chunk bitmaps of a merged block (Spark 3.2).
    MergedBlockMetaRequest = 11,
    /// The chunk bitmaps.
    MergedBlockMetaSuccess = 12,
}

/// Where the bulk body of a message lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyPlace {
    /// The message has none.
    None,
    /// The rest of the frame, counted by the frame's length.
    InFrame,
    /// Directly behind the frame, unframed; the head says how long it is.
    Behind,
}

impl MessageKind {
    /// Every kind, in the order of its type byte.
    pub const ALL: [Self; 13] = [
        Self::ChunkFetchRequest,
        Self::ChunkFetchSuccess,
        Self::ChunkFetchFailure,
        Self::RpcRequest,
        Self::RpcResponse,
        Self::RpcFailure,
        Self::StreamRequest,
        Self::StreamResponse,
        Self::StreamFailure,
        Self::OneWayMessage,
        Self::UploadStream,
        Self::MergedBlockMetaRequest,
        Self::MergedBlockMetaSuccess,
    ];

    /// The kind that a type byte names.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        Self::ALL.get(usize::from(byte)).copied().ok_or(DecodeError::UnknownTransportType(byte))
    }

    /// The type byte.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// Where the body of such a message lies.
    pub fn body_place(self) -> BodyPlace {
        match self {
            Self::ChunkFetchSuccess
            | Self::RpcRequest
            | Self::RpcResponse
            | Self::OneWayMessage
            | Self::MergedBlockMetaSuccess => BodyPlace::InFrame,
            Self::StreamResponse | Self::UploadStream => BodyPlace::Behind,
            Self::ChunkFetchRequest
            | Self::ChunkFetchFailure
            | Self::RpcFailure
            | Self::StreamRequest
            | Self::StreamFailure
            | Self::MergedBlockMetaRequest => BodyPlace::None,
        }
    }

    /// Bytes of type and fields in front of an in-frame body; `None` where there is no such body.
    pub fn fixed_head_len(self) -> Option<usize> {
        match self {
            Self::ChunkFetchSuccess | Self::RpcRequest | Self::RpcResponse | Self::MergedBlockMetaSuccess => {
                Some(1 + 8 + 4)
            }
            Self::OneWayMessage => Some(1 + 4),
            _ => None,
        }
    }

    /// The name that Spark gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChunkFetchRequest => "ChunkFetchRequest",
            Self::ChunkFetchSuccess => "ChunkFetchSuccess",
            Self::ChunkFetchFailure => "ChunkFetchFailure",
            Self::RpcRequest => "RpcRequest",
            Self::RpcResponse => "RpcResponse",
            Self::RpcFailure => "RpcFailure",
            Self::StreamRequest => "StreamRequest",
            Self::StreamResponse => "StreamResponse",
            Self::StreamFailure => "StreamFailure",
            Self::OneWayMessage => "OneWayMessage",
            Self::UploadStream => "UploadStream",
            Self::MergedBlockMetaRequest => "MergedBlockMetaRequest",
            Self::MergedBlockMetaSuccess => "MergedBlockMetaSuccess",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_bytes_name_their_kind() {
        for kind in MessageKind::ALL {
            assert_eq!(MessageKind::from_byte(kind.byte()), Ok(kind));
            assert_eq!(kind.fixed_head_len().is_some(), kind.body_place() == BodyPlace::InFrame);
        }
        assert_eq!(MessageKind::from_byte(13), Err(DecodeError::UnknownTransportType(13)));
        assert_eq!(MessageKind::from_byte(0xff), Err(DecodeError::UnknownTransportType(0xff)));
    }
}
