//! The file: its directory and modes, making it whole, opening it.
//!
//! A new store is made as a [`private_file`], so a store that is empty was cut. Every open verifies all pages that are in
//! use: redb hands out no page whose checksum is wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableDefinition, TableError,
};
use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat, open as open_file, stat};
use rustix::io::Errno;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::random::random_bytes;
use tracing::{info, warn};

use super::NodeKey;
use super::error::{START_ANEW, StateError, StateErrorKind};
use super::header::{Header, HeaderFault};
use super::seal::StateKeys;
use super::tally::{self, Tally};
use crate::private_file::{self, directory_of};

/// Name of the store in its directory.
pub const FILE_NAME: &str = "recovery.redb";

/// The clear record; its name is empty.
pub(super) const HEADER: TableDefinition<'static, (), &[u8]> = TableDefinition::new("header");
/// All else.
pub(super) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// Pages that redb keeps in memory.
const CACHE: usize = 8 << 20;

/// First bytes of a file of redb.
const CONTAINER: &[u8; 4] = b"redb";

/// A file of this size is never compacted.
const SMALL: u64 = 8 << 20;

/// The store at `path` and its header; `None` where there is no such file.
pub(super) fn open(on: &OnLane, path: &Path) -> Result<Option<(Database, Header)>, StateError> {
    let Some(file) = open_existing(on, path)? else { return Ok(None) };
    let database = database(path, file)?;
    let header = read_header(path, &database)?;
    Ok(Some((database, header)))
}

/// Makes a store without records.
pub(super) fn make(on: &OnLane, path: &Path, node: &NodeKey) -> Result<(), StateError> {
    let failed = |error: &dyn std::fmt::Display| StateError::io(path, "made", error);
    check_length(path, node)?;
    private_file::make_directory(on, directory_of(path)).map_err(|error| failed(&error))?;
    let salt = random_bytes().map_err(|error| failed(&error))?;
    let keys = StateKeys::derive(&node.key, &salt);
    let header = Header::new(&keys, salt, node.wrapped.clone());
    let tally = keys.seal(&tally::NAME, &Tally::default().encode()).map_err(|error| failed(&error))?;
    let new = private_file::beside(on, path, |file| fill(file.try_clone()?, &header, &tally, &[]));
    match private_file::take_name(on, new.map_err(|error| failed(&error))?, path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StateError::locked(path)),
        Err(error) => Err(failed(&error)),
    }
}

/// Puts a store with these records in the place of the one that is there, with its owner and mode.
pub(super) fn replace(
    on: &OnLane,
    path: &Path,
    node: &NodeKey,
    header: &Header,
    keys: &StateKeys,
    tally: &Tally,
    records: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), StateError> {
    let failed = |error: &dyn std::fmt::Display| StateError::io(path, "sealed anew", error);
    check_length(path, node)?;
    let tally = keys.seal(&tally::NAME, &tally.encode()).map_err(|error| failed(&error))?;
    let new = private_file::beside(on, path, |file| fill(file.try_clone()?, header, &tally, records));
    let new = new.map_err(|error| failed(&error))?;
    let old = File::open(path).map_err(|error| failed(&error))?;
    private_file::keep_owner(on, new.as_file(), &old).map_err(|error| failed(&error))?;
    private_file::replace(on, new, path).map_err(|error| failed(&error))
}

/// A wrapped key must fit into the header.
fn check_length(path: &Path, node: &NodeKey) -> Result<(), StateError> {
    let wrapped = &node.wrapped;
    match wrapped.key_id.len() > WrappedKey::MAX_ID || wrapped.bytes.len() > WrappedKey::MAX_BYTES {
        true => Err(StateError::io(path, "made", &"the key service answered more than fits")),
        false => Ok(()),
    }
}

/// Gives the space of removed records back, where that is most of the file. `used` bytes are of records.
pub(super) fn compact(_: &OnLane, path: &Path, database: &mut Database, used: u64) {
    let size = || std::fs::metadata(path).map_or(0, |found| found.len());
    let before = size();
    if before < SMALL.saturating_add(used.saturating_mul(4)) {
        return;
    }
    match catch_unwind(AssertUnwindSafe(|| database.compact())) {
        Ok(Ok(_)) => info!(before, after = size(), "compacted the recovery store"),
        Ok(Err(error)) => warn!(%error, "the recovery store was not compacted"),
        Err(_) => warn!("the recovery store was not compacted"),
    }
}

