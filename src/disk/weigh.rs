//! How large files of certain names are in a directory that Spark laid out.
//!
//! It looks where [`purge`](super::purge) looks.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;

use super::device::Disk;
use super::purge::{entries, is_sub_dir};
use super::root::{LocalDir, Roots};
use crate::confined::{OpenFailure, READ_DIRECTORY};

/// A disk that takes longer is not waited for.
const WEIGH: Duration = Duration::from_secs(10);

impl Roots {
    /// The files beneath `dir` whose names `is_meant` says, and their lengths; `None` where the disk does not say, or in time.
    pub fn weigh(
        &self,
        on: &OnLane,
        dir: &LocalDir,
        is_meant: impl Fn(&str) -> bool + Send + 'static,
    ) -> Option<Vec<(String, u64)>> {
        let disk = self.shared_disk(dir)?;
        let (of, path) = (Arc::clone(disk), dir.relative().to_owned());
        disk.ask(on, WEIGH, move |on| of.weigh(on, &path, &is_meant)).ok()?.ok()
    }
}

impl Disk {
    fn weigh(
        &self,
        on: &OnLane,
        path: &str,
        is_meant: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(String, u64)>, OpenFailure> {
        let open = self.open_directory(on, if path.is_empty() { "." } else { path })?;
        let mut found = Vec::new();
        for (name, _) in entries(&open)? {
            if !is_sub_dir(&name) {
                continue;
            }
            let flags = READ_DIRECTORY | OFlags::NOFOLLOW;
            // A link, a file, or gone: nothing that Spark made.
            let Ok(sub) = rustix::fs::openat(open.as_fd(), &name, flags, Mode::empty()) else { continue };
            for (name, kind) in entries(&sub)? {
                let Some(name) = name.to_str().ok().filter(|name| is_meant(name)) else { continue };
                if kind == FileType::Directory {
                    continue;
                }
                on.progress();
                match rustix::fs::statat(&sub, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => found.push((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0))),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(found)
    }
}
