//! Reading a file of secrets that is open. It must be closed to other users, and its bytes are wiped.

use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::Stat;
use zeroize::Zeroizing;

/// Returns the mode of a file that others can read. A group that may read is refused, too, with one exception: the file
/// is root's and the process is another user's. There the owner lets the process in through the group, as Kubernetes
/// does (fsGroup).
pub(super) fn open_to_others(stat: &Stat) -> Option<u32> {
    let mode = stat.st_mode & 0o7777;
    let through_group = stat.st_uid == 0 && !rustix::process::geteuid().is_root();
    let forbidden = if through_group { 0o037 } else { 0o077 };
    (mode & forbidden != 0).then_some(mode)
}

/// Reads all of a file. Returns `None` if it is longer than `longest` bytes.
pub(super) fn read(file: &File, longest: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // The buffer is allocated once, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest + 1));
    let most = u64::try_from(longest + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= longest).then_some(bytes))
}
