//! One open file of the view: stretches of it, out of the chunks of its partition.
//!
//! A chunk opens from its begin to its end alone. Readers go on where they stopped, so the chunk that they are in is kept
//! open; whoever jumps back has it opened anew.

use std::sync::Arc;

use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::Pull;

use crate::merge::PartitionReader;

/// The blocks of a partition, as they are read.
#[derive(Debug)]
pub struct Blocks {
    reader: Arc<dyn PartitionReader>,
    /// Where each chunk begins, and the end of the last.
    offsets: Vec<u64>,
    open: Option<OpenChunk>,
    /// What is asked for.
    start: u64,
    end: u64,
    /// So much of it is there, at the front of `out`.
    filled: usize,
    out: Vec<u8>,
}

#[derive(Debug)]
struct OpenChunk {
    pull: Box<dyn Pull>,
    /// The place in the file of the next byte that it gives.
    at: u64,
    end: u64,
}

/// Why a stretch cannot be read; the text names the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StretchError(String);

impl Blocks {
    /// `offsets` are those of the reader's chunks.
    pub fn new(reader: Arc<dyn PartitionReader>, offsets: Vec<u64>) -> Self {
        Self { reader, offsets, open: None, start: 0, end: 0, filled: 0, out: Vec::new() }
    }

    /// Bytes of all chunks.
    pub fn size(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Asks for a stretch; what lies behind the end of the file is cut off.
    pub fn ask(&mut self, offset: u64, len: usize) {
        (self.start, self.filled) = (offset, 0);
        self.end = offset.saturating_add(len as u64).min(self.size()).max(offset);
        let wanted = usize::try_from(self.end - self.start).unwrap_or(len);
        if self.out.len() < wanted {
            self.out.resize(wanted, 0);
        }
    }

    /// Reads on as far as that takes no waiting for a disk. Whether all of the stretch is there.
    pub fn read_now(&mut self) -> Result<bool, StretchError> {
        self.read(None)
    }

    /// Reads all of it.
    pub fn read_blocking(&mut self, on: &OnLane) -> Result<(), StretchError> {
        self.read(Some(on)).map(drop)
    }

    /// What was read of the stretch.
    pub fn bytes(&self) -> &[u8] {
        &self.out[..self.filled]
    }

    /// Whether a chunk is kept open, with a descriptor and a buffer.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Closes it, and gives the memory back.
    pub fn close(&mut self) {
        (self.open, self.filled, self.out) = (None, 0, Vec::new());
    }

    fn read(&mut self, on: Option<&OnLane>) -> Result<bool, StretchError> {
        loop {
            let at = self.start + self.filled as u64;
            if at >= self.end {
                return Ok(true);
            }
            let chunk = match &mut self.open {
                Some(chunk) if chunk.at <= at && at < chunk.end => chunk,
                _ => {
                    let Some(on) = on else { return Ok(false) };
                    let chunk = Self::chunk(&*self.reader, &self.offsets, on, at)?;
                    self.open.insert(chunk)
                }
            };
            let room = usize::try_from(self.end.min(chunk.end) - at).unwrap_or(usize::MAX);
            let out = &mut self.out[self.filled..self.filled + room];
            let Some(taken) = chunk.take(at, out, on)? else { return Ok(false) };
            self.filled += taken;
            if chunk.at == chunk.end {
                self.open = None;
            }
        }
    }

    fn chunk(
        reader: &dyn PartitionReader,
        offsets: &[u64],
        on: &OnLane,
        at: u64,
    ) -> Result<OpenChunk, StretchError> {
        let behind = offsets.partition_point(|offset| *offset <= at);
        let number = behind.saturating_sub(1);
        let (Some(start), Some(end)) = (offsets.get(number), offsets.get(behind)) else {
            return Err(StretchError(format!("no chunk has the byte at {at}")));
        };
        let pull = reader.chunk(on, number).map_err(|error| StretchError(error.to_string()))?;
        let pull = pull.filter(|pull| pull.remaining() == end - start);
        let pull =
            pull.ok_or_else(|| StretchError(format!("chunk {number} has not the length it should have")))?;
        Ok(OpenChunk { pull, at: *start, end: *end })
    }
}

impl OpenChunk {
    /// Puts bytes from the place `at` on into `out`: how many, at least one. `None` where a disk has to be waited for.
    fn take(&mut self, at: u64, out: &mut [u8], on: Option<&OnLane>) -> Result<Option<usize>, StretchError> {
        let failed = |error: sealed_shuffle_transport::seal::PullError| StretchError(error.to_string());
        loop {
            if self.at == at && self.pull.plain().is_empty() {
                // Opened to where it goes, if it fits.
                if let Some(n) = self.pull.put_now(out).map_err(failed)?.filter(|n| *n > 0) {
                    self.at += n as u64;
                    return Ok(Some(n));
                }
            }
            if self.pull.plain().is_empty() {
                match on {
                    Some(on) => self.pull.fill_blocking(on).map_err(failed)?,
                    None if !self.pull.fill_now().map_err(failed)? => return Ok(None),
                    None => {}
                }
            }
            let plain = self.pull.plain();
            if plain.is_empty() {
                return Err(StretchError(format!("its chunk ended before the byte at {at}")));
            }
            let skipped = usize::try_from(at - self.at).map_or(plain.len(), |skip| skip.min(plain.len()));
            let taken = out.len().min(plain.len() - skipped);
            out[..taken].copy_from_slice(&plain[skipped..skipped + taken]);
            self.pull.consume(skipped + taken);
            self.at += (skipped + taken) as u64;
            if taken > 0 {
                return Ok(Some(taken));
            }
        }
    }
}
