//! Which side damaged a block: the disk, the network, or neither.
//!
//! A reader whose block fails to decode sends the checksum of what it received; the writer's checksum lies in a file
//! beside the data. The answer only colours the reader's error message, and a service must not use checksum files to
//! refuse blocks: for encrypted map outputs with several spills they are wrong.
//!
//! Origin: `ExternalShuffleBlockResolver.diagnoseShuffleBlockCorruption` and `ShuffleChecksumHelper`, Spark 4.3.0.

use std::time::Instant;

use rustix::io::Errno;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::CorruptionCause;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::Region;

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
    stored: i64,
    received: i64,
    data: Region,
    checksum: Checksum,
    at: u64,
}

impl Examination {
    /// The lane of the disk that the block lies on, while it is being read.
    pub fn lane(&self) -> Option<&Lane> {
        match self {
            Self::Done(_) => None,
            Self::Reading(reading) => reading.data.file().map(|file| file.lane()),
        }
    }

    /// Reads the next step.
    pub fn step(self, on: &OnLane) -> Self {
        let Self::Reading(mut reading) = self else { return self };
        match reading.checksum.read_step(on, &reading.data, reading.at) {
            Err(_) => Self::Done(CorruptionCause::UnknownIssue),
            Ok(at) if at < reading.data.len() => {
                reading.at = at;
                Self::Reading(reading)
            }
            Ok(_) => {
                let Reading { stored, received, checksum, .. } = *reading;
                Self::Done(cause(checksum.value(), stored, received))
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
        Ok(Examination::Reading(Box::new(Reading { stored, received, data, checksum, at: 0 })))
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

fn cause(computed: i64, stored: i64, received: i64) -> CorruptionCause {
    match (computed == stored, stored == received) {
        (false, _) => CorruptionCause::DiskIssue,
        (true, false) => CorruptionCause::NetworkIssue,
        (true, true) => CorruptionCause::ChecksumVerifyPass,
    }
}
