//! The key file on disk.
//!
//! A new file is written beside, under a name of its own that must not exist (`O_EXCL`) and with mode 0600, brought to
//! the disk, and then given its name in one step; the directory is brought to the disk, too. What exists is never
//! written into. Making takes the name only if it is free, so that of two servers that start together one makes the
//! file and both read it. Rotations hold a lock on the file that they replace.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;
use sealed_shuffle_protocol::crypto::random::Random as _;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::random::OsRandom;
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::super::error::{KeyError, KeyErrorKind};
use super::format::{self, Generation, MOST_KEYS};
use crate::keys::directory::{Stamp, open_to_others};

/// Longest key file.
const LONGEST: usize = 64 << 10;

/// How often a file may be replaced while it is being locked.
const ROUNDS: usize = 8;

/// What a file held when it was read.
#[derive(Debug)]
pub(super) struct Contents {
    /// Oldest first, at least one.
    pub(super) generations: Vec<Generation>,
    pub(super) stamp: Stamp,
}

impl Contents {
    pub(super) fn newest(&self) -> &Generation {
        self.generations.last().expect("a file without keys is refused when it is read")
    }

    pub(super) fn find(&self, name: &str) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.name == name)
    }
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum FileError {
    /// There is none.
    Missing,
    /// It cannot be used; the reason and the remedy.
    Unusable(String, &'static str),
}

impl FileError {
    pub(super) fn at(self, path: &Path) -> KeyError {
        let (kind, reason, remedy) = match self {
            Self::Missing => (
                KeyErrorKind::NotFound,
                "there is no key file".to_owned(),
                "put it back from a copy, or name the right one (spark.sealed.keys.file)",
            ),
            Self::Unusable(reason, remedy) => (KeyErrorKind::Misconfigured, reason, remedy),
        };
        KeyError::new(kind, path.display().to_string(), reason, remedy)
    }

    fn io(doing: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Self::Unusable(
            format!("the key file cannot be {doing}: {error}"),
            "let the user of this server own it and its directory, or name another with spark.sealed.keys.file",
        )
    }
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Contents, FileError> {
    let (contents, _) = contents_of(&open_existing(path)?)?;
    Ok(contents)
}

fn open_existing(path: &Path) -> Result<File, FileError> {
    // Not to be held up by a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NOENT) => Err(FileError::Missing),
        Err(errno) => Err(FileError::io("read", errno)),
    }
}

/// What it holds, and its text.
fn contents_of(file: &File) -> Result<(Contents, Zeroizing<String>), FileError> {
    let stat = fstat(file).map_err(|errno| FileError::io("read", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let reason = "the key file is no regular file".to_owned();
        return Err(FileError::Unusable(reason, "name a file with spark.sealed.keys.file"));
    }
    if let Some(mode) = open_to_others(&stat) {
        return Err(FileError::Unusable(
            format!("the key file is open to other users (mode {mode:04o})"),
            "chmod 600, and rotate it: think of its keys as known",
        ));
    }
    let text = text_of(file)?;
    let generations = format::parse(&text).map_err(|reason| {
        FileError::Unusable(
            format!("the key file cannot be used: {reason}"),
            "put it back from a copy; a new one would not open what was sealed under it",
        )
    })?;
    Ok((Contents { generations, stamp: Stamp::of(&stat) }, text))
}

fn text_of(file: &File) -> Result<Zeroizing<String>, FileError> {
    // One allocation, so that nothing is left behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let most = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(|error| FileError::io("read", error))?;
    if bytes.len() > LONGEST {
        let reason = format!("the key file is longer than any ({LONGEST} bytes)");
        return Err(FileError::Unusable(reason, "name a key file with spark.sealed.keys.file"));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            let reason = "the key file is not text".to_owned();
            Err(FileError::Unusable(reason, "name a key file with spark.sealed.keys.file"))
        }
    }
}

/// Makes the file with one new key. Answers whether it was this call that made it, and not another at the same time.
pub(super) fn make(path: &Path) -> Result<bool, FileError> {
    let dir = directory_of(path);
    if stat(dir).is_err_and(|errno| errno == Errno::NOENT) {
        make_directory(dir).map_err(|error| FileError::io("made", error))?;
    }
    let new = beside(dir, &format::first(&fresh()?)).map_err(|error| FileError::io("made", error))?;
    match new.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(FileError::io("made", error.error)),
    }
    sync(dir).map_err(|error| FileError::io("made", error))?;
    Ok(true)
}

/// Adds a new key at the end of the file, and answers its name.
pub(super) fn rotate(path: &Path) -> Result<String, FileError> {
    // Where the path is a link, its target is replaced.
    let path = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::io("found", error),
    })?;
    let locked = lock(&path)?;
    let (contents, old) = contents_of(&locked)?;
    if contents.generations.len() >= MOST_KEYS {
        return Err(FileError::Unusable(
            format!("the key file holds {MOST_KEYS} keys, as many as it may"),
            "take the oldest out, when nothing that was sealed under them is left",
        ));
    }
    let generation = fresh()?;
    let line = generation.line();
    let mut text = Zeroizing::new(String::with_capacity(old.len() + 1 + line.len()));
    text.push_str(&old);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&line);
    let dir = directory_of(&path);
    let new = beside(dir, &text).map_err(|error| FileError::io("rotated", error))?;
    new.persist(&path).map_err(|error| FileError::io("rotated", error.error))?;
    sync(dir).map_err(|error| FileError::io("rotated", error))?;
    Ok(generation.name)
}

/// The file that has the name now, locked.
fn lock(path: &Path) -> Result<File, FileError> {
    for _ in 0..ROUNDS {
        let file = open_existing(path)?;
        file.lock().map_err(|error| FileError::io("locked", error))?;
        let (held, named) = (fstat(&file), stat(path));
        let same = matches!((held, named), (Ok(held), Ok(named)) if Stamp::of(&held) == Stamp::of(&named));
        if same {
            return Ok(file);
        }
    }
    Err(FileError::Unusable("the key file is replaced all the time".to_owned(), "rotate it once at a time"))
}

fn fresh() -> Result<Generation, FileError> {
    let key = Secret::fill_with(|out| OsRandom.fill(out)).map_err(|error| {
        FileError::Unusable(format!("there are no random bytes for a key: {error}"), "try again")
    })?;
    let now = OffsetDateTime::now_utc();
    Ok(Generation::new(key, now.replace_nanosecond(0).unwrap_or(now)))
}

/// A file beside with that text, on the disk.
fn beside(dir: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".keys.")
        .suffix(".new")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn make_directory(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    sync(directory_of(dir))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// What lies beside the file.
#[cfg(test)]
pub(super) fn left_behind(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory_of(path)).expect("the directory is there");
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|there| there != path).collect()
}
