//! Tells how everything beneath some directories is protected.
//!
//! Directories are walked one entry at a time, relative to their own handles, and no symbolic link is followed.
//! Memory does not grow with the number of files: it holds one entry for each owner ([`MOST_OWNERS`] at most). The
//! scan judges the files of block managers: files with one of Spark's names, and everything in the sub-directories of
//! `blockmgr-…` and `merge_manager…`. Other files (jars, logs, staging) are counted and not judged, since every jar
//! would be readable. Files and directories that cannot be judged are reported as the scan meets them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{io, mem};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::beside;
use super::content::{self, Content, Protection, Reason};
use super::mark::Mark;
use super::name::{Kind, SparkName};
use super::owner::Owner;

/// Most partitions of one data file that are sampled, evenly spread.
pub const PARTITIONS: u64 = 16;

/// Most owners that are counted apart; the files of further ones are counted together.
pub const MOST_OWNERS: usize = 10_000;

/// Most directories beneath each other that are followed. Block managers need six.
const DEEPEST: usize = 64;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Number of files.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The files of one owner, by how they are protected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tally {
    /// This project's server sealed them.
    pub sealed: Count,
    /// They are consistent with `spark.io.encryption`.
    pub encrypted: Count,
    /// Everybody who can read the file can read its content.
    pub readable: Count,
    /// The sample does not decide.
    pub cannot_tell: Count,
    /// Index, checksum and meta files of Spark. They hold no data, and Spark never encrypts them.
    pub metadata: Count,
    /// Files that are not of a block manager. They are not judged.
    pub other: Count,
    /// Number of readable files for each mark.
    pub marks: BTreeMap<Mark, u64>,
    /// One of the readable files.
    pub example: Option<PathBuf>,
}

/// The result of a scan.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Scan {
    /// By owner.
    pub owners: BTreeMap<Owner, Tally>,
    /// The files of owners beyond [`MOST_OWNERS`].
    pub further: Option<Box<Tally>>,
    /// Number of files and directories that could not be read, or only in part.
    pub failures: u64,
    /// Number of symbolic links. None was followed.
    pub links: u64,
    /// Number of files that were deleted during the scan.
    pub vanished: u64,
    /// Number of data files whose index was not found: only their beginning was sampled.
    pub without_index: u64,
    /// Number of files seen.
    pub files: u64,
}

impl Scan {
    /// The sum over all owners.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.owners.values().chain(self.further.as_deref()) {
            for (sum, part) in [
                (&mut total.sealed, tally.sealed),
                (&mut total.encrypted, tally.encrypted),
                (&mut total.readable, tally.readable),
                (&mut total.cannot_tell, tally.cannot_tell),
                (&mut total.metadata, tally.metadata),
                (&mut total.other, tally.other),
            ] {
                sum.files += part.files;
                sum.bytes += part.bytes;
            }
            for (mark, files) in &tally.marks {
                *total.marks.entry(*mark).or_default() += files;
            }
            total.example = mem::take(&mut total.example).or_else(|| tally.example.clone());
        }
        total
    }
}

/// Receives reports while the scan runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// One more file was counted.
    Counted(u64),
    /// This path could not be read, or only in part.
    Failed(&'a Path, &'a str),
}

/// Scans `roots`, none of which lies in another.
pub fn scan(roots: &[PathBuf], on: &mut dyn FnMut(Event<'_>)) -> Scan {
    let mut walk = Walk { scan: Scan::default(), on, root: Path::new("") };
    for root in roots {
        walk.root = root;
        walk.all(root);
    }
    walk.scan
}

struct Walk<'w> {
    scan: Scan,
    on: &'w mut dyn FnMut(Event<'_>),
    root: &'w Path,
}

