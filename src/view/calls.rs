//! The calls of the kernel. None of them waits here: the thread that takes them serves everybody.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs,
    ReplyXattr, Request,
};
use tokio::runtime::Handle;

use super::files::{Attributes, OpenFile, View, ViewError, Wanted};
use super::names::Entry;
use super::nodes::Nodes;

/// How long the kernel may remember names and what they stand for. Who opens a file is asked about every time.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Most files that are open at once.
const MOST_OPEN: usize = 16_384;

/// What calls need, and the view once there is one.
#[derive(Debug)]
pub(super) struct Stage {
    view: OnceLock<(Arc<View>, Handle)>,
    nodes: Mutex<Nodes>,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    next: AtomicU64,
    began: SystemTime,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            view: OnceLock::new(),
            nodes: Mutex::default(),
            files: Mutex::default(),
            next: AtomicU64::new(1),
            began: SystemTime::now(),
        }
    }

    /// From now on this is shown; before, nothing was there. Calls run on the runtime at hand.
    pub(super) fn show(&self, view: Arc<View>) {
        // There is one view.
        _ = self.view.set((view, Handle::current()));
    }

    pub(super) fn view(&self) -> Option<&Arc<View>> {
        self.view.get().map(|(view, _)| view)
    }

    pub(super) fn open_files(&self) -> usize {
        self.files().len()
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, number: INodeNo) -> Option<Entry> {
        self.nodes().entry(number.0)
    }

    fn attr(&self, number: u64, attributes: Attributes) -> FileAttr {
        let Attributes { owner, len } = attributes;
        let (kind, perm) = match (len, number) {
            (Some(_), _) => (FileType::RegularFile, 0o400),
            // Everybody gets to the directory of his application.
            (None, super::nodes::ROOT) => (FileType::Directory, 0o711),
            (None, _) => (FileType::Directory, 0o500),
        };
        let size = len.unwrap_or(0);
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: self.began,
            mtime: self.began,
            ctime: self.began,
            crtime: self.began,
            kind,
            perm,
            nlink: 1,
            uid: owner,
            gid: 0,
            rdev: 0,
            blksize: 128 << 10,
            flags: 0,
        }
    }
}

fn errno(error: ViewError) -> Errno {
    match error {
        ViewError::Missing => Errno::ENOENT,
        ViewError::Denied => Errno::EACCES,
        ViewError::Failed => Errno::EIO,
    }
}

#[derive(Debug)]
pub(super) struct Calls(pub(super) Arc<Stage>);

impl Filesystem for Calls {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Nothing is written; the memory of a request is what a read takes.
        config.set_max_write(128 << 10).ok();
        config.set_max_background(64).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let stage = Arc::clone(&self.0);
        let (Some((view, runtime)), Some(parent), Some(name)) =
            (stage.view.get(), stage.entry(parent), name.to_str())
        else {
            return reply.error(Errno::ENOENT);
        };
        let (view, name, stage) = (Arc::clone(view), name.to_owned(), Arc::clone(&stage));
        runtime.spawn(async move {
            match view.look_up(&parent, &name).await {
                Ok((entry, attributes)) => {
                    let told = stage.nodes().tell(&entry);
                    match told {
                        Some(number) => {
                            reply.entry(&REMEMBERED, &stage.attr(number, attributes), Generation(0));
                        }
                        None => reply.error(Errno::ENOMEM),
                    }
                }
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn forget(&self, _: &Request, number: INodeNo, answers: u64) {
        self.0.nodes().forget(number.0, answers);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let stage = Arc::clone(&self.0);
        let Some(entry) = stage.entry(number) else { return reply.error(Errno::ESTALE) };
        let of_root = Attributes { owner: 0, len: None };
        let Some((view, runtime)) = stage.view.get().filter(|_| entry != Entry::Root) else {
            return match entry {
                Entry::Root => reply.attr(&REMEMBERED, &stage.attr(number.0, of_root)),
                _ => reply.error(Errno::ENOENT),
            };
        };
        let (view, stage) = (Arc::clone(view), Arc::clone(&stage));
        runtime.spawn(async move {
            match view.attributes(&entry).await {
                Ok(attributes) => reply.attr(&REMEMBERED, &stage.attr(number.0, attributes)),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn open(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let (stage, user) = (Arc::clone(&self.0), request.uid());
        let (Some((view, runtime)), Some(entry)) = (stage.view.get(), stage.entry(number)) else {
            return reply.error(Errno::ENOENT);
        };
        let (view, stage) = (Arc::clone(view), Arc::clone(&stage));
        runtime.spawn(async move {
            let file = match view.open(&entry, user).await {
                Ok(file) => file,
                Err(error) => return reply.error(errno(error)),
            };
            let handle = stage.next.fetch_add(1, Ordering::Relaxed);
            let is_full = {
                let mut files = stage.files();
                let is_full = files.len() >= MOST_OPEN;
                if !is_full {
                    files.insert(handle, file);
                }
                is_full
            };
            match is_full {
                // What is finalized never changes: pages that the kernel has are good.
                false => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
                true => reply.error(Errno::ENFILE),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = self.0.files().get(&handle.0).cloned();
        let (Some((view, runtime)), Some(file)) = (self.0.view.get(), file) else {
            return reply.error(Errno::EIO);
        };
        let answer = move |read: Result<&[u8], ViewError>| match read {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(errno(error)),
        };
        if file.ask(Wanted { offset, len: size as usize, answer: Box::new(answer) }) {
            let view = Arc::clone(view);
            runtime.spawn(async move { view.work_off(&file).await });
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let file = self.0.files().remove(&handle.0);
        if let (Some(file), Some((view, runtime))) = (file, self.0.view.get()) {
            let view = Arc::clone(view);
            // On a thread of the runtime, where descriptors find the way to their lane.
            runtime.spawn(async move { view.close(&file) });
        }
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    /// Names are not listed: executors know them, and nobody else needs to.
    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, name) in [".", ".."].into_iter().enumerate().skip(skipped) {
            if reply.add(number, at as u64 + 1, FileType::Directory, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    // What follows is not there. The kernel does not ask again, and nobody can fill the log by asking.

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
