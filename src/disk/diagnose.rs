//! Which side damaged a block: the disk, the network, or neither.
//!
//! A reader whose block fails to decode sends the checksum of what it received; the writer's checksum lies in a file
//! beside the data. The answer only colours the reader's error message, and a service must not use checksum files to
//! refuse blocks: for encrypted map outputs with several spills they are wrong.
//!
//! Of a chunk of a merged partition nobody stores a checksum. A sealed one needs none: what opens is what was pushed.
//!
//! Origin: `ExternalShuffleBlockResolver.diagnoseShuffleBlockCorruption` and `ShuffleChecksumHelper`, Spark 4.3.0.

use std::time::Instant;

use rustix::io::Errno;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::CorruptionCause;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::Region;
use sealed_shuffle_transport::seal::Pull;

use super::block_store::BlockStore;
use super::checksum::{Algorithm, Checksum};
use super::layout;
use super::lookup_error::LookupError;
use super::place::place;
use crate::confined::OpenFailure;

/// What a reader says about a block that it could not use.
#[derive(Clone, Copy, Debug)]
pub struct Diagnosis<'a> {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The map task.
    pub map: MapId,
    /// The partition.
    pub reduce: ReduceId,
    /// The checksum of what the reader received.
    pub checksum: i64,
    /// How it was computed.
    pub algorithm: &'a str,
}

/// A diagnosis that has begun.
#[derive(Debug)]
pub enum Examination {
    /// It is over.
    Done(CorruptionCause),
    /// The block is being read.
    Reading(Box<Reading>),
}

/// A block that is read, a step at a time, so that a long one holds up nobody.
#[derive(Debug)]
pub struct Reading {
    source: Source,
    checksum: Checksum,
    written: Written,
    received: i64,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source {
    /// They lie on the disk as readers get them; read up to `at`.
    Region { data: Region, at: u64 },
    /// They come by pulling.
    Pulled(Box<dyn Pull>),
}

/// What is known of the bytes that the writer sent.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// Their checksum.
    Checksum(i64),
    /// What can be read is what was written.
    Authentic,
    /// Nothing.
    Unknown,
}

impl Examination {
    /// Begins to find out what damaged a merged chunk, from the checksum of what its reader received. An authentic one is
    /// what was pushed, or cannot be read.
    pub fn of_chunk(chunk: Box<dyn Pull>, is_authentic: bool, algorithm: &str, received: i64) -> Self {
        let Some(algorithm) = Algorithm::from_name(algorithm) else {
            return Self::Done(CorruptionCause::UnsupportedChecksumAlgorithm);
        };
        let source = match chunk.region() {
            Some(data) => Source::Region { data, at: 0 },
            None => Source::Pulled(chunk),
        };
        let written = if is_authentic { Written::Authentic } else { Written::Unknown };
        let checksum = Checksum::new(algorithm);
        Self::Reading(Box::new(Reading { source, checksum, written, received }))
    }

    /// The lane of the disk that the block lies on, while it is being read.
    pub fn lane(&self) -> Option<Lane> {
        let Self::Reading(reading) = self else { return None };
        match &reading.source {
            Source::Region { data, .. } => data.file().map(|file| file.lane().clone()),
            Source::Pulled(chunk) => Some(chunk.lane()),
        }
    }

    /// Reads the next step.
    pub fn step(self, on: &OnLane) -> Self {
        let Self::Reading(mut reading) = self else { return self };
        let Reading { source, checksum, .. } = &mut *reading;
        let is_over = match source {
            Source::Region { data, at } => match checksum.read_step(on, data, *at) {
                Err(_) => return Self::Done(CorruptionCause::UnknownIssue),
                Ok(end) => {
                    *at = end;
                    end >= data.len()
                }
            },
            Source::Pulled(chunk) => match checksum.pull_step(on, &mut **chunk) {
                // It does not open, or the disk does not give it.
                Err(_) => return Self::Done(CorruptionCause::DiskIssue),
                Ok(is_over) => is_over,
            },
        };
        match is_over {
            true => Self::Done(cause(reading.checksum.value(), reading.written, reading.received)),
            false => Self::Reading(reading),
        }
    }