impl Walk<'_> {
    fn all(&mut self, root: &Path) {
        let mut stack = Vec::new();
        match openat(CWD, root, DIRECTORY, Mode::empty()).and_then(|fd| Level::new(fd, root.to_owned())) {
            Ok(level) => stack.push(level),
            Err(errno) => self.failed(root, errno),
        }
        loop {
            let depth = stack.len();
            let Some(level) = stack.last_mut() else { break };
            let Some(entry) = level.entries.read() else {
                stack.pop();
                continue;
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    let path = level.path.clone();
                    self.failed(&path, errno);
                    stack.pop();
                    continue;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = level.path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            match level.kind_of(name, entry.file_type()) {
                Ok(FileType::Directory) if depth >= DEEPEST => {
                    self.told(&path, "too many directories beneath each other");
                }
                Ok(FileType::Directory) => match level.enter(name, &path) {
                    Ok(below) => stack.push(below),
                    Err(errno) => self.failed(&path, errno),
                },
                Ok(FileType::RegularFile) => {
                    if let Err(error) = self.file(&level.dir, name, &path) {
                        self.failed_io(&path, &error);
                    }
                }
                Ok(FileType::Symlink) => self.scan.links += 1,
                Ok(_) => self.tally(&path, None).other.add(0),
                Err(errno) => self.failed(&path, errno),
            }
        }
    }

    fn file(&mut self, dir: &OwnedFd, name: &CStr, path: &Path) -> io::Result<()> {
        let parsed = name.to_str().ok().and_then(SparkName::parse);
        if parsed.is_none() && !is_of_block_manager(path) {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            self.tally(path, None).other.add(size);
            return Ok(());
        }
        let file = File::from(openat(dir, name, FILE, Mode::empty())?);
        let stat = file.metadata()?;
        if !stat.is_file() {
            return Ok(());
        }
        let content = self.content(&file, parsed.as_ref(), path)?;
        let is_metadata = parsed.as_ref().is_some_and(|name| name.kind.is_metadata());
        let tally = self.tally(path, parsed.as_ref());
        match content.protection {
            Protection::Sealed(_) => tally.sealed.add(stat.len()),
            _ if is_metadata => tally.metadata.add(stat.len()),
            Protection::LikelyEncrypted(_) => tally.encrypted.add(stat.len()),
            Protection::CannotTell(..) => tally.cannot_tell.add(stat.len()),
            Protection::Empty => tally.other.add(0),
            Protection::Readable(_) => {
                tally.readable.add(stat.len());
                for mark in content.marks.keys() {
                    *tally.marks.entry(*mark).or_default() += 1;
                }
                tally.example.get_or_insert_with(|| path.to_owned());
            }
        }
        Ok(())
    }

    fn content(&mut self, file: &File, name: Option<&SparkName>, path: &Path) -> io::Result<Content> {
        let Some(name) = name.filter(|name| name.kind == Kind::Data && !name.temporary) else {
            return of_beginning(file, name);
        };
        let wanted = name.sibling("index");
        let open = |path: PathBuf| openat(CWD, &path, FILE, Mode::empty()).ok().map(File::from);
        let Some(index) = beside::candidates(path, &wanted, &[]).find_map(open) else {
            self.scan.without_index += 1;
            return content::of_beginning(file);
        };
        match content::of_partitions(file, &index, PARTITIONS) {
            Ok(content) => Ok(content),
            Err(error) => {
                self.told(path, &format!("only its beginning was looked at: {error}"));
                content::of_beginning(file)
            }
        }
    }

    fn tally(&mut self, path: &Path, name: Option<&SparkName>) -> &mut Tally {
        self.scan.files += 1;
        (self.on)(Event::Counted(self.scan.files));
        let owner = Owner::of(path, name, self.root);
        let is_known = self.scan.owners.contains_key(&owner);
        if !is_known && self.scan.owners.len() >= MOST_OWNERS {
            return self.scan.further.get_or_insert_default();
        }
        self.scan.owners.entry(owner).or_default()
    }

    fn failed(&mut self, path: &Path, errno: Errno) {
        self.failed_io(path, &errno.into());
    }

    fn failed_io(&mut self, path: &Path, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound && path != self.root {
            self.scan.vanished += 1;
            return;
        }
        self.told(path, &error.to_string());
    }

    fn told(&mut self, path: &Path, why: &str) {
        self.scan.failures += 1;
        (self.on)(Event::Failed(path, why));
    }
}

