//! Reads pieces of files, and opens none that could keep the caller waiting.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::io_encryption::segments::fill;

/// Length of a sample.
pub const SAMPLE: usize = 4096;

/// Reads an open file from an offset on. It neither uses nor moves the file's own position.
pub(super) struct From0<'f>(pub(super) &'f File, pub(super) u64);

impl io::Read for From0<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read_at(out, self.1)?;
        self.1 += n as u64;
        Ok(n)
    }
}

/// Reads at most `most` bytes at `at`; fewer where the file ends.
pub(super) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    fill(&mut From0(file, at), out)
}

/// Reads a short range, or as much of it as is there.
pub(super) fn read_range<'b>(file: &File, range: &Range<u64>, out: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
    out.resize(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0), 0);
    let n = read_at(file, out, range.start)?;
    Ok(&out[..n])
}

/// Opens a regular file, and nothing that could keep the caller waiting, such as a pipe.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}
