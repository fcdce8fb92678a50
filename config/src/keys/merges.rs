//! Push-based merging at a server.

use crate::ByteCount;
use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{AtRest, Bool, Choice, Int, LARGEST, Size, SizeUnit, Text, Time, TimeUnit};

keys! {
    MERGES:

    /// Merging.
    pub static MERGE_MANAGER: Key<Text> = Key::new(
        "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
        Text { what: "class name" },
        Is("org.apache.spark.network.shuffle.NoOpMergedShuffleFileManager"),
        Serve,
        "A name that ends in `RemoteBlockPushResolver` switches push-based merging on; any other leaves it off.",
    )
    .literal();

    /// Size of merged chunks.
    pub static MERGE_MIN_CHUNK: Key<Size> = Key::new(
        "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile",
        Size::new(SizeUnit::Bytes, ByteCount::new(0), ByteCount::new(i32::MAX as u64)),
        Is("2m"),
        Serve,
        "A merged chunk ends with the block that makes it so long; readers fetch whole chunks.",
    )
    .literal();

    /// Memory for merged partitions that are read.
    pub static MERGE_INDEX_CACHE: Key<Size> = Key::new(
        "spark.shuffle.push.server.mergedIndexCacheSize",
        Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
        Is("100m"),
        Serve,
        "Memory for the indexes of merged partitions that are being read, at most; 0 keeps none.",
    )
    .literal();

    /// Diagnosis of merged chunks.
    pub static MERGE_CHECKSUM: Key<Bool> = Key::new(
        "spark.shuffle.push.server.mergedShuffleChecksum.enabled",
        Bool::TRANSPORT,
        Is("true"),
        Serve,
        "Tells a reader of a corrupt merged chunk whether the disk or the network damaged it. Nothing is stored for it: sealed \
         chunks are authentic, and of plain ones only damage on the network can be told. No released Spark asks for it.",
    )
    .literal();

    /// Disk errors of a partition.
    pub static MERGE_IO_ERRORS: Key<Int<u32>> = Key::new(
        "spark.shuffle.push.server.ioExceptionsThresholdDuringMerge",
        Int::transport(0, i32::MAX as u32),
        Is("4"),
        Serve,
        "Disk errors that a partition being merged survives; with one more it takes no further blocks.",
    )
    .literal();

    /// Clean-up at the end.
    pub static MERGE_CLEANER_TIMEOUT: Key<Time> = Key::new(
        "spark.shuffle.push.server.mergedShuffleCleaner.shutdown.timeout",
        Time::spark(TimeUnit::Seconds),
        Is("60s"),
        Serve,
        "How long a server that stops goes on deleting merged files that nobody wants.",
    )
    .literal();

    /// The form of merged partitions.
    pub static MERGE_AT_REST: Key<Choice<AtRest>> = Key::new(
        "spark.sealed.merge.at-rest",
        Choice::AT_REST,
        Is("sealed"),
        Serve,
        "`sealed`: merged partitions lie under envelope keys, and only this server reads them; executors on its own host read \
         the unmerged blocks, unless there is a view (`spark.sealed.merge.view.dir`). `plain`: they lie in Spark's own form, for volumes that are encrypted below us, and executors on the \
         host read them by themselves.",
    );

    /// Where executors on the host read sealed partitions.
    pub static MERGE_VIEW_DIR: Key<Text> = Key::new(
        "spark.sealed.merge.view.dir",
        Text { what: "path" },
        Unset("none: executors on the host read the unmerged blocks"),
        Serve,
        "Directory in which the server mounts a read-only view (FUSE) of sealed merged partitions, for executors on its host: it \
         opens them as they are read, for the user that owns the application's directories and for root. Takes `/dev/fuse`, and \
         root or CAP_SYS_ADMIN, or `fusermount3` with `user_allow_other` in `/etc/fuse.conf`.",
    );

    /// Whether finalizing waits for the disk.
    pub static MERGE_FSYNC: Key<Bool> = Key::new(
        "spark.sealed.merge.fsync",
        Bool::TRANSPORT,
        Is("false"),
        Serve,
        "Whether a merge is announced as finalized only when the disk has it, so that it survives a power loss, too. \
         Without it, it survives everything that leaves the kernel running; what a power loss damaged is found out.",
    );
}