/// Judges the beginning of a file. A file that begins in the middle of a value may look random without encryption.
fn of_beginning(file: &File, name: Option<&SparkName>) -> io::Result<Content> {
    let mut content = content::of_beginning(file)?;
    if let Protection::LikelyEncrypted(measured) = content.protection
        && name.is_some_and(|name| name.kind == Kind::LaterPiece)
    {
        content.protection = Protection::CannotTell(Reason::NoBeginning, measured);
    }
    Ok(content)
}

/// Whether a file without one of Spark's names lies in a directory where only block managers and mergers write.
fn is_of_block_manager(path: &Path) -> bool {
    let local = beside::local_dir(path).and_then(Path::file_name).and_then(|name| name.to_str());
    local.is_some_and(|name| name.starts_with("blockmgr-") || name.starts_with("merge_manager"))
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A directory that is being walked.
struct Level {
    dir: OwnedFd,
    entries: Dir,
    path: PathBuf,
}

impl Level {
    fn new(dir: OwnedFd, path: PathBuf) -> Result<Self, Errno> {
        Ok(Self { entries: Dir::read_from(&dir)?, dir, path })
    }

    fn enter(&self, name: &CStr, path: &Path) -> Result<Self, Errno> {
        Self::new(openat(self.dir.as_fd(), name, DIRECTORY, Mode::empty())?, path.to_owned())
    }

    /// Some file systems do not give the type of an entry in the listing.
    fn kind_of(&self, name: &CStr, listed: FileType) -> Result<FileType, Errno> {
        if listed != FileType::Unknown {
            return Ok(listed);
        }
        let stat = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use sealed_shuffle_protocol::stored::io_encryption::IoKey;

    use super::*;
    use crate::disk::layout::Placement;
    use crate::io_encryption::EncryptingWriter;

    const UUID: &str = "7b3a0c56-3f1c-4a42-9d6e-0123456789ab";

    fn encrypted(len: usize) -> Vec<u8> {
        let mut writer = EncryptingWriter::new(Vec::new(), &IoKey::from_bytes(&[3; 16]).unwrap()).unwrap();
        writer.write_all(&vec![0; len]).unwrap();
        writer.finish().unwrap()
    }

    fn readable() -> Vec<u8> {
        [b"LZ4Block\x25".as_slice(), &encrypted(1000)].concat()
    }

    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn dir(&self, path: &str) -> PathBuf {
            let dir = self.0.path().join(path.replace("UUID", UUID));
            fs::create_dir_all(&dir).unwrap();
            dir
        }

        /// Puts a file where a block manager with one directory would put it.
        fn put(&self, local: &str, name: &str, content: &[u8]) {
            let sub = Placement::of(name, 1, beside::SUB_DIRS).unwrap().sub_dir();
            fs::write(self.dir(local).join(&sub).join(name), content)
                .or_else(|_| {
                    fs::create_dir(self.dir(local).join(&sub))?;
                    fs::write(self.dir(local).join(&sub).join(name), content)
                })
                .unwrap();
        }

        fn scan(&self) -> (Scan, Vec<String>) {
            let mut failures = Vec::new();
            let scan = scan(&[self.0.path().to_owned()], &mut |event| {
                if let Event::Failed(path, why) = event {
                    failures.push(format!("{}: {why}", path.display()));
                }
            });
            (scan, failures)
        }
    }

    const YARN: &str = "usercache/u/appcache/application_17_0001/blockmgr-UUID";
    const STANDALONE: &str = "spark-UUID/executor-UUID/blockmgr-UUID";

    fn index(ends: &[u64]) -> Vec<u8> {
        [0].iter().chain(ends).flat_map(|end| end.to_be_bytes()).collect()
    }

    #[test]
    fn tells_applications_apart() {
        let node = Node::new();
        node.put(YARN, "rdd_1_2", &encrypted(1000));
        node.put(YARN, "shuffle_0_1_0.data", &[encrypted(300), encrypted(400)].concat());
        node.put(YARN, "shuffle_0_1_0.index", &index(&[316, 316, 732]));
        node.put(STANDALONE, "rdd_1_2", &readable());
        node.put(STANDALONE, "rdd_1_3", b"abc");
        fs::write(node.dir("usercache/u/filecache").join("spark.jar"), b"PK").unwrap();
        let (scan, failures) = node.scan();
        assert_eq!(failures, Vec::<String>::new());
        let yarn = &scan.owners[&Owner::Application("application_17_0001".into())];
        assert_eq!(yarn.encrypted, Count { files: 2, bytes: 1016 + 732 });
        assert_eq!(yarn.metadata, Count { files: 1, bytes: 32 });
        assert_eq!(yarn.readable, Count::default());
        let standalone =
            scan.owners.iter().find(|(owner, _)| owner.to_string().ends_with(&format!("executor-{UUID}")));
        let standalone = standalone.unwrap().1;
        assert_eq!(standalone.readable, Count { files: 1, bytes: readable().len() as u64 });
        assert_eq!(standalone.marks[&Mark::Lz4Block], 1);
        assert!(standalone.example.as_ref().unwrap().ends_with("rdd_1_2"));
        assert_eq!(standalone.cannot_tell, Count { files: 1, bytes: 3 });
        assert_eq!((scan.total().other.files, scan.files, scan.without_index), (1, 6, 0));
    }

    #[test]
    fn a_readable_partition_in_the_middle_is_found_through_the_index() {
        let node = Node::new();
        let (a, b) = (encrypted(500), readable());
        let ends = index(&[a.len() as u64, (a.len() + b.len()) as u64]);
        node.put(YARN, "shuffle_0_1_0.data", &[a, b].concat());
        assert_eq!(node.scan().0.total().readable.files, 0);
        assert_eq!(node.scan().0.without_index, 1);
        node.put(YARN, "shuffle_0_1_0.index", &ends);
        assert_eq!(node.scan().0.total().readable.files, 1);
        assert_eq!(node.scan().0.without_index, 0);
    }

    #[test]
    fn an_index_of_another_file_is_told() {
        let node = Node::new();
        node.put(YARN, "shuffle_0_1_0.data", &encrypted(500));
        node.put(YARN, "shuffle_0_1_0.index", &index(&[9]));
        let (scan, failures) = node.scan();
        assert_eq!((scan.failures, scan.total().encrypted.files), (1, 1));
        assert!(failures[0].contains("only its beginning was looked at"), "{failures:?}");
    }

    #[test]
    fn links_are_counted_and_not_followed() {
        let node = Node::new();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("rdd_1_2"), readable()).unwrap();
        symlink(elsewhere.path(), node.dir("a").join("link")).unwrap();
        symlink(elsewhere.path().join("rdd_1_2"), node.dir("a").join("rdd_1_2")).unwrap();
        symlink(node.dir("a"), node.dir("a").join("loop")).unwrap();
        let (scan, failures) = node.scan();
        assert_eq!((scan.links, scan.files, failures.len()), (3, 0, 0));
    }

    #[test]
    fn what_is_deeper_than_any_block_manager_is_told() {
        let node = Node::new();
        node.dir(&"d/".repeat(DEEPEST + 3));
        let (scan, failures) = node.scan();
        assert_eq!(scan.failures, 1);
        assert!(failures[0].contains("too many directories"), "{failures:?}");
    }

    #[test]
    fn a_root_that_is_not_there_is_told() {
        let node = Node::new();
        let mut failures = 0;
        let scan = scan(&[node.0.path().join("gone")], &mut |event| {
            failures += u64::from(matches!(event, Event::Failed(..)))
        });
        assert_eq!((scan.failures, failures), (1, 1));
    }

    #[test]
    fn later_pieces_that_look_random_tell_nothing() {
        let node = Node::new();
        node.put(YARN, "broadcast_1_piece0", &encrypted(1000));
        node.put(YARN, "broadcast_1_piece1", &encrypted(1000));
        node.put(YARN, "temp_shuffle_x", &encrypted(1000));
        let total = node.scan().0.total();
        assert_eq!((total.encrypted.files, total.cannot_tell.files), (2, 1));
    }
}
