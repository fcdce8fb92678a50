//! The directories that lie beside a directory, and are of the same user.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType};
use sealed_shuffle_transport::lane::OnLane;

use super::device::{Disk, GUEST};
use super::root::{LocalDir, Roots};
use crate::confined::OpenFailure;

impl Roots {
    /// The number that `number_of` gives to a name, of the directories that lie beside `dir` and are of the same user: the
    /// greatest. `None` where there is no such directory, or the disk does not say in time.
    pub fn greatest_beside(
        &self,
        on: &OnLane,
        dir: &LocalDir,
        number_of: impl Fn(&str) -> Option<i32> + Send + 'static,
    ) -> Option<i32> {
        let disk = self.shared_disk(dir)?;
        let (of, path) = (Arc::clone(disk), dir.relative().to_owned());
        disk.ask(on, GUEST, move |on| of.greatest_beside(on, &path, &number_of)).ok()?.ok()?
    }
}

impl Disk {
    fn greatest_beside(
        &self,
        on: &OnLane,
        path: &str,
        number_of: &dyn Fn(&str) -> Option<i32>,
    ) -> Result<Option<i32>, OpenFailure> {
        // Nothing lies beside the root.
        if path.is_empty() {
            return Ok(None);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = self.open_directory(on, parent)?;
        let stat = |name: &CStr| rustix::fs::statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        let owner = rustix::fs::statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
        let mut greatest = None;
        // Names are counted off one by one: a directory may have any number of them.
        for entry in Dir::read_from(&*parent)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().ok().and_then(number_of);
            let is_meant = greatest < number
                && stat(name).is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == owner
                });
            if is_meant {
                greatest = number;
            }
            on.progress();
        }
        Ok(greatest)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn only_directories_of_the_same_user_count() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        for dir in ["app/merge_1", "app/merge_2", "app/merge_10", "app/merge_x", "app/other_30", "merge_40"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("app/merge_50"), "").unwrap();
        symlink(root.join("app/merge_1"), root.join("app/merge_60")).unwrap();
        let roots = Roots::open([&root]).unwrap();
        let on = OnLane::here();
        let number = |name: &str| name.strip_prefix("merge_")?.parse().ok();
        let greatest = |dir: &str| {
            let path = root.join(dir);
            let dir = roots.accept(&on, path.to_str().unwrap()).unwrap();
            roots.greatest_beside(&on, &dir, number)
        };
        assert_eq!(greatest("app/merge_1"), Some(10));
        assert_eq!(greatest("merge_40"), Some(40));
        assert_eq!(greatest("away/merge_1"), None);
        // Only root may give a directory to somebody else.
        if rustix::process::geteuid().is_root() {
            chown(root.join("app/merge_10"), Some(1), None).unwrap();
            assert_eq!(greatest("app/merge_1"), Some(2));
        }
    }
}
