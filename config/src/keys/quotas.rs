//! What one application may have of what all share.

use crate::ByteCount;
use crate::key::DefaultValue::Unset;
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Int, LARGEST, Size, SizeUnit};

keys! {
    QUOTAS:

    /// Connections of one application.
    pub static QUOTA_CONNECTIONS: Key<Int<u32>> = Key::new(
        "spark.sealed.quota.connections",
        Int::registry(1, 1 << 20),
        Unset("none: its share"),
        Serve,
        "Connections that one application may have at the same time. One more waits until an idle one of the same application \
         was closed; where none is idle for ten seconds, it is closed, and Spark tries again.",
    );

    /// Memory of one application.
    pub static QUOTA_MEMORY: Key<Size> = Key::new(
        "spark.sealed.quota.memory",
        Size::new(SizeUnit::Bytes, ByteCount::mib(1), LARGEST),
        Unset("none: its share"),
        Serve,
        "What one application may have of `spark.sealed.memory.budget`, half of it for block data and half for large \
         requests. Its answers wait for each other beyond that; small ones do not.",
    );

    /// Merged bytes of one application.
    pub static QUOTA_MERGED_BYTES: Key<Size> = Key::new(
        "spark.sealed.quota.merged-bytes",
        Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
        Unset("none"),
        Serve,
        "Bytes of merged blocks that one application may have on the disks. A block beyond that is not merged: its pusher is told \
         that it met another writer, and readers fetch the original.",
    );

    /// Bandwidth of one application.
    pub static QUOTA_BANDWIDTH: Key<Size> = Key::new(
        "spark.sealed.quota.bandwidth",
        Size::new(SizeUnit::Bytes, ByteCount::mib(1), LARGEST),
        Unset("none: its part"),
        Serve,
        "Bytes a second that one application is sent over all its connections. Its answers wait beyond that; no connection ends \
         for it.",
    );
}
