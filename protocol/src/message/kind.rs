//! The type byte of a transport message, and where its body lies (`Message.Type`, Spark 4.3.0).

use crate::codec::DecodeError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $byte:literal => $name:ident,)*) => {
        /// The kind of a transport message.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum MessageKind {
            $($(#[$doc])* $name = $byte,)*
        }

        impl MessageKind {
            /// Every kind, in the order of its type byte.
            pub const ALL: [Self; [$($byte),*].len()] = [$(Self::$name),*];

            /// The kind that a type byte names.
            pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
                match byte {
                    $($byte => Ok(Self::$name),)*
                    unknown => Err(DecodeError::UnknownTransportType(unknown)),
                }
            }

            /// The name that Spark gives it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

kinds! {
    /// Asks for a chunk of an open stream.
    0 => ChunkFetchRequest,
    /// A chunk.
    1 => ChunkFetchSuccess,
    /// Why there is no chunk.
    2 => ChunkFetchFailure,
    /// A request that wants an answer.
    3 => RpcRequest,
    /// The answer.
    4 => RpcResponse,
    /// Why there is no answer.
    5 => RpcFailure,
    /// Asks for a named stream.
    6 => StreamRequest,
    /// The stream, behind the frame.
    7 => StreamResponse,
    /// Why there is no stream.
    8 => StreamFailure,
    /// A request that wants no answer.
    9 => OneWayMessage,
    /// A request with data behind the frame.
    10 => UploadStream,
    /// Asks for the chunk bitmaps of a merged block (Spark 3.2).
    11 => MergedBlockMetaRequest,
    /// The chunk bitmaps.
    12 => MergedBlockMetaSuccess,
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
    /// The type byte.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// Whether a client sends it: a stream of frames from a client begins with one of these. The others are answers.
    pub fn is_request(self) -> bool {
        match self {
            Self::ChunkFetchRequest
            | Self::RpcRequest
            | Self::StreamRequest
            | Self::OneWayMessage
            | Self::UploadStream
            | Self::MergedBlockMetaRequest => true,
            Self::ChunkFetchSuccess
            | Self::ChunkFetchFailure
            | Self::RpcResponse
            | Self::RpcFailure
            | Self::StreamResponse
            | Self::StreamFailure
            | Self::MergedBlockMetaSuccess => false,
        }
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
            Self::ChunkFetchRequest
            | Self::ChunkFetchFailure
            | Self::RpcFailure
            | Self::StreamRequest
            | Self::StreamResponse
            | Self::StreamFailure
            | Self::UploadStream
            | Self::MergedBlockMetaRequest => None,
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
        let requests = MessageKind::ALL.into_iter().filter(|kind| kind.is_request()).map(MessageKind::byte);
        assert_eq!(requests.collect::<Vec<_>>(), [0, 3, 6, 9, 10, 11]);
        assert_eq!(MessageKind::from_byte(13), Err(DecodeError::UnknownTransportType(13)));
        assert_eq!(MessageKind::from_byte(0xff), Err(DecodeError::UnknownTransportType(0xff)));
    }
}
