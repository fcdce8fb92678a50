//! The settings of push-based merging.

use std::path::PathBuf;
use std::time::Duration;

use super::ByteCount;
use super::error::Issue;
use super::key::AnyKey as _;
use super::keys;
use super::value::AtRest;
use super::values::Values;

/// How a server merges, where it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MergeConfig {
    /// A chunk ends with the block that makes it so long
    /// (`spark.shuffle.push.server.minChunkSizeInMergedShuffleFile`). 2 MiB.
    pub min_chunk: ByteCount,
    /// Memory for indexes of merged partitions (`spark.shuffle.push.server.mergedIndexCacheSize`). 100 MiB.
    pub index_cache_size: ByteCount,
    /// Whether a corrupt merged chunk is diagnosed (`spark.shuffle.push.server.mergedShuffleChecksum.enabled`). Yes.
    pub diagnoses_chunks: bool,
    /// Disk errors that a partition survives (`spark.shuffle.push.server.ioExceptionsThresholdDuringMerge`). 4.
    pub io_errors: u32,
    /// For deleting at the end (`spark.shuffle.push.server.mergedShuffleCleaner.shutdown.timeout`). 60 s.
    pub cleaner_timeout: Duration,
    /// The form of merged partitions on the disk (`spark.sealed.merge.at-rest`). Sealed.
    pub at_rest: AtRest,
    /// Whether finalizing waits until the disk has it (`spark.sealed.merge.fsync`). No.
    pub fsync: bool,
    /// Where executors on the host read sealed partitions through a view (`spark.sealed.merge.view.dir`). Nowhere.
    pub view_dir: Option<PathBuf>,
}

/// The class that merges in Spark; it is recognized by the end of its name.
const RESOLVER: &str = "RemoteBlockPushResolver";

impl MergeConfig {
    /// None where merging is not switched on; a bad value is refused in either case.
    pub(crate) fn read(v: &mut Values<'_>) -> Option<Self> {
        let is_on = v.value(&keys::MERGE_MANAGER).ends_with(RESOLVER);
        let config = Self { view_dir: view_dir(v, is_on), ..Self::of(v) };
        is_on.then_some(config)
    }

    fn of(v: &mut Values<'_>) -> Self {
        Self {
            min_chunk: v.value(&keys::MERGE_MIN_CHUNK),
            index_cache_size: v.value(&keys::MERGE_INDEX_CACHE),
            diagnoses_chunks: v.value(&keys::MERGE_CHECKSUM),
            io_errors: v.value(&keys::MERGE_IO_ERRORS),
            cleaner_timeout: v.value(&keys::MERGE_CLEANER_TIMEOUT),
            at_rest: v.value(&keys::MERGE_AT_REST),
            fsync: v.value(&keys::MERGE_FSYNC),
            view_dir: None,
        }
    }
}

/// None where there is nothing to see.
fn view_dir(v: &mut Values<'_>, merges: bool) -> Option<PathBuf> {
    let (path, origin) = v.optional(&keys::MERGE_VIEW_DIR).filter(|(path, _)| !path.is_empty())?;
    let key = keys::MERGE_VIEW_DIR.name();
    let dir = PathBuf::from(&path);
    if !dir.is_absolute() {
        const ABSOLUTE: &str =
            "name an absolute path outside of the local directories, such as /run/sealed-shuffle-view";
        let issue = Issue::new(key, "executors are told this path, and it is a relative one", ABSOLUTE);
        v.refuse(issue.with_value(path).with_origin(origin));
        return None;
    }
    let why = match (merges, v.value(&keys::MERGE_AT_REST)) {
        (false, _) => "this server does not merge",
        (true, AtRest::Plain) => "executors read plain merged files by themselves",
        (true, AtRest::Sealed) => return Some(dir),
    };
    v.warn(format!("{key} has no effect: {why}"));
    None
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self::of(&mut Values::defaults())
    }
}
