//! Reads lines of bounded length, each within a bounded time, into one buffer that is wiped.

use std::io;
use std::ops::Range;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize, Zeroizing};

/// The longest line with its end: room for the longest secret in base64.
pub(super) const LONGEST_LINE: usize = 96 << 10;

/// The reason why there is no next line.
#[derive(Debug, Error)]
pub(super) enum LineError {
    #[error("a line of more than {LONGEST_LINE} bytes")]
    TooLong,
    #[error("a line that did not end within {0:?}")]
    TooLate(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Bytes that were read and not yet taken.
pub(super) struct Lines {
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
    /// Length of the line that was taken last, with its end.
    taken: usize,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: Zeroizing::new(vec![0; LONGEST_LINE]), filled: 0, taken: 0 }
    }

    /// The next line without its end; `None` where the peer has closed, even in the middle of a line. A line must end
    /// within `within` of its first byte. With `now` the first byte has to come within that time, too.
    pub(super) async fn next(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        within: Duration,
        now: bool,
    ) -> Result<Option<&[u8]>, LineError> {
        self.wipe_taken();
        let mut looked = 0;
        let mut deadline = now.then(|| Instant::now() + within);
        loop {
            if let Some(end) = self.end_in(looked..self.filled) {
                self.taken = end + 1;
                return Ok(Some(&self.buffer[..end]));
            }
            looked = self.filled;
            if self.filled == self.buffer.len() {
                return Err(LineError::TooLong);
            }
            if self.filled > 0 {
                deadline = deadline.or_else(|| Some(Instant::now() + within));
            }
            let room = &mut self.buffer[self.filled..];
            let read = match deadline {
                None => from.read(room).await,
                Some(deadline) => {
                    timeout_at(deadline, from.read(room)).await.map_err(|_| LineError::TooLate(within))?
                }
            };
            match read? {
                0 => return Ok(None),
                read => self.filled += read,
            }
        }
    }

    fn end_in(&self, range: Range<usize>) -> Option<usize> {
        memchr::memchr(b'\n', &self.buffer[range.clone()]).map(|at| range.start + at)
    }

    fn wipe_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.buffer.copy_within(taken..self.filled, 0);
        let left = self.filled - taken;
        self.buffer[left..self.filled].zeroize();
        self.filled = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    async fn all(mut bytes: &[u8]) -> Result<Vec<String>, LineError> {
        let mut lines = Lines::new();
        let mut all = Vec::new();
        while let Some(line) = lines.next(&mut bytes, WITHIN, false).await? {
            all.push(String::from_utf8_lossy(line).into_owned());
        }
        assert!(lines.buffer[lines.filled..].iter().all(|byte| *byte == 0), "what was taken is wiped");
        Ok(all)
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_half_a_line_does_not() {
        assert_eq!(all(b"one\n\ntwo\nhal").await.unwrap(), ["one", "", "two"]);
    }

    #[tokio::test]
    async fn rejects_a_line_longer_than_the_bound() {
        let longest = vec![b'a'; LONGEST_LINE - 1];
        assert_eq!(all(&[&longest[..], b"\nb\n"].concat()).await.unwrap().len(), 2);
        assert!(matches!(all(&[&longest[..], b"aa\n"].concat()).await, Err(LineError::TooLong)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_began_must_end_and_silence_between_lines_is_free() {
        let (mut far, mut near) = tokio::io::duplex(64);
        let mut lines = Lines::new();
        let late = lines.next(&mut near, WITHIN, true).await;
        assert!(matches!(late, Err(LineError::TooLate(_))), "where it is wanted now");
        let silent = tokio::time::timeout(100 * WITHIN, lines.next(&mut near, WITHIN, false)).await;
        assert!(silent.is_err(), "nothing but the test ends the silence");
        tokio::io::AsyncWriteExt::write_all(&mut far, b"begun").await.unwrap();
        let late = lines.next(&mut near, WITHIN, false).await;
        assert!(matches!(late, Err(LineError::TooLate(_))));
    }
}
