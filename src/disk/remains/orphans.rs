//! Where block directories lie beneath a root.
//!
//! ```text
//! ROOT/blockmgr-UUID                                       Kubernetes
//! ROOT/spark-UUID/blockmgr-UUID                            a driver, local mode
//! ROOT/spark-UUID/executor-UUID/blockmgr-UUID              standalone
//! ROOT/executor-UUID/blockmgr-UUID
//! ROOT/usercache/USER/appcache/APPLICATION/blockmgr-UUID   YARN
//! …/merge_manager, …/merge_manager_N                       beside each of them
//! ```
//!
//! Nothing else is looked into, and what is found is not judged.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::ShownPath;

use super::names::{is_block_dir, is_with_uuid};
use super::walk::Step;
use crate::confined::OpenFailure;
use crate::disk::device::Disk;
use crate::disk::open_error::OpenError;

/// Directories that one look takes in; what is beyond is for the next one.
const MOST: usize = 100_000;

/// A look for all block directories beneath one root, in steps.
#[derive(Debug)]
pub struct OrphanLook {
    waiting: Vec<(String, Level)>,
    found: Vec<String>,
    passed_over: u64,
}

/// Where a directory stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Root,
    /// `spark-UUID`
    Spark,
    /// `executor-UUID`, or YARN's directory of an application
    Executor,
    /// `usercache`
    Users,
    /// A user of YARN.
    User,
    /// `appcache`
    Applications,
}

impl Level {
    /// What a directory of this name is that lies here; `None` where it is not looked into.
    fn below(self, name: &str) -> Option<Self> {
        match self {
            Self::Root if name == "usercache" => Some(Self::Users),
            Self::Root if is_with_uuid(name, "spark-") => Some(Self::Spark),
            Self::Root | Self::Spark if is_with_uuid(name, "executor-") => Some(Self::Executor),
            Self::Users => Some(Self::User),
            Self::User if name == "appcache" => Some(Self::Applications),
            Self::Applications => Some(Self::Executor),
            _ => None,
        }
    }

    const fn has_blocks(self) -> bool {
        matches!(self, Self::Root | Self::Spark | Self::Executor)
    }
}

impl Default for OrphanLook {
    fn default() -> Self {
        Self { waiting: vec![(String::new(), Level::Root)], found: Vec::new(), passed_over: 0 }
    }
}

impl OrphanLook {
    /// Looks into one more directory. One that cannot be looked into, beneath the root, is passed over.
    pub fn step(&mut self, on: &OnLane, disk: &Disk) -> Result<Step, OpenError> {
        let Some((path, level)) = self.waiting.pop() else { return Ok(Step::Done) };
        match self.look_into(on, disk, &path, level) {
            Ok(()) => Ok(Step::More),
            Err(failure) if level == Level::Root => {
                Err(failure.at(ShownPath::new(disk.path().display().to_string())))
            }
            Err(OpenFailure::Errno(Errno::NOENT)) => Ok(Step::More),
            Err(_) => {
                self.passed_over += 1;
                Ok(Step::More)
            }
        }
    }

    /// The paths that were found, below the root; and how many directories could not be looked into.
    pub fn found(self) -> (Vec<String>, u64) {
        (self.found, self.passed_over)
    }

    fn look_into(&mut self, on: &OnLane, disk: &Disk, path: &str, level: Level) -> Result<(), OpenFailure> {
        let dir = disk.open_directory_here(on, if path.is_empty() { "." } else { path })?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_block_dir = level.has_blocks() && is_block_dir(name);
            let below = level.below(name);
            if matches!(name, "." | "..") || (!is_block_dir && below.is_none()) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                known => known,
            };
            if kind != FileType::Directory || self.found.len() + self.waiting.len() >= MOST {
                continue;
            }
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            match below {
                _ if is_block_dir => self.found.push(path),
                Some(below) => self.waiting.push((path, below)),
                None => {}
            }
        }
        Ok(())
    }
}