    /// Reads all of it at once.
    #[cfg(test)]
    pub fn finish(mut self, on: &OnLane) -> CorruptionCause {
        loop {
            match self {
                Self::Done(cause) => return cause,
                reading => self = reading.step(on),
            }
        }
    }
}

impl BlockStore {
    /// The lane of the disk that the writer's checksum of a block lies on: [`BlockStore::examine`] runs there. `None` where
    /// nobody computes such checksums.
    pub fn checksum_lane(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        block: &Diagnosis<'_>,
    ) -> Result<Option<Lane>, LookupError> {
        let Some(algorithm) = Algorithm::from_name(block.algorithm) else { return Ok(None) };
        let registration = self.registration(app, executor, Instant::now())?;
        let name = layout::checksum_name(block.shuffle, block.map, algorithm.name());
        let file = place(&registration, app, executor, name)?;
        Ok(Some(self.roots().disk(file.dir).lane().clone()))
    }

    /// Begins to find out what damaged a block, from where its bytes lie (or why they cannot be had) and from the writer's
    /// checksum of it.
    pub fn examine(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        block: &Diagnosis<'_>,
        data: Result<Region, LookupError>,
    ) -> Result<Examination, LookupError> {
        let data = match data {
            Err(error @ (LookupError::OutOfBounds { .. } | LookupError::NegativeLength { .. })) => {
                return Err(error);
            }
            data => data.ok(),
        };
        let Some(algorithm) = Algorithm::from_name(block.algorithm) else {
            return Ok(Examination::Done(CorruptionCause::UnsupportedChecksumAlgorithm));
        };
        let name = layout::checksum_name(block.shuffle, block.map, algorithm.name());
        let stored = self.stored_checksum(on, app, executor, name, block.reduce)?;
        let (Some(stored), Some(data)) = (stored, data) else {
            return Ok(Examination::Done(CorruptionCause::UnknownIssue));
        };
        let (received, checksum) = (block.checksum, Checksum::new(algorithm));
        let (source, written) = (Source::Region { data, at: 0 }, Written::Checksum(stored));
        Ok(Examination::Reading(Box::new(Reading { source, checksum, written, received })))
    }

    /// Looks the block up, and begins to examine it.
    #[cfg(test)]
    pub(super) fn diagnose(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        block: &Diagnosis<'_>,
    ) -> Result<Examination, LookupError> {
        let output = self.resolve_map(on, app, executor, block.shuffle, block.map);
        let data = output.map_err(LookupError::while_diagnosing)?.block(on, block.reduce);
        self.examine(on, app, executor, block, data)
    }

    /// The writer's checksum of a partition, if it can be had.
    fn stored_checksum(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        name: String,
        reduce: ReduceId,
    ) -> Result<Option<i64>, LookupError> {
        let registration = self.registration(app, executor, Instant::now())?;
        let file = place(&registration, app, executor, name)?;
        let position = u64::try_from(reduce.0).ok().and_then(|reduce| reduce.checked_mul(8));
        let Some(position) = position else { return Ok(None) };
        let fd = match self.roots().disk(file.dir).open_file(on, &file.path) {
            Ok((fd, _)) => fd,
            Err(OpenFailure::Escapes) => return Err(LookupError::Escapes { path: file.shown() }),
            Err(_) => return Ok(None),
        };
        let mut stored = [0; 8];
        let mut filled = 0;
        while filled < stored.len() {
            match rustix::io::pread(&fd, &mut stored[filled..], position + filled as u64) {
                Ok(0) => return Ok(None),
                Ok(n) => filled += n,
                Err(Errno::INTR) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(i64::from_be_bytes(stored)))
    }
}

fn cause(read: i64, written: Written, received: i64) -> CorruptionCause {
    match written {
        Written::Checksum(written) if written != read => CorruptionCause::DiskIssue,
        // What was received is on the disk, and nobody knows whether that was written.
        Written::Unknown if read == received => CorruptionCause::UnknownIssue,
        _ if read != received => CorruptionCause::NetworkIssue,
        _ => CorruptionCause::ChecksumVerifyPass,
    }
}
