//! A map output with blocks of one size, at the place where an executor would put it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sealed_shuffle_measure::Noise;
use sealed_shuffle_protocol::ids::{MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::BlockId;

use super::executor::SUB_DIRS;
use crate::disk::layout::{Placement, data_name, index_name};

/// The only map.
const MAP: MapId = MapId(0);

/// Blocks of one size.
pub(super) struct Blocks {
    shuffle: ShuffleId,
    /// Size of each block in bytes.
    pub(super) size: u64,
    /// Number of blocks.
    pub(super) count: i32,
    data: PathBuf,
}

impl Blocks {
    /// Writes about `bytes` in blocks of `size` into the executor's directory.
    pub(super) fn write(executor: &Path, shuffle: i32, size: u64, bytes: u64) -> io::Result<Self> {
        let count = i32::try_from((bytes / size).max(1)).map_err(io::Error::other)?;
        let shuffle = ShuffleId(shuffle);
        let data = path(executor, &data_name(shuffle, MAP))?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&data)?);
        let pattern = noise();
        let mut left = size * u64::from(count.unsigned_abs());
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(pattern.len());
            file.write_all(&pattern[..take])?;
            left -= take as u64;
        }
        file.flush()?;
        // A cold run can drop only clean pages, and no write-back should happen during the measurement.
        file.get_ref().sync_all()?;

        write_index(executor, shuffle, size, count)?;
        Ok(Self { shuffle, size, count, data })
    }

    /// `count` blocks of `size` that take no room on the disk: they are zeros, and come from the page cache after one
    /// read.
    pub(super) fn sparse(executor: &Path, shuffle: i32, size: u64, count: i32) -> io::Result<Self> {
        let shuffle = ShuffleId(shuffle);
        let data = path(executor, &data_name(shuffle, MAP))?;
        File::create(&data)?.set_len(size * u64::from(count.unsigned_abs()))?;
        write_index(executor, shuffle, size, count)?;
        Ok(Self { shuffle, size, count, data })
    }

    /// Picks `count` blocks from the one at `first` on, and wraps around.
    pub(super) fn some(&self, first: u64, count: usize) -> Vec<BlockId> {
        let all = u64::from(self.count.unsigned_abs());
        (first..)
            .take(count)
            .filter_map(|at| i32::try_from(at % all).ok())
            .map(|reduce| BlockId::Shuffle { shuffle: self.shuffle, map: MAP, reduce: ReduceId(reduce) })
            .collect()
    }

    /// Drops the files from the page cache, so that the next reads go to the disk.
    pub(super) fn evict(&self) -> io::Result<()> {
        let file = File::open(&self.data)?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

/// A megabyte that no layer can compress.
pub(super) fn noise() -> Vec<u8> {
    Noise::default().bytes(1 << 20)
}

fn write_index(executor: &Path, shuffle: ShuffleId, size: u64, count: i32) -> io::Result<()> {
    let mut index = BufWriter::new(File::create(path(executor, &index_name(shuffle, MAP))?)?);
    for at in 0..=u64::from(count.unsigned_abs()) {
        index.write_all(&(at * size).to_be_bytes())?;
    }
    index.flush()
}

fn path(executor: &Path, name: &str) -> io::Result<PathBuf> {
    let place = Placement::of(name, 1, SUB_DIRS).ok_or_else(|| io::Error::other("no directories"))?;
    let dir = executor.join(place.sub_dir());
    fs::create_dir_all(&dir)?;
    Ok(dir.join(name))
}
