//! The place of merged partitions: beside the directories of the executor that registered first.
//!
//! `…/blockmgr-<uuid>` and `…/merge_manager_1` are siblings. The executor makes the merge directory with its
//! sub-directories before it registers. The server makes only files here.
//!
//! Origin: `RemoteBlockPushResolver.AppPathsInfo` and `ExecutorDiskUtils.getFilePath`, Spark 4.3.0.

use std::collections::BTreeSet;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;

use super::error::MergeError;
use super::registration::{MergeInfo, NO_ATTEMPT};
use crate::disk::layout::{Placement, java_path};
use crate::disk::{LocalDir, Roots};

/// The merge directories of an application.
#[derive(Debug)]
pub struct MergeDirs {
    dirs: Vec<LocalDir>,
    sub_dirs: i32,
}

/// The place of one file.
#[derive(Debug)]
pub struct MergePlace<'a> {
    /// The merge directory.
    pub dir: &'a LocalDir,
    /// The path of the file below the directory's root.
    pub path: String,
    /// The path for logs and answers.
    pub shown: String,
}

impl MergeDirs {
    /// Takes directories that were accepted by [`Roots::accept`].
    pub fn new(dirs: Vec<LocalDir>, sub_dirs: i32) -> Self {
        Self { dirs, sub_dirs }
    }

    /// No directories.
    pub(super) fn none() -> Self {
        Self::new(Vec::new(), 0)
    }

    /// The merge directories that belong to an executor's directories, in the same order.
    pub(super) fn resolve<'a>(
        on: &OnLane,
        local_dirs: impl IntoIterator<Item = &'a str>,
        sub_dirs: i32,
        info: &MergeInfo,
        app: &AppId,
        roots: &Roots,
    ) -> Result<Self, MergeError> {
        let dirs =
            local_dirs.into_iter().map(|dir| beside(on, dir, info, app, roots)).collect::<Result<_, _>>()?;
        Ok(Self::new(dirs, sub_dirs))
    }

    /// The directories in the form that executors are told.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.dirs.iter().map(LocalDir::text)
    }

    /// The directories.
    pub fn dirs(&self) -> &[LocalDir] {
        &self.dirs
    }

    /// Those on the disk of this number.
    pub fn on_disk(&self, disk: usize) -> impl Iterator<Item = &LocalDir> {
        self.dirs.iter().filter(move |dir| dir.disk_number() == disk)
    }

    /// The numbers of the disks that they lie on.
    pub(super) fn disks(&self) -> BTreeSet<usize> {
        self.dirs.iter().map(LocalDir::disk_number).collect()
    }

    /// Number of sub-directories of each; a peer may send any number.
    pub fn sub_dirs(&self) -> i32 {
        self.sub_dirs
    }

    /// The place of the file `name`; `None` if there are no directories or no sub-directories.
    pub fn place(&self, name: &str) -> Option<MergePlace<'_>> {
        let placement = Placement::of(name, self.dirs.len(), self.sub_dirs)?;
        let dir = self.dirs.get(placement.dir)?;
        let sub = placement.sub_dir();
        let path = match dir.relative() {
            "" => format!("{sub}/{name}"),
            relative => format!("{relative}/{sub}/{name}"),
        };
        let shown = java_path(&format!("{}/{sub}/{name}", dir.text()));
        Some(MergePlace { dir, path, shown })
    }

    /// The directory of the file `name`; `None` if there are no directories or no sub-directories.
    pub(super) fn dir_of(&self, name: &str) -> Option<&LocalDir> {
        self.dirs.get(Placement::of(name, self.dirs.len(), self.sub_dirs)?.dir)
    }

    /// The path of the file `name` in the form of answers.
    pub(super) fn shown(&self, name: &str) -> String {
        self.place(name).map_or_else(|| name.to_owned(), |place| place.shown)
    }

    /// Whether one of the directories lies beside one of `others`.
    pub(super) fn are_beside(&self, others: &Self) -> bool {
        self.dirs.iter().any(|dir| others.dirs.iter().any(|other| dir.is_beside(other)))
    }

    /// The greatest number of an attempt whose directory lies beside one of these, which are of `attempt`: executors make
    /// `merge_manager_2` beside `merge_manager_1`, before they register.
    ///
    /// Origin: `DiskBlockManager.getMergeDirectoryAndAttemptIDJsonString`, Spark 4.3.0.
    pub(super) fn greatest_attempt(&self, on: &OnLane, attempt: i32, roots: &Roots) -> Option<i32> {
        let known = self.dirs.iter().filter(|dir| dir.has_root());
        let greatest = known.filter_map(|dir| {
            let name = dir.relative().rsplit('/').next()?;
            let stem = match attempt {
                NO_ATTEMPT => format!("{name}_"),
                _ => format!("{}_", name.strip_suffix(&attempt.to_string())?.strip_suffix('_')?),
            };
            roots.greatest_beside(on, dir, move |other| other.strip_prefix(&stem)?.parse().ok())
        });
        greatest.max()
    }

    /// Whether a file of this name would lie in one of `others`, too.
    pub(super) fn shares(&self, name: &str, others: &Self) -> bool {
        let dir = self.dir_of(name);
        dir.is_some_and(|dir| others.dirs.iter().any(|other| dir.is_same_place(other)))
    }

    /// The directories that are not also among `others`.
    pub(super) fn without(&self, others: &Self) -> Self {
        let is_other = |dir: &LocalDir| others.dirs.iter().any(|other| dir.is_same_place(other));
        let dirs = self.dirs.iter().filter(|dir| !is_other(dir)).cloned().collect();
        Self::new(dirs, self.sub_dirs)
    }
}

