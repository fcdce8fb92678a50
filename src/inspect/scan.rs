//! Tells how everything beneath some directories is protected.
//!
//! Directories are walked one entry at a time, relative to their own handles, and no symbolic link is followed: one that
//! leads out of the roots to a directory, or to a file that would be judged, is reported. Memory does not grow with the
//! number of files: it holds one entry for each owner ([`MOST_OWNERS`] at most). The scan judges files with one of Spark's
//! names, everything beneath `blockmgr-…` and `merge_manager…` (PySpark spills there), and the state stores of structured
//! streaming. Other files (jars, logs, staging) are counted and not judged, since every jar would be readable. Files and
//! directories that cannot be judged are reported as the scan meets them.

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
use super::content::{self, Content, Depth, Protection, Reason};
use super::mark::Mark;
use super::name::{Kind, SparkName};
use super::opened::{Opening, SealedKeys};
use super::owner::Owner;

/// Most partitions of one data file that are sampled, evenly spread.
pub const PARTITIONS: u64 = 256;

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
    /// The sealed files that were opened with their key.
    pub opened: Count,
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
    /// Number of symbolic links. None was followed. Those that lead to what would be judged count as failures, too.
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
                (&mut total.opened, tally.opened),
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

/// Scans `roots`, which are canonical and none of which lies in another. Sealed files are opened with what `keys` gives.
pub fn scan(
    roots: &[PathBuf],
    depth: Depth,
    keys: &mut SealedKeys<'_>,
    on: &mut dyn FnMut(Event<'_>),
) -> Scan {
    let mut walk = Walk { scan: Scan::default(), depth, keys, on, roots, root: Path::new("") };
    for root in roots {
        walk.root = root;
        walk.all(root);
    }
    walk.scan
}

struct Walk<'w, 'k> {
    scan: Scan,
    depth: Depth,
    keys: &'w mut SealedKeys<'k>,
    on: &'w mut dyn FnMut(Event<'_>),
    roots: &'w [PathBuf],
    root: &'w Path,
}

