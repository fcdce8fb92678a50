//! What a server does with files that applications leave behind.

use std::time::Duration;

use crate::key::DefaultValue::Text as Is;
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Choice, Clears, Time};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const HOUR: Duration = Duration::from_secs(3600);

keys! {
    CLEAN_UP:

    /// Directories of ended applications.
    pub static CLEANUP_APPLICATIONS: Key<Choice<Clears>> = Key::new(
        "spark.sealed.cleanup.applications",
        Choice::CLEARS,
        Is("off"),
        Serve,
        "Whether the block directories of an application that has ended are removed: those that its executors registered, \
         named as Spark names them, and in them what Spark names. `dry-run` counts and logs what it would remove. For \
         clusters where nobody else removes them, such as Kubernetes with volumes that outlive pods.",
    )
    .near("spark.worker.cleanup.enabled");

    /// Directories of nobody.
    pub static CLEANUP_ORPHANS: Key<Choice<Clears>> = Key::new(
        "spark.sealed.cleanup.orphans",
        Choice::CLEARS,
        Is("dry-run"),
        Serve,
        "Whether block directories beneath the roots that no registration names are looked for, at start and daily: \
         `dry-run` counts and logs them, `on` removes those that are old enough, and wants \
         `spark.shuffle.service.db.enabled`.",
    );

    /// Age of an orphan.
    pub static CLEANUP_ORPHAN_AGE: Key<Time> = Key::new(
        "spark.sealed.cleanup.orphans.age",
        Time::ours(HOUR, YEAR),
        Is("7d"),
        Serve,
        "For how long nothing in a directory was written before it counts as left behind. Longer than any driver of the \
         node, and any application that does not use this service, stays quiet.",
    );

    /// Files of dead executors.
    pub static CLEANUP_AFTER_EXECUTOR: Key<Bool> = Key::new(
        "spark.storage.cleanupFilesAfterExecutorExit",
        Bool::REGISTRY,
        Is("true"),
        Serve,
        "Whether the files of an executor whose end is handed over (`hand-over standalone`, `hand-over kubernetes`) are removed, but for those that \
         the service serves: names that end in `.index` and `.data`, and RDD blocks with \
         `spark.shuffle.service.fetch.rdd.enabled`.",
    );

    /// Disk use.
    pub static DISK_USAGE_INTERVAL: Key<Time> = Key::new(
        "spark.sealed.disk.usage-interval",
        Time::ours(Duration::ZERO, YEAR),
        Is("10m"),
        Serve,
        "Time between two looks at how much of each disk each application uses, for `/metrics` and `apps`. A look takes a \
         twentieth of one thread of the disk; 0 looks never.",
    );
}
