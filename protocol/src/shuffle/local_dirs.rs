//! Where executors of this host keep their files, for readers on the same host.

use crate::codec::EncodeError;
use crate::ids::{AppId, ExecutorId};
use crate::limits::PATH_MAX;
use crate::shuffle::{ShapeError, Strings};

/// The pseudo executor that stands for the merge directories of an application (Spark 3.2).
pub const SHUFFLE_PUSH_MERGER: &str = "shuffle-push-merger";

fields! {
    /// Asks for directories of executors.
    GetLocalDirsForExecutors {
        /// The application.
        app: AppId,
        /// The executors; [`SHUFFLE_PUSH_MERGER`] may be among them.
        executors: Strings,
    }
}

fields! {
    /// Directories of executors: one flat list, cut by counts. A map in Spark, so its order means nothing.
    LocalDirsForExecutors {
        /// The executors.
        executors: Strings,
        /// How many of the directories belong to each.
        dir_counts: Vec<i32>,
        /// The directories, executor by executor.
        dirs: Strings<PATH_MAX>,
    }
}

impl LocalDirsForExecutors {
    /// Flattens executors and their directories.
    pub fn new<'a, E, D>(executors: E) -> Result<Self, EncodeError>
    where
        E: IntoIterator<Item = (&'a ExecutorId, D)>,
        D: IntoIterator<Item = &'a str>,
    {
        let mut names = Vec::new();
        let mut dir_counts = Vec::new();
        let mut all_dirs = Vec::new();
        for (executor, dirs) in executors {
            let before = all_dirs.len();
            all_dirs.extend(dirs);
            let count = all_dirs.len() - before;
            names.push(executor.as_str());
            dir_counts.push(i32::try_from(count).map_err(|_| EncodeError::TooLong(count))?);
        }
        Ok(Self {
            executors: Strings::try_from_iter(names)?,
            dir_counts,
            dirs: Strings::try_from_iter(all_dirs)?,
        })
    }

    /// Each executor with its directories.
    pub fn by_executor(&self) -> Result<Vec<(ExecutorId, Vec<&str>)>, ShapeError> {
        if self.dir_counts.len() != self.executors.len() {
            return Err(ShapeError::Lengths { left: self.executors.len(), right: self.dir_counts.len() });
        }
        let mut dirs = self.dirs.iter();
        let mut executors = Vec::with_capacity(self.executors.len());
        for (executor, &count) in self.executors.iter().zip(&self.dir_counts) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if count > dirs.len() {
                return Err(ShapeError::Lengths { left: count, right: dirs.len() });
            }
            executors.push((ExecutorId::new(executor), dirs.by_ref().take(count).collect()));
        }
        Ok(executors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_go_back_to_their_executors() {
        let (two, three) = (ExecutorId::new("2"), ExecutorId::new("3"));
        let dirs = LocalDirsForExecutors::new([(&two, vec!["/a", "/b"]), (&three, vec!["/c"])]).unwrap();
        assert_eq!(dirs.by_executor().unwrap(), [(two, vec!["/a", "/b"]), (three, vec!["/c"])]);
    }

    #[test]
    fn rejects_counts_that_the_directories_do_not_cover() {
        let one = ExecutorId::new("1");
        let mut dirs = LocalDirsForExecutors::new([(&one, vec!["/a"])]).unwrap();
        for counts in [vec![2], vec![-1], vec![], vec![1, 0]] {
            dirs.dir_counts = counts;
            assert!(dirs.by_executor().is_err(), "{:?}", dirs.dir_counts);
        }
    }
}