impl Walk<'_, '_> {
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
                Ok(FileType::Symlink) => self.link(name, &path),
                Ok(_) => self.tally(&path, None).other.add(0),
                Err(errno) => self.failed(&path, errno),
            }
        }
    }

    /// Whatever a link hides that would be judged was not judged.
    fn link(&mut self, name: &CStr, path: &Path) {
        self.scan.links += 1;
        let target = match path.canonicalize() {
            Ok(target) => target,
            // It leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.told(path, &format!("a symbolic link, not followed: {error}")),
        };
        if self.roots.iter().any(|root| target.starts_with(root)) {
            return;
        }
        let is_judged =
            || name.to_str().ok().and_then(SparkName::parse).is_some() || place_of(path) != Place::Other;
        if target.is_dir() || is_judged() {
            let target = target.display();
            self.told(
                path,
                &format!("a symbolic link, not followed: name {target} beside the other directories"),
            );
        }
    }

    fn file(&mut self, dir: &OwnedFd, name: &CStr, path: &Path) -> io::Result<()> {
        let parsed = name.to_str().ok().and_then(SparkName::parse);
        let place = place_of(path);
        if parsed.is_none() && place == Place::Other {
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
        let is_metadata =
            place == Place::StoreMetadata || parsed.as_ref().is_some_and(|name| name.kind.is_metadata());
        let opening = match &content.protection {
            Protection::Sealed(_) => Opening::of(path, &file, self.depth, &[], self.keys)?,
            _ => Opening::NotTried,
        };
        if let Opening::Fails(why) = &opening {
            self.told(path, &format!("its key does not open it: {why}"));
        }
        let tally = self.tally(path, parsed.as_ref());
        match content.protection {
            Protection::Sealed(_) if matches!(opening, Opening::Fails(_)) => {
                tally.cannot_tell.add(stat.len())
            }
            Protection::Sealed(_) => {
                tally.sealed.add(stat.len());
                if opening == Opening::Verified {
                    tally.opened.add(stat.len());
                }
            }
            // Whatever it is, it was meant to be sealed.
            Protection::CannotTell(Reason::NotAsSealed, _) => tally.cannot_tell.add(stat.len()),
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
            return of_file(file, name, self.depth);
        };
        let wanted = name.sibling("index");
        let open = |path: PathBuf| openat(CWD, &path, FILE, Mode::empty()).ok().map(File::from);
        let Some(index) = beside::candidates(path, &wanted, &[]).find_map(open) else {
            self.scan.without_index += 1;
            return content::of_file(file, self.depth);
        };
        match content::of_partitions(file, &index, self.depth) {
            Ok(content) => Ok(content),
            Err(error) => {
                self.told(path, &format!("its partitions were not looked at: {error}"));
                content::of_file(file, self.depth)
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

/// Judges a file as one stream. One that begins in the middle of a value may look random without encryption.
fn of_file(file: &File, name: Option<&SparkName>, depth: Depth) -> io::Result<Content> {
    let mut content = content::of_file(file, depth)?;
    if let Protection::LikelyEncrypted(measured) = content.protection
        && name.is_some_and(|name| name.kind == Kind::LaterPiece)
    {
        content.protection = Protection::CannotTell(Reason::NoBeginning, measured);
    }
    Ok(content)
}

/// Whose a file is that has none of Spark's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// It lies where only block managers, mergers, PySpark and state stores write.
    Judged,
    /// What a state store says of itself, and no data.
    StoreMetadata,
    Other,
}

/// How the directories begin beneath which everything is data of applications.
const DATA: [&str; 4] = ["blockmgr-", "merge_manager", "StateStore(", "StateStoreId("];

fn place_of(path: &Path) -> Place {
    let names = path.parent().into_iter().flat_map(Path::components);
    let names = names.filter_map(|component| component.as_os_str().to_str());
    let Some(within) =
        names.filter_map(|name| DATA.iter().find(|begins| name.starts_with(**begins))).next_back()
    else {
        return Place::Other;
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let says_of_itself =
        matches!(name, "CURRENT" | "IDENTITY" | "LOCK") || name.starts_with("OPTIONS-") || is_log(name);
    match within.starts_with("StateStore") && says_of_itself {
        true => Place::StoreMetadata,
        false => Place::Judged,
    }
}

/// The log of RocksDB, for people: `LOG`, `LOG.old.TIME`. Its journals are `NUMBER.log`.
fn is_log(name: &str) -> bool {
    name == "LOG" || name.starts_with("LOG.old.")
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
            let roots = [self.0.path().canonicalize().unwrap()];
            let depth = Depth::Samples { partitions: PARTITIONS };
            let scan = scan(&roots, depth, &mut |_| None, &mut |event| {
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
    fn a_readable_partition_in_the_middle_is_found() {
        let node = Node::new();
        let (a, b) = (encrypted(500), readable());
        let ends = index(&[a.len() as u64, (a.len() + b.len()) as u64]);
        node.put(YARN, "shuffle_0_1_0.data", &[a, b].concat());
        // A long mark is found without it, too.
        assert_eq!(node.scan().0.total().readable.files, 1);
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
        assert!(failures[0].contains("partitions were not looked at"), "{failures:?}");
    }

    #[test]
    fn links_are_not_followed_and_what_they_hide_is_told() {
        let node = Node::new();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("rdd_1_2"), readable()).unwrap();
        fs::write(elsewhere.path().join("a.jar"), "PK").unwrap();
        symlink(node.dir("a"), node.dir("a").join("loop")).unwrap();
        symlink(elsewhere.path().join("nothing"), node.dir("a").join("nowhere")).unwrap();
        symlink(elsewhere.path().join("a.jar"), node.dir("a").join("a.jar")).unwrap();
        let (scan, failures) = node.scan();
        assert_eq!((scan.links, scan.failures, failures.len()), (3, 0, 0), "{failures:?}");
        symlink(elsewhere.path(), node.dir("a").join("disk")).unwrap();
        symlink(elsewhere.path().join("rdd_1_2"), node.dir("a").join("rdd_1_2")).unwrap();
        symlink(elsewhere.path().join("a.jar"), node.dir("blockmgr-UUID/0c").join("x")).unwrap();
        let (scan, failures) = node.scan();
        assert_eq!((scan.links, scan.files, scan.failures), (6, 0, 3));
        assert!(failures.iter().all(|failure| failure.contains("not followed")), "{failures:?}");
    }

    #[test]
    fn pyspark_and_state_stores_are_judged() {
        let node = Node::new();
        let pickled: Vec<u8> =
            (0..200_u32).flat_map(|n| format!("(lp{n}\nI{n}\naS'row {n}'\na.").into_bytes()).collect();
        fs::write(node.dir("blockmgr-UUID/python/4711/140213/0").join("7"), &pickled).unwrap();
        assert_eq!(node.scan().0.total().readable.files, 1);
        let store = "spark-UUID/StateStore(opId=0,partId=1,name=default)-UUID/workingDir-UUID";
        let table = [encrypted(5000), 0x88e2_41b7_85f4_cff7_u64.to_le_bytes().to_vec()].concat();
        for (name, content) in
            [("000012.sst", &table[..]), ("000013.log", &pickled), ("CURRENT", b"MANIFEST-000005\n")]
        {
            fs::write(node.dir(store).join(name), content).unwrap();
        }
        let total = node.scan().0.total();
        assert_eq!((total.readable.files, total.metadata.files, total.other.files), (3, 1, 0));
        assert_eq!(total.marks[&Mark::RocksDb], 1);
    }

    /// Once, as a measurement: `SEALED_SHUFFLE_FALSE_ALARMS=20000 cargo test … no_alarm`.
    #[test]
    fn encrypted_files_of_every_size_give_no_alarm() {
        let files = std::env::var("SEALED_SHUFFLE_FALSE_ALARMS").map_or(300, |files| files.parse().unwrap());
        let node = Node::new();
        for number in 0..files {
            let len = match number % 10 {
                0 => 300 + number,
                9 => 300_000 + 17 * number,
                _ => 1000 + 37 * number,
            };
            node.put(YARN, &format!("rdd_1_{number}"), &encrypted(len));
            let parts: Vec<_> = (0..number % 40 + 1).map(|part| encrypted(part * 31 + 40)).collect();
            let ends: Vec<u64> = parts
                .iter()
                .scan(0, |end, part| {
                    *end += part.len() as u64;
                    Some(*end)
                })
                .collect();
            node.put(YARN, &format!("shuffle_0_{number}_0.data"), &parts.concat());
            node.put(YARN, &format!("shuffle_0_{number}_0.index"), &index(&ends));
        }
        let (scan, failures) = node.scan();
        let total = scan.total();
        println!("{} files, {} of them too short to tell", 2 * files, total.cannot_tell.files);
        assert_eq!((total.readable.files, failures.len()), (0, 0), "{:?} {failures:?}", total.example);
        assert!(total.encrypted.files > total.cannot_tell.files);
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
        let scan = scan(&[node.0.path().join("gone")], Depth::Whole, &mut |_| None, &mut |event| {
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
