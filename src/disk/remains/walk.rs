//! A block directory, walked in steps: counted, or removed.
//!
//! A step looks at so many names and no more, and the next one goes on where it stopped, so that the lane of the disk
//! serves others in between. What is removed is removed as it is read. Linux goes on behind an entry that was removed;
//! should a file system miss one all the same, the directory is not empty then, and is walked again.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::{OnLane, Resident};
use sealed_shuffle_transport::region::ShownPath;

use super::names::{is_block_dir, is_block_file, is_served, is_sub_dir};
use crate::confined::{OpenFailure, open_directory_in};
use crate::disk::device::Disk;
use crate::disk::open_error::OpenError;
use crate::disk::root::{LocalDir, Roots};

/// Sub-directories that are walked; Spark makes 64. Further ones stay.
const MOST_SUB_DIRS: usize = 4096;

/// Names of things that stay which are kept for the log.
const EXAMPLES: usize = 3;

/// Walks through a directory in which something is left though all was removed.
const ROUNDS: u32 = 3;

/// What a walk is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Counting what would be removed.
    Count(Selection),
    /// Removing it.
    Remove(Selection),
}

/// Which files of Spark's are removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Selection {
    /// All of them, and the directories when they are empty then.
    All,
    /// Those that no shuffle service serves, and no directory.
    NotServed {
        /// Whether RDD blocks are served.
        serves_rdd: bool,
    },
}

impl Purpose {
    const fn removed(self) -> Selection {
        match self {
            Self::Count(removed) | Self::Remove(removed) => removed,
        }
    }
}

/// What a walk came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Files that were removed, or counted.
    pub files: u64,
    /// Bytes that they take on the disk; a file with a further name frees none.
    pub bytes: u64,
    /// Directories that were removed.
    pub directories: u64,
    /// Things that are not Spark's: they stay.
    pub kept: u64,
    /// Names of some of them.
    pub examples: Vec<String>,
    /// When something was last written there, in seconds since 1970.
    pub newest: i64,
}

impl Tally {
    /// The same with what `other` has come to.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.directories += other.directories;
        self.kept += other.kept;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
        self.newest = self.newest.max(other.newest);
    }

    fn keep(&mut self, name: &CStr) {
        self.kept += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(name.to_string_lossy().into_owned());
        }
    }

    fn saw(&mut self, stat: &Stat) {
        self.newest = self.newest.max(stat.st_mtime);
    }
}

/// Whether a walk is at its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is not.
    More,
    /// It is.
    Done,
}

/// A walk through one block directory. It holds at most two descriptors, and none before the first step.
#[derive(Debug)]
pub struct Walk {
    dir: LocalDir,
    purpose: Purpose,
    /// A walk ends where it meets something that was written after that.
    until: Option<i64>,
    begun: Option<OpenWalk>,
    tally: Tally,
}

#[derive(Debug)]
struct OpenWalk {
    dir: Resident<OwnedFd>,
    device: u64,
    waiting: Vec<CString>,
    sub: Option<Sub>,
}

#[derive(Debug)]
struct Sub {
    name: CString,
    entries: Resident<Dir>,
    kept: u64,
    /// Walks through it so far.
    rounds: u32,
}

impl Walk {
    /// A walk through `dir`. `None` where it is no block directory by its name.
    pub fn new(dir: LocalDir, purpose: Purpose) -> Option<Self> {
        is_block_dir(dir.name()).then(|| Self {
            dir,
            purpose,
            until: None,
            begun: None,
            tally: Tally::default(),
        })
    }

    /// The same that ends as soon as it meets something that was written after `until`, in seconds since 1970.
    pub fn until_newer(self, until: i64) -> Self {
        Self { until: Some(until), ..self }
    }

    /// The directory.
    pub fn dir(&self) -> &LocalDir {
        &self.dir
    }

    /// What it has come to so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether something was met that was written too late.
    pub fn met_newer(&self) -> bool {
        self.until.is_some_and(|until| self.tally.newest > until)
    }

    /// Looks at about `names` further names. A directory that is not there is done. An error ends the walk for now: what
    /// was removed is removed, and another walk does the rest.
    pub fn step(&mut self, on: &OnLane, roots: &Roots, names: usize) -> Result<Step, OpenError> {
        match self.try_step(on, roots.disk(&self.dir), names) {
            Ok(step) => Ok(step),
            Err(OpenFailure::Errno(Errno::NOENT)) => Ok(Step::Done),
            Err(failure) => {
                self.begun = None;
                Err(failure.at(ShownPath::new(self.dir.text())))
            }
        }
    }

