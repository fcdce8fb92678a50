//! The log of `serve`: best effort. Nobody waits for it, and nobody fails by it.
//!
//! ```text
//! any task ─► queue (bounded) ─► one thread ─► standard error
//! ```
//!
//! A line that finds the queue full, or that standard error does not take (a full disk, a pipe whose reader is gone), is
//! dropped and counted. Standard error may lie on a disk that hangs: then its thread waits, and no other.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

/// Bytes of lines that wait to be written. Further ones are lost.
const WAITING: usize = 1 << 20;

/// What a line costs beside its bytes.
const OF_A_LINE: usize = 64;

/// For the last lines to be written, when the process ends.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go in. Writing to it neither waits nor fails.
#[derive(Debug)]
pub(super) struct LogQueue {
    to: Sender<Entry>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    from: Mutex<Option<Receiver<Entry>>>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// All lines before it are written when the other end is dropped.
    End {
        _until: Sender<()>,
    },
}

impl LogQueue {
    pub(super) fn new() -> Arc<Self> {
        let (to, from) = channel();
        let from = Mutex::new(Some(from));
        Arc::new(Self { to, waiting: Arc::default(), lost: Arc::default(), from })
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Has lines written from now on, also those that wait already. Its thread is confined as the process is by then.
    pub(super) fn start(&self, to: impl Write + Send + 'static) -> io::Result<()> {
        let Some(from) = self.from.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let (waiting, lost) = (Arc::clone(&self.waiting), Arc::clone(&self.lost));
        let write = move || write_all(&from, to, &waiting, &lost);
        thread::Builder::new().name("log".into()).spawn(write).map(drop)
    }

    /// Waits until all lines are written, but not long.
    pub(super) fn finish(&self) {
        let (until, ended) = channel();
        if self.to.send(Entry::End { _until: until }).is_ok() {
            // It never sends: either it hangs, or it drops its end.
            _ = ended.recv_timeout(LAST);
        }
    }
}

impl Write for &LogQueue {
    /// A whole line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let cost = line.len() + OF_A_LINE;
        let is_full = self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > WAITING;
        if is_full || self.to.send(Entry::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(cost, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(from: &Receiver<Entry>, mut to: impl Write, waiting: &AtomicUsize, lost: &AtomicU64) {
    let mut said = 0;
    for entry in from {
        let Entry::Line(line) = entry else { continue };
        waiting.fetch_sub(line.len() + OF_A_LINE, Ordering::Relaxed);
        if to.write_all(&line).and_then(|()| to.flush()).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let all = lost.load(Ordering::Relaxed);
        if all > said {
            warn!(lines = all - said, "lines of the log were lost");
            said = all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a test sees of standard error, which fails while it is told to.
    #[derive(Clone, Debug, Default)]
    struct Page {
        written: Arc<Mutex<Vec<u8>>>,
        fails: Arc<AtomicU64>,
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.fails.load(Ordering::Relaxed) > 0 {
                self.fails.fetch_sub(1, Ordering::Relaxed);
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lost(queue: &LogQueue) -> u64 {
        queue.lost.load(Ordering::Relaxed)
    }

    #[test]
    fn line_that_cannot_be_written_is_counted_and_the_next_one_is_written() {
        let (queue, page) = (LogQueue::new(), Page::default());
        page.fails.store(2, Ordering::Relaxed);
        for line in ["one\n", "two\n", "three\n"] {
            (&*queue).write_all(line.as_bytes()).unwrap();
        }
        queue.start(page.clone()).unwrap();
        queue.finish();
        assert_eq!(*page.written.lock().unwrap(), b"three\n");
        assert_eq!(lost(&queue), 2);
    }

    #[test]
    fn writer_that_hangs_holds_up_nobody() {
        struct Hung(Receiver<()>);
        impl Write for Hung {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                // Until the test is over.
                _ = self.0.recv();
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (free, hang) = channel();
        let queue = LogQueue::new();
        queue.start(Hung(hang)).unwrap();
        let line = [b'x'; 1000];
        let room = WAITING / (line.len() + OF_A_LINE);
        for _ in 0..2 * room {
            (&*queue).write_all(&line).unwrap();
        }
        let lost = lost(&queue);
        assert!(lost >= room as u64 - 1 && lost <= room as u64 + 1, "{lost} of {}", 2 * room);
        drop(free);
    }
}