fn beside(
    on: &OnLane,
    dir: &str,
    info: &MergeInfo,
    app: &AppId,
    roots: &Roots,
) -> Result<LocalDir, MergeError> {
    let parent = parent(dir).ok_or_else(|| MergeError::NoParent { dir: dir.to_owned() })?;
    let parent = normalized(&parent);
    let text = match parent.as_str() {
        "" => info.dir.clone(),
        "/" => format!("/{}", info.dir),
        parent => format!("{parent}/{}", info.dir),
    };
    let accepted = roots.accept_for(on, app, &text).map_err(MergeError::Dir)?;
    // A link would lead elsewhere, where another application's files may lie.
    let strays = roots.accept(on, &parent).is_ok_and(|parent| !accepted.is_child(&parent, &info.dir));
    if strays {
        return Err(MergeError::Escapes { name: info.dir.clone(), parent, app: app.clone() });
    }
    Ok(accepted)
}

/// `Path.getParent`.
fn parent(dir: &str) -> Option<String> {
    let dir = java_path(dir);
    let (parent, name) = dir.rsplit_once('/')?;
    if name.is_empty() {
        return None;
    }
    Some(if parent.is_empty() { "/".to_owned() } else { parent.to_owned() })
}

/// `Path.normalize`: it works on the text only.
fn normalized(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => _ = parts.pop(),
                _ if is_absolute => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if is_absolute { format!("/{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_those_of_java() {
        let known = [
            ("/b/d1/blockmgr-a", Some("/b/d1")),
            ("/b/d1/blockmgr-a/", Some("/b/d1")),
            ("/x", Some("/")),
            ("a/b", Some("a")),
            ("/", None),
            ("x", None),
            ("", None),
        ];
        for (dir, expected) in known {
            assert_eq!(parent(dir).as_deref(), expected, "{dir:?}");
        }
    }

    #[test]
    fn paths_are_normalized_by_their_text() {
        let known =
            [("/a/../b/./c", "/b/c"), ("/..", "/"), ("../a", "../a"), ("a/..", ""), ("/a//b/", "/a/b")];
        for (path, expected) in known {
            assert_eq!(normalized(path), expected, "{path:?}");
        }
    }
}
