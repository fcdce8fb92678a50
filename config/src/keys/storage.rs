//! Files that are served, and what a server keeps of them.

use std::time::Duration;

use crate::ByteCount;
use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Int, LARGEST, List, Size, SizeUnit, Text, Time};

keys! {
    STORAGE:

    /// Roots of executors' directories.
    pub static LOCAL_DIR: Key<List> = Key::new(
        "spark.local.dir",
        List,
        Unset("none: refused unless the environment names directories"),
        Serve,
        "Directories beneath which executors may register theirs and files are opened. `SPARK_EXECUTOR_DIRS`, \
         `SPARK_LOCAL_DIRS` and, under YARN, `LOCAL_DIRS` come before it. Entries are trimmed.",
    )
    .literal();

    /// Weight of the index cache.
    pub static INDEX_CACHE_SIZE: Key<Size> = Key::new(
        "spark.shuffle.service.index.cache.size",
        Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
        Is("100m"),
        Serve,
        "Memory for index files that were read, at most; 0 reads the index at every request.",
    )
    .literal();

    /// Disk-persisted RDD blocks.
    pub static FETCH_RDD: Key<Bool> = Key::new(
        "spark.shuffle.service.fetch.rdd.enabled",
        Bool::TRANSPORT,
        Is("false"),
        Serve,
        "RDD blocks on disk are served whenever they are asked for. With `true` they also stay when their executor has ended \
         (`spark.storage.cleanupFilesAfterExecutorExit`).",
    )
    .literal();

    /// Confinement of paths.
    pub static VERIFY_BLOCK_PATHS: Key<Bool> = Key::new(
        "spark.shuffle.service.verifyBlockPathsAtRead",
        Bool::TRANSPORT,
        Is("true"),
        Serve,
        "Only `true` is accepted: files are always opened beneath their root, with the kernel's help.",
    )
    .literal();

    /// Directories that name their application.
    pub static APP_SCOPED_DIRS: Key<Bool> = Key::new(
        "spark.shuffle.service.requireAppScopedLocalDirs",
        Bool::TRANSPORT,
        Unset("`true` with `spark.sealed.handover.socket`, else `false`"),
        Serve,
        "Whether the path of each directory that is registered must have the application's id as one of its names, as \
         below YARN's `appcache`. Spark's own service for YARN always asks for it, from 3.5.9 on, and its standalone \
         service never.",
    );

    /// Blocking reads.
    pub static DISK_THREADS: Key<Int<u32>> = Key::new(
        "spark.sealed.disk.threads",
        Int::registry(1, 1024),
        Is("8"),
        Serve,
        "Threads that wait for the disk of each root when the page cache has not got the bytes; about two per spindle or \
         more per SSD.",
    );

    /// Deadline of a call to a disk.
    pub static DISK_TIMEOUT: Key<Time> = Key::new(
        "spark.sealed.disk.timeout",
        Time::ours(Duration::from_secs(1), Duration::from_secs(3600)),
        Is("30s"),
        Serve,
        "A call to a disk that takes longer is given up, with the wait for its turn: its thread is replaced, and the disk \
         counts as hung while it does not come back. Reads of other disks do not wait for it.",
    );

    /// Cache of descriptors.
    pub static FILES_MAX_OPEN: Key<Int<u32>> = Key::new(
        "spark.sealed.files.max-open",
        Int::registry(0, 1 << 20),
        Is("0"),
        Serve,
        "Files kept open between requests, at most; 0 takes what the descriptor limit leaves beside the connections.",
    );

    /// Recovery.
    pub static DB_ENABLED: Key<Bool> = Key::new(
        "spark.shuffle.service.db.enabled",
        Bool::REGISTRY,
        Is("true"),
        Serve,
        "Whether registrations, merge state and secrets that were handed over survive a restart: sealed, in \
         `recovery.redb` under `spark.sealed.state.dir`. `false` forgets them.",
    );

    /// Where the server keeps what outlives it.
    pub static STATE_DIR: Key<Text> = Key::new(
        "spark.sealed.state.dir",
        Text { what: "directory" },
        Unset("`$STATE_DIRECTORY` (systemd); else `/var/lib/sealed-shuffle` for root, `~/.local/state/sealed-shuffle` for others"),
        Serve,
        "Directory for what the server itself keeps across restarts; made with mode 0700 when it is needed. Not on the \
         disks of `spark.local.dir`.",
    )
    .near("spark.shuffle.service.db.backend");
}
