//! The older way to open blocks, and the handle that every way ends in.

use crate::ids::{AppId, ExecutorId, StreamId};
use crate::shuffle::Strings;

fields! {
    /// Opens blocks by name. [`crate::shuffle::OpenRequest`] reads the names as a shuffle service does.
    OpenBlocks {
        /// The application that the blocks belong to.
        app: AppId,
        /// The executor that wrote them.
        executor: ExecutorId,
        /// Their names.
        blocks: Strings,
    }
}

fields! {
    /// A stream whose chunks can be fetched on this connection, in order.
    StreamHandle {
        /// Names the stream.
        stream: StreamId,
        /// How many chunks it has.
        num_chunks: i32,
    }
}
