//! Block-transfer messages, ids 0 to 20, and the ids of blocks.
//!
//! A message is one type byte and its fields; there is no version and no length, and bytes behind the last
//! field are ignored (`BlockTransferMessage.Decoder`, Spark 4.3.0). It travels as the body of an RpcRequest,
//! RpcResponse or OneWayMessage, or as the meta of an UploadStream.
//!
//! | id | message | since | carried by | answered by |
//! |---|---|---|---|---|
//! | 0 | [`OpenBlocks`] | 2.4 | RpcRequest | [`StreamHandle`] |
//! | 1 | [`UploadBlock`] | 2.4 | RpcRequest to an executor | nothing in an RpcResponse |
//! | 2 | [`RegisterExecutor`] | 2.4 | RpcRequest | nothing in an RpcResponse |
//! | 3 | [`StreamHandle`] | 2.4 | RpcResponse | |
//! | 6 | [`UploadBlockStream`] | 2.4 | UploadStream to an executor | nothing in an RpcResponse |
//! | 7 | [`RemoveBlocks`] | 3.0 | RpcRequest | [`BlocksRemoved`] |
//! | 8 | [`BlocksRemoved`] | 3.0 | RpcResponse | |
//! | 9 | [`FetchShuffleBlocks`] | 3.0 | RpcRequest | [`StreamHandle`] |
//! | 10 | [`GetLocalDirsForExecutors`] | 3.0 | RpcRequest | [`LocalDirsForExecutors`] |
//! | 11 | [`LocalDirsForExecutors`] | 3.0 | RpcResponse | |
//! | 12 | [`PushBlockStream`] | 3.2 | UploadStream | [`BlockPushReturnCode`] |
//! | 13 | [`FinalizeShuffleMerge`] | 3.2 | RpcRequest | [`MergeStatuses`] |
//! | 14 | [`MergeStatuses`] | 3.2 | RpcResponse | |
//! | 15 | [`FetchShuffleBlockChunks`] | 3.2 | RpcRequest | [`StreamHandle`] |
//! | 16 | [`DiagnoseCorruption`] | 3.2 | RpcRequest | [`CorruptionCause`] |
//! | 17 | [`CorruptionCause`] | 3.2 | RpcResponse | |
//! | 18 | [`BlockPushReturnCode`] | 3.2 | RpcResponse | |
//! | 19 | [`RemoveShuffleMerge`] | 3.4 | OneWayMessage | nothing, ever |
//! | 20 | [`DiagnoseShuffleChunkCorruption`] | none | RpcRequest | [`CorruptionCause`] |
//!
//! Ids 4 and 5 were Mesos' and are unknown since Spark 4.0.5. Ids 12 to 14 had other layouts in 3.1, which no
//! driver ever spoke.
//!
//! No released Spark has id 20. The fields are those of Spark pull request 57748, which is open; the id is the next that is
//! free, as Spark numbers its messages.

#[macro_use]
mod fields;

mod bitmap;
mod block_id;
mod corruption;
mod fetch;
mod java;
mod lists;
mod local_dirs;
mod open;
mod open_ids;
mod push;
mod register;
mod remove;
mod stream_name;
mod upload;

pub use bitmap::Bitmap;
pub use block_id::{BlockId, BlockIdError};
pub use corruption::{CorruptionCause, DiagnoseCorruption, DiagnoseShuffleChunkCorruption};
pub use fetch::{FetchShuffleBlockChunks, FetchShuffleBlocks, MergedChunk, ReduceRange, ShapeError};
pub use lists::{Lists, Strings, StringsIter};
pub use local_dirs::{GetLocalDirsForExecutors, LocalDirsForExecutors, SHUFFLE_PUSH_MERGER};
pub use open::{OpenBlocks, StreamHandle};
pub use open_ids::{OpenError, OpenRequest, RddBlock, ShuffleBlock};
pub use push::{
    BlockPushReturnCode, FinalizeShuffleMerge, MergeStatuses, PushBlockStream, RemoveShuffleMerge, ReturnCode,
};
pub use register::{ExecutorShuffleInfo, RegisterExecutor};
pub use remove::{BlocksRemoved, RemoveBlocks};
pub use stream_name::{StreamName, StreamNameError};
pub use upload::{UploadBlock, UploadBlockStream};

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, Decoder, EncodeError, Wire};
use crate::ids::AppId;

macro_rules! messages {
    ($($byte:literal => $name:ident,)*) => {
        /// Any block-transfer message.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum BlockTransferMessage {
            $(
                #[doc = concat!("Id ", stringify!($byte), ".")]
                $name($name),
            )*
        }

        impl BlockTransferMessage {
            /// Reads a message from the whole of a body or meta.
            pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
                let mut from = Decoder::new(bytes);
                match from.u8()? {
                    $($byte => from.read().map(Self::$name),)*
                    unknown => Err(DecodeError::UnknownShuffleType(unknown)),
                }
            }

            /// Appends the type byte and the fields to `out`. On an error nothing that was appended may be
            /// sent.
            pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(message) => {
                        out.put_u8($byte);
                        message.encode(out)
                    })*
                }
            }

            /// The type byte.
            pub fn type_byte(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $byte,)*
                }
            }

            /// The name that Spark gives it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }

        $(
            impl From<$name> for BlockTransferMessage {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }
        )*
    };
}

messages! {
    0 => OpenBlocks,
    1 => UploadBlock,
    2 => RegisterExecutor,
    3 => StreamHandle,
    6 => UploadBlockStream,
    7 => RemoveBlocks,
    8 => BlocksRemoved,
    9 => FetchShuffleBlocks,
    10 => GetLocalDirsForExecutors,
    11 => LocalDirsForExecutors,
    12 => PushBlockStream,
    13 => FinalizeShuffleMerge,
    14 => MergeStatuses,
    15 => FetchShuffleBlockChunks,
    16 => DiagnoseCorruption,
    17 => CorruptionCause,
    18 => BlockPushReturnCode,
    19 => RemoveShuffleMerge,
    20 => DiagnoseShuffleChunkCorruption,
}

impl BlockTransferMessage {
    /// The message as a body.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        self.encode_into(&mut out)?;
        Ok(out.freeze())
    }

    /// The application that the message names; answers name none. Its sender must be that application.
    pub fn app(&self) -> Option<&AppId> {
        match self {
            Self::OpenBlocks(message) => Some(&message.app),
            Self::UploadBlock(message) => Some(&message.app),
            Self::RegisterExecutor(message) => Some(&message.app),
            Self::RemoveBlocks(message) => Some(&message.app),
            Self::FetchShuffleBlocks(message) => Some(&message.app),
            Self::GetLocalDirsForExecutors(message) => Some(&message.app),
            Self::PushBlockStream(message) => Some(&message.app),
            Self::FinalizeShuffleMerge(message) => Some(&message.app),
            Self::FetchShuffleBlockChunks(message) => Some(&message.app),
            Self::DiagnoseCorruption(message) => Some(&message.app),
            Self::RemoveShuffleMerge(message) => Some(&message.app),
            Self::DiagnoseShuffleChunkCorruption(message) => Some(&message.app),
            Self::StreamHandle(_)
            | Self::UploadBlockStream(_)
            | Self::BlocksRemoved(_)
            | Self::LocalDirsForExecutors(_)
            | Self::MergeStatuses(_)
            | Self::CorruptionCause(_)
            | Self::BlockPushReturnCode(_) => None,
        }
    }
}