    fn try_step(&mut self, on: &OnLane, disk: &Disk, names: usize) -> Result<Step, OpenFailure> {
        if self.begun.is_none() {
            self.begun = Some(self.begin(on, disk)?);
        }
        let mut left = names.max(1);
        while left > 0 && !self.met_newer() {
            let Some(begun) = &mut self.begun else { return Ok(Step::Done) };
            if begun.sub.is_none() {
                let Some(name) = begun.waiting.pop() else { return self.finish(on, disk) };
                left -= 1;
                begun.sub = open_sub(on, disk, begun, name, &mut self.tally)?;
                continue;
            }
            let Some(sub) = &mut begun.sub else { continue };
            match sub.entries.read() {
                Some(entry) => {
                    left -= 1;
                    let entry = entry?;
                    let name = entry.file_name();
                    if !matches!(name.to_bytes(), b"." | b"..") {
                        visit(sub, name.to_owned().as_c_str(), self.purpose, &mut self.tally)?;
                    }
                }
                None => {
                    let again = self.end_sub()?;
                    if let (Some(begun), Some(sub)) = (&mut self.begun, again) {
                        begun.sub = Some(sub);
                    }
                }
            }
        }
        Ok(if self.met_newer() { Step::Done } else { Step::More })
    }

    /// Opens the directory, and reads which sub-directories there are.
    fn begin(&mut self, on: &OnLane, disk: &Disk) -> Result<OpenWalk, OpenFailure> {
        let dir = disk.open_directory_here(on, self.dir.relative())?;
        let stat = rustix::fs::fstat(&dir)?;
        self.tally.saw(&stat);
        let mut waiting = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_sub = name.to_str().is_ok_and(is_sub_dir);
            match name.to_bytes() {
                b"." | b".." => {}
                _ if is_sub && waiting.len() < MOST_SUB_DIRS => waiting.push(name.to_owned()),
                _ => self.tally.keep(name),
            }
        }
        Ok(OpenWalk { dir, device: stat.st_dev, waiting, sub: None })
    }

    /// A sub-directory is read to its end: it goes where it is empty now. Answers it where it is to be walked again.
    fn end_sub(&mut self) -> Result<Option<Sub>, OpenFailure> {
        let Some(begun) = &mut self.begun else { return Ok(None) };
        let Some(mut sub) = begun.sub.take() else { return Ok(None) };
        if self.purpose != Purpose::Remove(Selection::All) || sub.kept > 0 {
            return Ok(None);
        }
        match rustix::fs::unlinkat(&begun.dir, &sub.name, AtFlags::REMOVEDIR) {
            Ok(()) => self.tally.directories += 1,
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if sub.rounds < ROUNDS => {
                sub.rounds += 1;
                sub.entries.rewind();
                return Ok(Some(sub));
            }
            // Somebody goes on writing there.
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.tally.keep(&sub.name),
            Err(errno) => return Err(errno.into()),
        }
        Ok(None)
    }

    /// All sub-directories are done: the directory itself goes where it is empty.
    fn finish(&mut self, on: &OnLane, disk: &Disk) -> Result<Step, OpenFailure> {
        self.begun = None;
        if self.purpose != Purpose::Remove(Selection::All) || self.tally.kept > 0 {
            return Ok(Step::Done);
        }
        let (parent, name) =
            self.dir.relative().rsplit_once('/').unwrap_or_else(|| (".", self.dir.relative()));
        match disk.remove_directory(on, parent, name) {
            Ok(()) => self.tally.directories += 1,
            Err(OpenFailure::Errno(Errno::NOENT)) => {}
            Err(OpenFailure::Errno(Errno::NOTEMPTY | Errno::EXIST)) => {
                self.tally.kept += 1;
            }
            Err(failure) => return Err(failure),
        }
        Ok(Step::Done)
    }
}

/// Opens a sub-directory; `None` where it is none that Spark made.
fn open_sub(
    on: &OnLane,
    disk: &Disk,
    begun: &OpenWalk,
    name: CString,
    tally: &mut Tally,
) -> Result<Option<Sub>, OpenFailure> {
    let opened = match open_directory_in(on, begun.dir.as_fd(), &name) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(None),
        // A link or a file.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            tally.keep(&name);
            return Ok(None);
        }
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&opened)?;
    tally.saw(&stat);
    if stat.st_dev != begun.device {
        tally.keep(&name);
        return Ok(None);
    }
    Ok(Some(Sub { name, entries: disk.resident(Dir::new(opened)?), kept: 0, rounds: 0 }))
}

fn visit(sub: &mut Sub, name: &CStr, purpose: Purpose, tally: &mut Tally) -> Result<(), OpenFailure> {
    let dir = sub.entries.fd()?;
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let text = name.to_str().ok().filter(|name| is_file && is_block_file(name));
    let Some(text) = text else {
        // A walk that is done again has counted it already.
        if sub.rounds == 0 {
            sub.kept += 1;
            tally.keep(name);
        }
        return Ok(());
    };
    tally.saw(&stat);
    if let Selection::NotServed { serves_rdd } = purpose.removed()
        && is_served(text, serves_rdd)
    {
        return Ok(());
    }
    if let Purpose::Remove(_) = purpose {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    tally.files += 1;
    if stat.st_nlink <= 1 {
        tally.bytes += u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    }
    Ok(())
}
