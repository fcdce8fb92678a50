//! The bytes of a block that is pushed: at hand, or a range of a file of ours.
//!
//! A range is read while the socket takes it, a part at a time, so that no block is ever whole in memory. What the page
//! cache has is read on the spot; the disk is waited for on the blocking pool.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use rustix::io::{Errno, ReadWriteFlags};

use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::{Body, Pull, PullError, Ticket};

/// The bytes of a block. Cheap to clone: they are sent again where a connection broke.
#[derive(Clone, Debug)]
pub struct BlockBody(Source);

#[derive(Clone, Debug)]
enum Source {
    Bytes(Bytes),
    File { file: Arc<File>, offset: u64, len: u64 },
}

impl BlockBody {
    /// `len` bytes of an open file from `offset` on. They must stay there until they were pushed: a file that turns out
    /// shorter ends the connection, whose server waits for the rest.
    pub fn file(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self(Source::File { file, offset, len })
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a connection sends it.
    pub(crate) fn outbound(&self, ticket: Ticket) -> Body {
        let pull: Box<dyn Pull> = match &self.0 {
            Source::Bytes(bytes) => Box::new(AtHand(bytes.clone())),
            Source::File { file, offset, len } => {
                Box::new(Reading { file: Arc::clone(file), next: *offset, unread: *len, plain: Bytes::new() })
            }
        };
        Body::pulled(pull, ticket)
    }
}

impl From<Bytes> for BlockBody {
    fn from(bytes: Bytes) -> Self {
        Self(Source::Bytes(bytes))
    }
}

/// Bytes at hand.
#[derive(Debug)]
struct AtHand(Bytes);

impl Pull for AtHand {
    fn remaining(&self) -> u64 {
        self.0.len() as u64
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        Ok(true)
    }

    fn fill_blocking(&mut self, _: &OnLane) -> Result<(), PullError> {
        Ok(())
    }

    fn plain(&self) -> &[u8] {
        &self.0
    }

    fn consume(&mut self, n: usize) {
        self.0.advance(n);
    }
}

/// Bytes read from a file at once.
const PART: usize = 128 << 10;

/// A range of a file as it is read.
#[derive(Debug)]
struct Reading {
    file: Arc<File>,
    /// Where the bytes begin in the file that were not read.
    next: u64,
    unread: u64,
    /// Read and not taken.
    plain: Bytes,
}

impl Reading {
    fn room(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.unread).unwrap_or(PART).min(PART)]
    }

    fn has_read(&mut self, mut part: Vec<u8>, n: usize) {
        part.truncate(n);
        self.next += n as u64;
        self.unread -= n as u64;
        self.plain = part.into();
    }

    fn is_at_hand(&self) -> bool {
        !self.plain.is_empty() || self.unread == 0
    }
}

impl Pull for Reading {
    fn remaining(&self) -> u64 {
        self.unread + self.plain.len() as u64
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        if self.is_at_hand() {
            return Ok(true);
        }
        let mut part = self.room();
        let into = &mut [IoSliceMut::new(&mut part)];
        match rustix::io::preadv2(&*self.file, into, self.next, ReadWriteFlags::NOWAIT) {
            // Linux 5.9 and 5.10 may say 0 before the end: the blocking read decides.
            Ok(0) => Ok(false),
            Ok(n) => {
                self.has_read(part, n);
                Ok(true)
            }
            Err(
                Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM,
            ) => Ok(false),
            Err(errno) => Err(failed(self.next, &errno)),
        }
    }

    fn fill_blocking(&mut self, _: &OnLane) -> Result<(), PullError> {
        if self.is_at_hand() {
            return Ok(());
        }
        let mut part = self.room();
        let n = loop {
            match self.file.read_at(&mut part, self.next) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(self.next, &error)),
                Ok(n) => break n,
            }
        };
        if n == 0 {
            let (end, missing) = (self.next, self.unread);
            return Err(PullError(format!(
                "the file of a pushed block ends at {end}, {missing} bytes early"
            )));
        }
        self.has_read(part, n);
        Ok(())
    }

    fn plain(&self) -> &[u8] {
        &self.plain
    }

    fn consume(&mut self, n: usize) {
        self.plain.advance(n);
    }
}

fn failed(position: u64, error: &dyn std::fmt::Display) -> PullError {
    PullError(format!("cannot read the file of a pushed block at {position}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn pulled(mut pull: Reading) -> Result<Vec<u8>, PullError> {
        let mut all = Vec::new();
        while pull.remaining() > 0 {
            if !pull.fill_now()? {
                pull.fill_blocking(&OnLane::here())?;
            }
            let n = pull.plain().len().min(1000);
            all.extend_from_slice(&pull.plain()[..n]);
            pull.consume(n);
        }
        assert!(pull.fill_now()? && pull.plain().is_empty(), "nothing is left");
        Ok(all)
    }

    fn reading(content: &[u8], next: u64, unread: u64) -> Reading {
        let file = tempfile::tempfile().expect("the temporary directory is writable");
        file.write_all_at(content, 0).expect("the file was just made");
        Reading { file: Arc::new(file), next, unread, plain: Bytes::new() }
    }

    #[test]
    fn a_range_of_a_file_is_read_to_its_end_and_no_further() {
        let content: Vec<u8> = (0..500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        assert_eq!(pulled(reading(&content, 17, 400_000)).unwrap(), &content[17..400_017]);
        assert_eq!(pulled(reading(&content, 0, 0)).unwrap(), b"");
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let error = pulled(reading(b"short", 0, 6)).unwrap_err();
        assert_eq!(error.0, "the file of a pushed block ends at 5, 1 bytes early");
    }

    #[test]
    fn a_body_says_its_length_before_it_is_read() {
        use sealed_shuffle_protocol::connection::Body as _;
        let counter = Arc::new(AtomicU64::new(0));
        let file = Arc::new(tempfile::tempfile().unwrap());
        let bodies = [BlockBody::from(Bytes::from_static(b"abc")), BlockBody::file(file, 7, 1 << 40)];
        let lens = bodies.each_ref().map(|body| (body.len(), body.outbound(Ticket::take(&counter)).len()));
        assert_eq!(lens, [(3, 3), (1 << 40, 1 << 40)]);
    }
}
