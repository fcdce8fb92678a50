//! Numbers of files, and where each lies in the directory behind the disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo};

/// The files that the kernel knows of.
pub(crate) struct Tree(Mutex<Known>);

struct Known {
    paths: HashMap<u64, PathBuf>,
    numbers: HashMap<PathBuf, u64>,
    /// By number: what is open, so that a file without a name still has attributes.
    open: HashMap<u64, Arc<File>>,
    handles: HashMap<u64, Arc<File>>,
    next: u64,
}

impl Tree {
    pub(crate) fn new(root: &Path) -> Self {
        let (paths, numbers) = (HashMap::from([(1, root.to_owned())]), HashMap::from([(root.to_owned(), 1)]));
        Self(Mutex::new(Known { paths, numbers, open: HashMap::new(), handles: HashMap::new(), next: 2 }))
    }

    pub(crate) fn path(&self, number: INodeNo) -> Result<PathBuf, Errno> {
        self.known().paths.get(&number.0).cloned().ok_or(Errno::ENOENT)
    }

    pub(crate) fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    /// What lies at a path.
    pub(crate) fn look(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = path.symlink_metadata()?;
        let known = &mut *self.known();
        let number = *known.numbers.entry(path.to_owned()).or_insert_with(|| {
            known.next += 1;
            known.paths.insert(known.next, path.to_owned());
            known.next
        });
        Ok(attributes(number, &metadata))
    }

    /// What a file is, with a name or open.
    pub(crate) fn attributes(&self, number: INodeNo, handle: Option<FileHandle>) -> Result<FileAttr, Errno> {
        let known = self.known();
        let path = known.paths.get(&number.0).cloned();
        let open =
            handle.and_then(|handle| known.handles.get(&handle.0)).or_else(|| known.open.get(&number.0));
        let open = open.cloned();
        drop(known);
        let metadata = match (path, open) {
            (Some(path), _) => path.symlink_metadata()?,
            (None, Some(open)) => open.metadata()?,
            (None, None) => return Err(Errno::ENOENT),
        };
        Ok(attributes(number.0, &metadata))
    }

    pub(crate) fn opened(&self, number: u64, file: File) -> FileHandle {
        let known = &mut *self.known();
        known.next += 1;
        let file = Arc::new(file);
        known.open.insert(number, Arc::clone(&file));
        known.handles.insert(known.next, file);
        FileHandle(known.next)
    }

    pub(crate) fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        self.known().handles.get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn closed(&self, number: INodeNo, handle: FileHandle) {
        let known = &mut *self.known();
        known.handles.remove(&handle.0);
        known.open.remove(&number.0);
    }

    /// Removes what is called `name` in `parent`, as `remove` does.
    pub(crate) fn remove(
        &self,
        parent: INodeNo,
        name: &OsStr,
        remove: fn(PathBuf) -> io::Result<()>,
    ) -> Result<(), Errno> {
        let path = self.child(parent, name)?;
        remove(path.clone())?;
        self.removed(&path);
        Ok(())
    }

    /// Nothing bears this name any more.
    fn removed(&self, path: &Path) {
        let known = &mut *self.known();
        if let Some(number) = known.numbers.remove(path) {
            known.paths.remove(&number);
        }
    }

    /// What lay at `from`, with all beneath it, lies at `to`.
    pub(crate) fn moved(&self, from: &Path, to: &Path) {
        self.removed(to);
        let known = &mut *self.known();
        for (number, path) in &mut known.paths {
            if let Ok(below) = path.strip_prefix(from) {
                known.numbers.remove(path);
                *path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
                known.numbers.insert(path.clone(), *number);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attributes(number: u64, metadata: &Metadata) -> FileAttr {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () => FileType::RegularFile,
    };
    FileAttr {
        ino: INodeNo(number),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(metadata.permissions().mode() & 0o7777).unwrap_or(0o700),
        nlink: u32::try_from(metadata.nlink()).unwrap_or(1),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn time(seconds: i64, nanos: i64) -> SystemTime {
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(part(seconds)) + Duration::from_nanos(part(nanos))
}
