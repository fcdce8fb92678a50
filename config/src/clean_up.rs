//! Files that applications leave behind.

use std::time::Duration;

use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, Reader};
use super::keys;
use super::load::Sources;
use super::roots::{self, Roots};
use super::value::Clears;
use super::values::{Values, read_sources};

/// What a server does with files that applications leave behind, and how it learns how much they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CleanUpConfig {
    /// Block directories of applications that have ended (`spark.sealed.cleanup.applications`). They stay.
    pub applications: Clears,
    /// Block directories that no registration names (`spark.sealed.cleanup.orphans`). They are counted.
    pub orphans: Clears,
    /// For how long nothing was written in such a one (`spark.sealed.cleanup.orphans.age`). 7 days.
    pub orphan_age: Duration,
    /// Files of executors that have ended, but for those that are served
    /// (`spark.storage.cleanupFilesAfterExecutorExit`). They go.
    pub after_executor: bool,
    /// Whether RDD blocks are among those that are served (`spark.shuffle.service.fetch.rdd.enabled`). No.
    pub serves_rdd: bool,
    /// Between two looks at the disk use of applications; `None` never (`spark.sealed.disk.usage-interval`). 10 minutes.
    pub usage_interval: Option<Duration>,
}

impl CleanUpConfig {
    /// Reads it; `recovery` tells whether registrations outlast a restart.
    pub(crate) fn read(v: &mut Values<'_>, recovery: bool) -> Self {
        let orphans = v.value(&keys::CLEANUP_ORPHANS);
        if orphans == Clears::On && !recovery {
            let db = keys::DB_ENABLED.name();
            let issue = Issue::new(
                keys::CLEANUP_ORPHANS.name(),
                format!(
                    "with {db}=false a restart forgets which directories belong to applications that live"
                ),
                format!("set it to dry-run, or {db} to true"),
            );
            v.refuse(issue.with_value("on"));
        }
        Self {
            applications: v.value(&keys::CLEANUP_APPLICATIONS),
            orphans,
            orphan_age: v.value(&keys::CLEANUP_ORPHAN_AGE),
            after_executor: v.value(&keys::CLEANUP_AFTER_EXECUTOR),
            serves_rdd: v.value(&keys::FETCH_RDD),
            usage_interval: v.unless_zero(&keys::DISK_USAGE_INTERVAL),
        }
    }
}

impl CleanUpConfig {
    /// The roots of a server with these sources, and the age of an orphan; what else it reads is not looked at.
    pub fn places(
        sources: &Sources,
        environment: &dyn Environment,
    ) -> Result<(Roots, Duration), ConfigError> {
        let read = |v: &mut Values<'_>| {
            let age = v.value(&keys::CLEANUP_ORPHAN_AGE);
            roots::resolve(v).map(|roots| (roots, age))
        };
        let (places, _) = read_sources(sources, environment, Reader::Serve, read)?;
        Ok(places.expect("roots that could not be used were refused"))
    }
}

impl Default for CleanUpConfig {
    fn default() -> Self {
        Self::read(&mut Values::defaults(), true)
    }
}
