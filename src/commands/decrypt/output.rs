//! The target of plain bytes: standard output, or files that appear whole under their name, or not at all.

use std::fs::{self, DirBuilder};
use std::io::{self, StdoutLock, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::super::{Exit, Failure};
use crate::private_file::persist_new;

/// One output. If it is dropped before [`Output::finish`], it leaves no file.
pub(super) enum Output {
    Standard(StdoutLock<'static>),
    File { temporary: NamedTempFile, path: PathBuf, replace: bool },
}

impl Output {
    pub(super) fn standard() -> Self {
        Self::Standard(io::stdout().lock())
    }

    /// A file that only its owner can read. It is first written under another name in the same directory.
    pub(super) fn file(path: &Path, replace: bool) -> Result<Self, Failure> {
        if !replace && path.symlink_metadata().is_ok() {
            return Err(in_the_way(path));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".sealed-shuffle-")
            .suffix(".part")
            .tempfile_in(dir)
            .map_err(|error| cannot_write(path, &error))?;
        Ok(Self::File { temporary, path: path.to_owned(), replace })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Standard(out) => out.write_all(bytes).map_err(|error| standard_failed(&error)),
            Self::File { temporary, path, .. } => {
                temporary.write_all(bytes).map_err(|error| cannot_write(path, &error))
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard(mut out) => out.flush().map_err(|error| standard_failed(&error)),
            Self::File { temporary, path, replace: true } => {
                temporary.persist(&path).map(drop).map_err(|failed| cannot_write(&path, &failed.error))
            }
            Self::File { temporary, path, replace: false } => {
                persist_new(temporary, &path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => in_the_way(&path),
                    _ => cannot_write(&path, &error),
                })
            }
        }
    }
}

/// Makes a directory that only its owner can read, unless it exists.
pub(super) fn make_dir(dir: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    match made.and_then(|()| fs::metadata(dir)) {
        Ok(stat) if stat.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(Exit::Failed, format!("--out {}: it is no directory", dir.display()))),
        Err(error) => Err(cannot_write(dir, &error)),
    }
}

fn in_the_way(path: &Path) -> Failure {
    let text = format!("{} is there already: name another place, or add --force", path.display());
    Failure::new(Exit::Failed, text)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
}

fn standard_failed(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("standard output: {error}"))
}
