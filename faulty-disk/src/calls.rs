//! The calls of the kernel. Each is judged by the faults first, and then done in the directory behind the disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::faults::{Faults, Operation};
use crate::record::{Record, Told};
use crate::tree::Tree;

/// Nothing is remembered by the kernel.
const NOW: Duration = Duration::ZERO;

pub(crate) struct PassThrough {
    tree: Arc<Tree>,
    faults: Arc<Faults>,
    record: Arc<Record>,
}

/// Judges a call, does it, and answers: with what `$good` makes of the result, or with the error.
macro_rules! pass {
    ($self:ident, $operation:ident, $reply:ident, |$tree:ident| $work:expr, |$done:pat_param| $good:expr) => {{
        let $tree = Arc::clone(&$self.tree);
        $self.faults.pass(Operation::$operation, move |failed| {
            let work = || -> Result<_, Errno> { Ok($work) };
            match failed.map_or_else(work, Err) {
                Ok($done) => $good,
                Err(error) => $reply.error(error),
            }
        });
    }};
}

impl PassThrough {
    pub(crate) fn new(backing: &Path, faults: Arc<Faults>, record: Arc<Record>) -> Self {
        Self { tree: Arc::new(Tree::new(backing)), faults, record }
    }
}

impl Filesystem for PassThrough {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        pass!(self, LookUp, reply, |tree| tree.look(&tree.child(parent, &name)?)?, |attr| reply.entry(
            &NOW,
            &attr,
            Generation(0)
        ));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        pass!(self, Attributes, reply, |tree| tree.attributes(ino, fh)?, |attr| reply.attr(&NOW, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        pass!(
            self,
            Write,
            reply,
            |tree| {
                if let Some(mode) = mode {
                    fs::set_permissions(tree.path(ino)?, Permissions::from_mode(mode & 0o7777))?;
                }
                if let Some(size) = size {
                    match fh {
                        Some(fh) => tree.file(fh)?.set_len(size)?,
                        None => OpenOptions::new().write(true).open(tree.path(ino)?)?.set_len(size)?,
                    }
                }
                tree.attributes(ino, fh)?
            },
            |attr| reply.attr(&NOW, &attr)
        );
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = name.to_owned();
        pass!(
            self,
            Open,
            reply,
            |tree| {
                let path = tree.child(parent, &name)?;
                fs::DirBuilder::new().mode(mode & !umask & 0o7777).create(&path)?;
                tree.look(&path)?
            },
            |attr| reply.entry(&NOW, &attr, Generation(0))
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        pass!(self, Unlink, reply, |tree| tree.remove(parent, &name, fs::remove_file)?, |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        pass!(self, Unlink, reply, |tree| tree.remove(parent, &name, fs::remove_dir)?, |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        pass!(
            self,
            Open,
            reply,
            |tree| {
                let (from, to) = (tree.child(parent, &name)?, tree.child(new_parent, &new_name)?);
                fs::rename(&from, &to)?;
                tree.moved(&from, &to);
            },
            |()| reply.ok()
        );
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        pass!(
            self,
            Open,
            reply,
            |tree| {
                let mut options = OpenOptions::new();
                match flags.acc_mode() {
                    OpenAccMode::O_RDONLY => options.read(true),
                    OpenAccMode::O_WRONLY => options.write(true),
                    OpenAccMode::O_RDWR => options.read(true).write(true),
                };
                tree.opened(ino.0, options.open(tree.path(ino)?)?)
            },
            |handle| reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO)
        );
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.to_owned();
        pass!(
            self,
            Open,
            reply,
            |tree| {
                let path = tree.child(parent, &name)?;
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).mode(mode & !umask & 0o7777);
                let is_new = rustix::fs::OFlags::from_bits_retain(flags.unsigned_abs())
                    .contains(rustix::fs::OFlags::EXCL);
                let file = options.create(true).create_new(is_new).truncate(false).open(&path)?;
                let attr: FileAttr = tree.look(&path)?;
                let handle = tree.opened(attr.ino.0, file);
                (attr, handle)
            },
            |(attr, handle)| reply.created(&NOW, &attr, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO)
        );
    }

    fn read(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        pass!(
            self,
            Read,
            reply,
            |tree| {
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                let mut filled = 0;
                let file = tree.file(fh)?;
                while filled < bytes.len() {
                    match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                        0 => break,
                        n => filled += n,
                    }
                }
                bytes.truncate(filled);
                bytes
            },
            |bytes| reply.data(&bytes)
        );
    }

    fn write(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_owned();
        let record = Arc::clone(&self.record);
        pass!(
            self,
            Write,
            reply,
            |tree| {
                tree.file(fh)?.write_all_at(&data, offset)?;
                let written = u32::try_from(data.len()).unwrap_or(u32::MAX);
                record.add(|| Told::Write { offset, bytes: data });
                written
            },
            |written| reply.written(written)
        );
    }

    fn flush(&self, _: &Request, _ino: INodeNo, _fh: FileHandle, _lock: LockOwner, reply: ReplyEmpty) {
        pass!(self, Close, reply, |_tree| (), |()| reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.closed(ino, fh);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let record = Arc::clone(&self.record);
        pass!(
            self,
            Fsync,
            reply,
            |tree| {
                tree.file(fh)?.sync_all()?;
                record.add(|| Told::Flush);
            },
            |()| reply.ok()
        );
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        pass!(self, Fsync, reply, |tree| File::open(tree.path(ino)?)?.sync_all()?, |()| reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        pass!(
            self,
            ReadDir,
            reply,
            |tree| {
                let mut entries =
                    vec![(ino, FileType::Directory, ".".into()), (ino, FileType::Directory, "..".into())];
                for entry in fs::read_dir(tree.path(ino)?)? {
                    let entry = entry?;
                    let attr = tree.look(&entry.path())?;
                    entries.push((attr.ino, attr.kind, entry.file_name()));
                }
                entries
            },
            |entries| {
                let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
                for (at, (number, kind, name)) in entries.into_iter().enumerate().skip(skipped) {
                    if reply.add(number, at as u64 + 1, kind, &name) {
                        break;
                    }
                }
                reply.ok();
            }
        );
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        pass!(
            self,
            LookUp,
            reply,
            |tree| {
                let path = tree.path(ino)?;
                rustix::fs::statvfs(&path).map_err(|errno| Errno::from_i32(errno.raw_os_error()))?
            },
            |stat| reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                4096,
                255,
                u32::try_from(stat.f_frsize).unwrap_or(4096)
            )
        );
    }

    fn access(&self, _: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}
