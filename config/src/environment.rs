//! The process's surroundings, as far as configuration looks at them.
//!
//! Behind a trait so that tests bring their own and never touch process-wide state.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Variables, files and limits of the process. Each method answers for the real process, unless an implementation
/// brings its own.
pub trait Environment {
    /// The value of an environment variable; `None` when it is not set.
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    /// A whole small file; at most [`MAX_FILE`] bytes.
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        read_bounded(File::open(path)?)
    }

    /// Standard input until its end; at most [`MAX_FILE`] bytes.
    fn read_stdin(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        read_bounded(io::stdin().lock())
    }

    /// Kind and mode of a path; symbolic links are followed.
    fn stat(&self, path: &Path) -> io::Result<PathStat> {
        let metadata = std::fs::metadata(path)?;
        Ok(PathStat { is_dir: metadata.is_dir(), mode: metadata.mode() & 0o7777 })
    }

    /// Whether something is mounted at a directory: it lies on another file system than the directory above it.
    fn is_mount(&self, path: &Path) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        let above = path.canonicalize().ok().and_then(|path| path.parent().and_then(device));
        above.is_some() && above != device(path)
    }

    /// Whether a file lies in a Secret that Kubernetes has mounted: its directory has the link `..data`, by which the
    /// kubelet changes all files of a volume at once.
    fn is_in_mounted_secret(&self, path: &Path) -> bool {
        let link = path.parent().map(|dir| dir.join("..data"));
        link.and_then(|link| std::fs::symlink_metadata(link).ok()).is_some_and(|found| found.is_symlink())
    }

    /// Whether sockets of IPv6 can be had.
    fn has_ipv6(&self) -> bool {
        std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
    }

    /// The effective user id.
    fn user_id(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// The user that owns a file; symbolic links are followed.
    fn owner(&self, path: &Path) -> io::Result<u32> {
        Ok(std::fs::metadata(path)?.uid())
    }

    /// The soft limit of open descriptors (`RLIMIT_NOFILE`); `None` when unlimited.
    fn descriptor_limit(&self) -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    }

    /// Processors that this process may use.
    fn processors(&self) -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}

/// Longest file that configuration reads: properties files and secrets are far smaller.
pub const MAX_FILE: u64 = 16 << 20;

/// Kind and mode of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PathStat {
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The permission bits.
    pub mode: u32,
}

/// The properties of a file that change when the file does: after a write, and where another file has taken its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileVersion {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// Owner and mode are included: a file that was refused for them is tried again after they are corrected.
    changed: (i64, i64),
}

impl FileVersion {
    /// The file as it is now; symbolic links are followed. `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The real process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {}

/// The machine, and nothing that anybody set: no variable and no file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EmptyEnvironment;

impl Environment for EmptyEnvironment {
    fn var(&self, _name: &str) -> Option<OsString> {
        None
    }

    fn read(&self, _path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_stdin(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn stat(&self, _path: &Path) -> io::Result<PathStat> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_mount(&self, _path: &Path) -> bool {
        false
    }

    fn is_in_mounted_secret(&self, _path: &Path) -> bool {
        false
    }
}

/// Raises the soft limit of open descriptors to the hard one, as JVMs do at start. Answers the limit that is
/// then in force; `None` is unlimited. For the beginning of `main`, before configuration is read.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}

/// Reads into one buffer that is grown by hand, so that no copy of a secret stays behind in freed memory.
fn read_bounded(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; 4096]);
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; bytes.len() * 2]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match from.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 MiB"));
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_more_than_one_buffer() {
        let bytes: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        assert_eq!(*read_bounded(&bytes[..]).unwrap(), bytes);
    }

    #[test]
    fn rejects_a_file_above_the_bound() {
        let endless = io::repeat(b'x');
        assert_eq!(read_bounded(endless).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