fn fill(
    file: File,
    header: &Header,
    tally: &[u8],
    records: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)?;
    let change = database.begin_write()?;
    change.open_table(HEADER)?.insert((), &header.encode()[..])?;
    let mut table = change.open_table(RECORDS)?;
    table.insert(&tally::NAME[..], tally)?;
    for (name, value) in records {
        table.insert(&name[..], &value[..])?;
    }
    drop(table);
    change.commit()?;
    Ok(database.close()?)
}

fn open_existing(_: &OnLane, path: &Path) -> Result<Option<File>, StateError> {
    let failed = |error: &dyn std::fmt::Display| StateError::io(path, "opened", error);
    let dir = match stat(directory_of(path)) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(&errno)),
    };
    let mode = dir.st_mode & 0o7777;
    // In a sticky directory nobody replaces the files of others.
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        let reason = format!("lies in a directory that every user can change (mode {mode:04o})");
        return Err(StateError::place(path, reason, "chmod 700 the directory (spark.sealed.state.dir)"));
    }
    let us = rustix::process::geteuid().as_raw();
    if us != 0 && ![us, 0].contains(&dir.st_uid) {
        let reason = format!("lies in a directory of another user ({})", dir.st_uid);
        return Err(StateError::place(
            path,
            reason,
            "let the user of this server own it (spark.sealed.state.dir)",
        ));
    }
    // Neither a link nor to be held up by a pipe.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = match open_file(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            return Err(StateError::place(
                path,
                "is no regular file",
                "move it away, or name another spark.sealed.state.dir",
            ));
        }
        Err(errno) => return Err(failed(&errno)),
    };
    let found = fstat(&file).map_err(|errno| failed(&errno))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(StateError::place(
            path,
            "is no regular file",
            "move it away, or name another spark.sealed.state.dir",
        ));
    }
    keep_to_owner(path, &file, &found)?;
    let mut front = [0; CONTAINER.len()];
    match (&file).read_exact(&mut front) {
        Ok(()) if front == *CONTAINER => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(StateError::damaged(path, "it is cut short"))
        }
        Ok(()) => Err(not_ours(path)),
        Err(error) => Err(failed(&error)),
    }
}

fn database(path: &Path, file: File) -> Result<Database, StateError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    // redb may panic on bytes that it did not write.
    let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(FileBackend::new(file)?)));
    let error = match opened {
        Ok(Ok(database)) => return Ok(database),
        Ok(Err(error)) => error,
        Err(_) => return Err(StateError::damaged(path, "it cannot be read")),
    };
    Err(match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StateError::locked(path),
        DatabaseError::UpgradeRequired(version) => StateError::new(
            StateErrorKind::NewerVersion,
            path,
            format!("is in version {version} of redb's format, which this release does not read"),
            START_ANEW,
        ),
        DatabaseError::Storage(StorageError::Io(error)) if !is_damage(&error) => {
            StateError::io(path, "opened", &error)
        }
        other => StateError::damaged(path, other),
    })
}

fn read_header(path: &Path, database: &Database) -> Result<Header, StateError> {
    let damaged = |error: &dyn std::fmt::Display| StateError::damaged(path, error);
    let view = database.begin_read().map_err(|error| damaged(&error))?;
    let table = match view.open_table(HEADER) {
        Ok(table) => table,
        Err(TableError::Storage(error)) => return Err(damaged(&error)),
        Err(_) => return Err(not_ours(path)),
    };
    let record = table.get(()).map_err(|error| damaged(&error))?;
    let record = record.ok_or_else(|| damaged(&"its header is missing"))?;
    Header::decode(record.value()).map_err(|fault| match fault {
        HeaderFault::NotOurs => not_ours(path),
        HeaderFault::Shape => damaged(&"its header makes no sense"),
        HeaderFault::Newer(version) => StateError::new(
            StateErrorKind::NewerVersion,
            path,
            format!("is in version {version}, and this release reads version {}", super::seal::VERSION),
            "start the release that wrote it or a later one, or move it away to start without it",
        ),
    })
}

fn not_ours(path: &Path) -> StateError {
    StateError::new(
        StateErrorKind::NotOurs,
        path,
        "is some other file",
        "move it away, or name another spark.sealed.state.dir",
    )
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
    )
}

/// Takes the file from other users. They can have it if a volume was handed to a group. The bytes that they read are
/// sealed.
fn keep_to_owner(path: &Path, file: &File, found: &Stat) -> Result<(), StateError> {
    let mode = found.st_mode & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    warn!(file = %path.display(), "the recovery store was open to other users (mode {mode:04o}): it is 0600 again");
    fchmod(file, Mode::RUSR | Mode::WUSR).map_err(|errno| {
        let reason = format!("is open to other users (mode {mode:04o}), and that cannot be changed: {errno}");
        StateError::place(path, reason, "let the user of this server own it, with mode 600")
    })
}
