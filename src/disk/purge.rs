//! Removing all files of certain names from a directory that Spark laid out, whatever they are called in full.
//!
//! Only what lies in sub-directories that Spark makes (`00` to `3f`, say) is looked at, nothing is followed, and what
//! else lies there stays: the name of the directory came from a peer, and others may have files in it. Directories stay,
//! too, empty or not: an executor made them, and whoever made them removes them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::ShownPath;

use super::device::Disk;
use super::open_error::OpenError;
use super::root::{LocalDir, Roots};
use crate::confined::{OpenFailure, READ_DIRECTORY};

/// A disk that removes files for longer is not waited for; it goes on.
const PURGE: Duration = Duration::from_secs(10);

impl Roots {
    /// Removes the files beneath `dir` whose names `is_meant` says; how many. A directory that is not there has none.
    ///
    /// Files that cannot be removed are an error in the end, and stop nothing: another call can remove what is left.
    pub fn purge(
        &self,
        on: &OnLane,
        dir: &LocalDir,
        is_meant: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<u64, OpenError> {
        let purged = match self.shared_disk(dir) {
            Some(disk) => {
                let (of, path) = (Arc::clone(disk), dir.relative().to_owned());
                let purged = disk.ask(on, PURGE, move |on| of.purge(on, &path, &is_meant));
                purged.unwrap_or(Err(OpenFailure::NoAnswer))
            }
            None => Err(OpenFailure::NoAnswer),
        };
        match purged {
            Ok(removed) => Ok(removed),
            Err(OpenFailure::Errno(Errno::NOENT)) => Ok(0),
            Err(failure) => Err(failure.at(ShownPath::new(dir.text()))),
        }
    }
}

impl Disk {
    fn purge(&self, on: &OnLane, path: &str, is_meant: &dyn Fn(&str) -> bool) -> Result<u64, OpenFailure> {
        let open = self.open_directory(on, if path.is_empty() { "." } else { path })?;
        let (mut removed, mut failed) = (0, None);
        for (name, _) in entries(&open)? {
            if !is_sub_dir(&name) {
                continue;
            }
            match purge_sub_dir(on, open.as_fd(), &name, is_meant) {
                Ok(n) => removed += n,
                // A link, a file, or gone: nothing that Spark made.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
                Err(errno) => failed = Some(errno),
            }
        }
        failed.map_or(Ok(removed), |errno| Err(errno.into()))
    }
}

fn purge_sub_dir(
    on: &OnLane,
    dir: BorrowedFd<'_>,
    name: &CStr,
    is_meant: &dyn Fn(&str) -> bool,
) -> Result<u64, Errno> {
    let sub = rustix::fs::openat(dir, name, READ_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let (mut removed, mut failed) = (0, None);
    for (name, kind) in entries(&sub)? {
        if kind == FileType::Directory || !name.to_str().is_ok_and(is_meant) {
            continue;
        }
        on.progress();
        match rustix::fs::unlinkat(&sub, &name, AtFlags::empty()) {
            Ok(()) => removed += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => failed = Some(errno),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// Names and kinds of what lies in a directory; all of it is read before any of it is removed.
pub(super) fn entries(dir: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let read = Dir::read_from(dir)?;
    read.map(|entry| entry.map(|entry| (entry.file_name().to_owned(), entry.file_type()))).collect()
}

/// Two or more lower-case hex digits.
pub(super) fn is_sub_dir(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.len() >= 2 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::confined::Confinement;

    struct Tree {
        roots: Roots,
        root: PathBuf,
        _temp: TempDir,
    }

    /// A merge directory with files of two applications, and things that nobody should touch.
    fn tree() -> Tree {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("root");
        for dir in ["m/00", "m/3f", "m/keep", "m/0x", "elsewhere/00", "m/01"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in
            ["m/00/a_1", "m/00/b_1", "m/3f/a_2", "m/keep/a_3", "m/0x/a_4", "m/a_5", "elsewhere/00/a_6"]
        {
            fs::write(root.join(file), "x").unwrap();
        }
        symlink(root.join("elsewhere/00"), root.join("m/02")).unwrap();
        symlink(root.join("elsewhere/00/a_6"), root.join("m/3f/a_link")).unwrap();
        Tree { roots: Roots::open([&root]).unwrap(), root, _temp: temp }
    }

    fn purge(tree: &Tree, dir: &str) -> Result<u64, OpenError> {
        let path: PathBuf = tree.root.join(dir).components().collect();
        let dir = tree.roots.accept(&OnLane::here(), path.to_str().unwrap()).unwrap();
        tree.roots.purge(&OnLane::here(), &dir, |name| name.starts_with("a_"))
    }

    #[test]
    fn removes_only_what_is_meant_and_follows_nothing() {
        let tree = tree();
        assert_eq!(purge(&tree, "m").unwrap(), 3);
        for gone in ["m/00/a_1", "m/3f/a_2", "m/3f/a_link"] {
            assert!(fs::symlink_metadata(tree.root.join(gone)).is_err(), "{gone}");
        }
        for kept in ["m/00/b_1", "m/keep/a_3", "m/0x/a_4", "m/a_5", "elsewhere/00/a_6", "m/01", "m/3f"] {
            assert!(tree.root.join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn directories_stay_though_they_are_empty_then() {
        let tree = tree();
        assert_eq!(purge(&tree, "elsewhere").unwrap(), 1);
        assert!(tree.root.join("elsewhere/00").exists() && !tree.root.join("elsewhere/00/a_6").exists());
        // Another time there is nothing to do.
        assert_eq!(purge(&tree, "elsewhere").unwrap(), 0);
        assert_eq!(purge(&tree, "not-there").unwrap(), 0);
    }

    #[test]
    fn a_root_itself_is_purged_by_both_ways_of_confinement() {
        let detected = tree().roots.disks()[0].confinement().unwrap();
        for confinement in [detected, Confinement::Walk] {
            let Tree { roots, root, _temp } = tree();
            let tree = Tree { roots: roots.with_confinement(confinement), root: root.clone(), _temp };
            fs::create_dir(root.join("00")).unwrap();
            fs::write(root.join("00/a_7"), "x").unwrap();
            assert_eq!(purge(&tree, "").unwrap(), 1, "{confinement:?}");
            assert!(!root.join("00/a_7").exists() && root.join("m/00/a_1").exists());
        }
    }

    #[test]
    fn a_directory_that_became_a_link_is_refused() {
        let tree = tree();
        let dir = tree.roots.accept(&OnLane::here(), tree.root.join("m").to_str().unwrap()).unwrap();
        fs::rename(tree.root.join("m"), tree.root.join("n")).unwrap();
        symlink(tree.root.join("n"), tree.root.join("m")).unwrap();
        let refused = tree.roots.purge(&OnLane::here(), &dir, |_| true);
        assert!(matches!(refused, Err(OpenError::Escapes { .. })), "{refused:?}");
        assert!(tree.root.join("n/00/a_1").exists());
    }
}
