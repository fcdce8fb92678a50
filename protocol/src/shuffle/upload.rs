//! Blocks sent to an executor. A shuffle service takes none.

use bytes::Bytes;

use crate::ids::{AppId, ExecutorId};

fields! {
    /// A small block, whole.
    UploadBlock {
        /// The application.
        app: AppId,
        /// The executor that is to keep it.
        executor: ExecutorId,
        /// The block's name.
        block: String where NAME_MAX,
        /// Java-serialized storage level and class tag.
        metadata: Bytes,
        /// The block.
        data: Bytes,
    }
}

fields! {
    /// A block whose data follow behind the frame.
    UploadBlockStream {
        /// The block's name.
        block: String where NAME_MAX,
        /// Java-serialized storage level and class tag.
        metadata: Bytes,
    }
}
