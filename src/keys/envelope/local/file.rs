//! The key file on disk.
//!
//! The file is made and replaced as a [`private_file`]; an existing file is never written into. A new file takes the
//! name only if the name is free. So if two servers start together, one of them makes the file and both read it. A
//! rotation holds a lock on the file that it replaces.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;
use sealed_shuffle_protocol::crypto::random::Random as _;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::region::Identity;
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::super::error::{KeyError, KeyErrorKind};
use super::format::{self, Generation, MOST_KEYS};
use crate::keys::secret_file::{self, open_to_others};
use crate::private_file::{self, directory_of};

/// Longest key file.
const LONGEST: usize = 64 << 10;

/// Most times that a file may be replaced while it is being locked.
const ROUNDS: usize = 8;

/// The content of a file when it was read.
#[derive(Debug)]
pub(super) struct Contents {
    /// The keys, oldest first, at least one.
    pub(super) generations: Vec<Generation>,
    /// The identity of the file.
    pub(super) identity: Identity,
}

impl Contents {
    pub(super) fn newest(&self) -> &Generation {
        self.generations.last().expect("a file without keys is refused when it is read")
    }

    pub(super) fn find(&self, name: &str) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.name == name)
    }
}

/// The fault of a file.
#[derive(Debug)]
pub(super) enum FileError {
    /// The file does not exist.
    Missing,
    /// The file cannot be used; the reason and the remedy.
    Unusable(String, &'static str),
    /// The disk or the system fails, and may do better later; the reason.
    Fails(String),
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
            Self::Fails(reason) => (KeyErrorKind::Unavailable, reason, "look at its disk; it is tried again"),
        };
        KeyError::new(kind, path.display().to_string(), reason, remedy)
    }

    fn io(doing: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let reason = format!("the key file cannot be {doing}: {error}");
        // What no waiting cures.
        let is_here = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotFound
        );
        if !is_here {
            return Self::Fails(reason);
        }
        Self::Unusable(
            reason,
            "let the user of this server own it and its directory, or name a directory of that user with \
             spark.sealed.state.dir (a user without HOME has /var/lib/sealed-shuffle), or a file with \
             spark.sealed.keys.file",
        )
    }
}

/// Reads the file.
pub(super) fn read(on: &OnLane, path: &Path) -> Result<Contents, FileError> {
    let (contents, _) = contents_of(&open_existing(on, path)?)?;
    Ok(contents)
}

fn open_existing(_: &OnLane, path: &Path) -> Result<File, FileError> {
    // A pipe must not hold up the open.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NOENT) => Err(FileError::Missing),
        Err(errno) => Err(FileError::io("read", errno)),
    }
}

/// The keys of the file, and its text.
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
    Ok((Contents { generations, identity: Identity::of(&stat) }, text))
}

fn text_of(file: &File) -> Result<Zeroizing<String>, FileError> {
    let read = secret_file::read(file, LONGEST).map_err(|error| FileError::io("read", error))?;
    let Some(mut bytes) = read else {
        let reason = format!("the key file is longer than any ({LONGEST} bytes)");
        return Err(FileError::Unusable(reason, "name a key file with spark.sealed.keys.file"));
    };
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            let reason = "the key file is not text".to_owned();
            Err(FileError::Unusable(reason, "name a key file with spark.sealed.keys.file"))
        }
    }
}

/// Makes the file with one new key. Returns true if this call made it, and not another one at the same time.
pub(super) fn make(on: &OnLane, path: &Path) -> Result<bool, FileError> {
    let failed = |error: io::Error| FileError::io("made", error);
    private_file::make_directory(on, directory_of(path)).map_err(failed)?;
    let text = format::first(&fresh()?);
    let new = beside(on, path, &text).map_err(failed)?;
    private_file::take_name(on, new, path).map_err(failed)
}

/// Adds a new key at the end of the file, and returns its name.
pub(super) fn rotate(on: &OnLane, path: &Path) -> Result<String, FileError> {
    let path = target_of(path)?;
    let locked = lock(on, &path)?;
    let (contents, old) = contents_of(&locked)?;
    if contents.generations.len() >= MOST_KEYS {
        return Err(FileError::Unusable(
            format!("the key file holds {MOST_KEYS} keys, as many as it may"),
            "take out what nothing needs any more: sealed-shuffle keys list, sealed-shuffle keys drop",
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
    put_in_place(on, &path, &locked, &text)?;
    Ok(generation.name)
}

/// Takes out the key `name`.
pub(super) fn remove(on: &OnLane, path: &Path, name: &str) -> Result<(), FileError> {
    let path = target_of(path)?;
    let locked = lock(on, &path)?;
    let (contents, old) = contents_of(&locked)?;
    if contents.find(name).is_none() {
        let reason = format!("the key file holds no key {name}");
        return Err(FileError::Unusable(reason, "sealed-shuffle keys list names those that it holds"));
    }
    if contents.newest().name == name {
        let reason = format!("{name} is the key that wraps");
        return Err(FileError::Unusable(reason, "add another one before: sealed-shuffle keys rotate"));
    }
    let mut text = Zeroizing::new(String::with_capacity(old.len()));
    let kept = old.split_inclusive('\n').filter(|line| format::name_in(line) != Some(name));
    kept.for_each(|line| text.push_str(line));
    put_in_place(on, &path, &locked, &text)
}

/// If the path is a link, its target is replaced.
fn target_of(path: &Path) -> Result<PathBuf, FileError> {
    path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::io("found", error),
    })
}

/// Puts a file with this text in the place of `old`, with its owner and mode: whoever could read it reads the new one.
fn put_in_place(on: &OnLane, path: &Path, old: &File, text: &str) -> Result<(), FileError> {
    let failed = |error| FileError::io("changed", error);
    let new = beside(on, path, text).map_err(failed)?;
    private_file::keep_owner(on, new.as_file(), old).map_err(|error| {
        FileError::Unusable(
            format!("its owner cannot keep the key file, which would lock out whoever reads it: {error}"),
            "run this as the user of the server, or as root",
        )
    })?;
    private_file::replace(on, new, path).map_err(failed)
}

/// The file that has the name now, locked.
fn lock(on: &OnLane, path: &Path) -> Result<File, FileError> {
    for _ in 0..ROUNDS {
        let file = open_existing(on, path)?;
        file.lock().map_err(|error| FileError::io("locked", error))?;
        let (held, named) = (fstat(&file), stat(path));
        let same =
            matches!((held, named), (Ok(held), Ok(named)) if Identity::of(&held) == Identity::of(&named));
        if same {
            return Ok(file);
        }
    }
    Err(FileError::Fails("the key file is replaced all the time".to_owned()))
}

fn fresh() -> Result<Generation, FileError> {
    let key = Secret::fill_with(|out| OsRandom.fill(out))
        .map_err(|error| FileError::Fails(format!("there are no random bytes for a key: {error}")))?;
    let now = OffsetDateTime::now_utc();
    Ok(Generation::new(key, now.replace_nanosecond(0).unwrap_or(now)))
}

/// Writes a file with this text beside the target, and syncs it to the disk.
fn beside(on: &OnLane, path: &Path, text: &str) -> io::Result<NamedTempFile> {
    private_file::beside(on, path, |mut file| file.write_all(text.as_bytes()))
}

/// The other files in the directory of the key file.
#[cfg(test)]
pub(super) fn left_behind(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory_of(path)).expect("the directory is there");
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|there| there != path).collect()
}
