//! The names of merged partitions and pushed blocks.

use std::fmt;

use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{BlockId, PushBlockStream};
use sealed_shuffle_protocol::stored::sealed::Kind;

/// A merged partition, and the application that it is of.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PartitionId {
    /// The application.
    pub app: AppId,
    /// The partition.
    pub merged: MergedPartition,
}

impl PartitionId {
    /// The partition that a pushed block belongs to.
    pub fn of_push(push: &PushBlockStream) -> Self {
        let PushBlockStream { shuffle, merge, reduce, .. } = *push;
        Self { app: push.app.clone(), merged: MergedPartition { shuffle, merge, reduce } }
    }

    /// Name of the file of blocks.
    pub fn data_name(&self) -> String {
        self.name(Kind::Data)
    }

    /// Name of the file of chunk offsets.
    pub fn index_name(&self) -> String {
        self.name(Kind::Index)
    }

    /// Name of the file of chunk bitmaps.
    pub fn meta_name(&self) -> String {
        self.name(Kind::Meta)
    }

    fn name(&self, kind: Kind) -> String {
        kind.file_name(&self.app, self.merged)
    }

    /// Whether its names can be file names: application ids are opaque text.
    pub fn is_nameable(&self) -> bool {
        !self.app.as_str().contains(['/', '\\', '\0'])
    }
}

impl fmt::Display for PartitionId {
    /// The stem of its files' names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shuffleMerged_{}_{}", self.app.as_str(), self.merged)
    }
}

/// Whether `name` is the name of a merged file of `app`. The id of another application may begin with the id of
/// `app`.
pub fn is_file_of(app: &AppId, name: &str) -> bool {
    let ids = name.strip_prefix("shuffleMerged_").and_then(|rest| rest.strip_prefix(app.as_str()));
    let Some((stem, kind)) = ids.and_then(|ids| ids.strip_prefix('_')?.rsplit_once('.')) else {
        return false;
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(kind, "data" | "index" | "meta")
        && stem.split('_').count() == 3
        && stem.split('_').all(is_number)
}

/// The partition that a merged file of `app` is of, by its name.
pub fn merged_partition(app: &AppId, name: &str) -> Option<MergedPartition> {
    let ids = name.strip_prefix("shuffleMerged_")?.strip_prefix(app.as_str())?.strip_prefix('_')?;
    let mut numbers = ids.rsplit_once('.')?.0.split('_').map(str::parse::<i32>);
    let mut number = || numbers.next()?.ok();
    let (shuffle, merge, reduce) = (ShuffleId(number()?), ShuffleMergeId(number()?), ReduceId(number()?));
    Some(MergedPartition { shuffle, merge, reduce })
}

/// The name of a pushed block, as answers carry it.
pub(super) fn push_name(push: &PushBlockStream) -> String {
    let PushBlockStream { shuffle, merge, map_index, reduce, .. } = *push;
    BlockId::ShufflePush { shuffle, merge, map_index, reduce }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_as_spark_does() {
        let id = |app| PartitionId {
            app: AppId::new(app),
            merged: MergedPartition { shuffle: ShuffleId(5), merge: ShuffleMergeId(2), reduce: ReduceId(9) },
        };
        assert_eq!(id("app_1").data_name(), "shuffleMerged_app_1_5_2_9.data");
        assert_eq!(id("app_1").index_name(), "shuffleMerged_app_1_5_2_9.index");
        assert_eq!(id("app_1").meta_name(), "shuffleMerged_app_1_5_2_9.meta");
        for name in [id("app_1").data_name(), id("app_1").index_name(), id("app_1").meta_name()] {
            assert!(is_file_of(&AppId::new("app_1"), &name), "{name}");
            assert_eq!(merged_partition(&AppId::new("app_1"), &name), Some(id("app_1").merged));
            // The id of this application is the beginning of another id.
            assert!(!is_file_of(&AppId::new("app"), &name), "{name}");
        }
        for other in
            ["shuffleMerged_app_1_5_2_9.tmp", "shuffle_app_1_5_2_9.data", "shuffleMerged_app_1_5_2_x.data"]
        {
            assert!(!is_file_of(&AppId::new("app_1"), other), "{other}");
        }
        assert!(id("app_1").is_nameable());
        assert!(!id("../app").is_nameable());
    }
}
