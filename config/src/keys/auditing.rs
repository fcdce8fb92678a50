//! What is written down of who did what.

use std::time::Duration;

use crate::ByteCount;
use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Int, Size, SizeUnit, Text, Time};

const SECOND: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(86_400);

keys! {
    AUDITING:

    /// Whether there is a trail.
    pub static AUDIT_ENABLED: Key<Bool> = Key::new(
        "spark.sealed.audit.enabled",
        Bool::TRANSPORT,
        Unset("`true` with `spark.sealed.audit.dir`, else `false`"),
        Serve,
        "Whether the server keeps an audit trail: lines of JSON that say who did what and what came of it, chained by hashes \
         and sealed with a key of the key service (`sealed-shuffle audit verify`).",
    );

    /// Where it lies.
    pub static AUDIT_DIR: Key<Text> = Key::new(
        "spark.sealed.audit.dir",
        Text { what: "path" },
        Unset("`audit` in `spark.sealed.state.dir`"),
        Serve,
        "Directory of the audit trail, for this server alone; it is made with mode 0700 where there is none.",
    );

    /// When a file is full.
    pub static AUDIT_FILE_SIZE: Key<Size> = Key::new(
        "spark.sealed.audit.file.size",
        Size::new(SizeUnit::Bytes, ByteCount::kib(4), ByteCount::mib(1024)),
        Is("64m"),
        Serve,
        "A file of the audit trail that has so many bytes is the last one no more: the next record begins another.",
    );

    /// How many are kept.
    pub static AUDIT_FILES: Key<Int<u32>> = Key::new(
        "spark.sealed.audit.files",
        Int::registry(2, 100_000),
        Is("16"),
        Serve,
        "Files of the audit trail that are kept; the oldest goes when there is one more. With \
         `spark.sealed.audit.file.size` it bounds the space of the trail.",
    );

    /// Records of long connections.
    pub static AUDIT_PERIOD: Key<Time> = Key::new(
        "spark.sealed.audit.period",
        Time::ours(SECOND, DAY),
        Is("10m"),
        Serve,
        "A connection leaves one record at its end, and one in each such time in which it asked for something.",
    );
}
