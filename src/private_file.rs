//! Files of this server alone, made whole: keys and the recovery store.
//!
//! A new file is written beside its place, under a name of its own that must not exist (`O_EXCL`) and with mode 0600. It is
//! brought to the disk, and then given its name in one step; the directory is brought to the disk, too. So a file under
//! its name is never half made.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, fstat};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::NamedTempFile;

/// The directory that a file lies in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Makes a directory for this user alone, where there is none.
pub(crate) fn make_directory(_: &OnLane, dir: &Path) -> io::Result<()> {
    if dir.try_exists()? {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    sync(directory_of(dir))
}

/// What is in a file of at most `longest` bytes; `None` where there is none.
pub(crate) fn read(_: &OnLane, path: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= longest) {
        true => Ok(Some(bytes)),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {longest} bytes"))),
    }
}

/// A file beside `path` that `fill` has filled, on the disk; removed when dropped. What it is filled by may be whatever
/// the caller fails with.
pub(crate) fn beside<E: From<io::Error>>(
    _: &OnLane,
    path: &Path,
    fill: impl FnOnce(&File) -> Result<(), E>,
) -> Result<NamedTempFile, E> {
    let file = tempfile::Builder::new().prefix(".").suffix(".new").tempfile_in(directory_of(path))?;
    fill(file.as_file())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Gives a new file owner, group and mode of the one in whose place it comes. Only root may give to another owner.
pub(crate) fn keep_owner(_: &OnLane, new: &File, old: &File) -> io::Result<()> {
    let (is, was) = (fstat(new)?, fstat(old)?);
    if (is.st_uid, is.st_gid) != (was.st_uid, was.st_gid) {
        let (user, group) = (Uid::from_raw(was.st_uid), Gid::from_raw(was.st_gid));
        fchown(new, Some(user), Some(group))?;
    }
    fchmod(new, Mode::from_raw_mode(was.st_mode))?;
    new.sync_all()
}

/// Gives `file` the name `path` if that is free. Answers whether it was.
pub(crate) fn take_name(_: &OnLane, file: NamedTempFile, path: &Path) -> io::Result<bool> {
    match persist_new(file, path) {
        Ok(()) => sync(directory_of(path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives `file` a name that must be free, in one step.
pub(crate) fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<()> {
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        // Seccomp profiles of old container runtimes refuse renameat2, which they do not know. A second name does as well:
        // the first one goes with the temporary file.
        Err(failed) if failed.error.kind() == io::ErrorKind::PermissionDenied => {
            std::fs::hard_link(failed.file.path(), path)
        }
        Err(failed) => Err(failed.error),
    }
}

/// Puts `file` in the place of what is at `path`.
pub(crate) fn replace(_: &OnLane, file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|error| error.error)?;
    sync(directory_of(path))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn filled(path: &Path, text: &str) -> NamedTempFile {
        beside(&OnLane::here(), path, |mut file| file.write_all(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("made/file");
        make_directory(&OnLane::here(), directory_of(&path)).unwrap();
        assert!(take_name(&OnLane::here(), filled(&path, "first"), &path).unwrap());
        assert!(!take_name(&OnLane::here(), filled(&path, "second"), &path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        replace(&OnLane::here(), filled(&path, "third"), &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(directory_of(&path)), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(directory_of(&path)).unwrap().count(), 1, "files beside it are left");
    }

    #[test]
    fn what_is_not_filled_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let failed = beside(&OnLane::here(), &path, |_| Err(io::Error::other("no")));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
