//! Shuffle files as Spark writes them, with content that can be computed again, and the digests of what must come back.
//!
//! File placement is `ExecutorDiskUtils.getFilePath` (Spark 4.3.0); index and checksum files are rows of big-endian
//! 64-bit numbers (`IndexShuffleBlockResolver`, `ShuffleChecksumUtils`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealed_shuffle_measure::Noise;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Occurs all through generated content, so that a leak on the wire is found by searching for it.
pub const CANARY: &str = "CANARY-thrush-in-the-hedge-";

/// The checksum algorithms of `spark.shuffle.checksum.algorithm`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// Spark's default.
    Adler32,
    /// CRC-32 as in zip.
    Crc32,
    /// Castagnoli, since Spark 4.0.
    Crc32c,
}

impl Algorithm {
    /// As in file names and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adler32 => "ADLER32",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
        }
    }

    /// The checksum of one partition.
    pub fn of(self, bytes: &[u8]) -> u64 {
        u64::from(match self {
            Self::Adler32 => adler2::adler32_slice(bytes),
            Self::Crc32 => crc32fast::hash(bytes),
            Self::Crc32c => crc32c::crc32c(bytes),
        })
    }
}

/// The shuffle manager that real executors name when they register.
pub const SORT_MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

/// The same as executors of YARN name it, of an attempt that merges.
pub fn merging_manager(attempt: i32) -> String {
    let dir = merge_dir(attempt);
    format!(r#"{SORT_MANAGER}:{{"mergeDir":"{dir}","attemptId":"{attempt}"}}}}}}"#)
}

/// The name of the merge directories of an attempt.
fn merge_dir(attempt: i32) -> String {
    format!("merge_manager_{attempt}")
}

/// The directories of one executor.
#[derive(Clone, Debug)]
pub struct Executor {
    /// In the order used for hashing.
    pub dirs: Vec<PathBuf>,
    /// `subDirsPerLocalDir`.
    pub sub_dirs: u32,
}

impl Executor {
    /// Two directories beneath `root`, as a block manager would make them.
    pub fn beneath(root: &Path, name: &str) -> Self {
        let dirs: Vec<PathBuf> = (0..2)
            .map(|n| root.join(format!("spark-{name}-{n}")).join(format!("blockmgr-{name}-{n}")))
            .collect();
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        }
        Self { dirs, sub_dirs: 64 }
    }

    /// The same with the merge directories of attempt 1.
    pub fn merging_beneath(root: &Path, name: &str) -> Self {
        let executor = Self::beneath(root, name);
        executor.make_merge_dirs(1);
        executor
    }

    /// Makes the merge directories of an attempt beside its own, with their sub-directories, as an executor does before it
    /// registers (`DiskBlockManager.createLocalDirsForMergedShuffleBlocks`, Spark 4.3.0).
    pub fn make_merge_dirs(&self, attempt: i32) -> Vec<PathBuf> {
        let beside = |dir: &PathBuf| dir.parent().expect("they lie in a directory").join(merge_dir(attempt));
        let dirs: Vec<PathBuf> = self.dirs.iter().map(beside).collect();
        for sub_dir in
            dirs.iter().flat_map(|dir| (0..self.sub_dirs).map(move |n| dir.join(format!("{n:02x}"))))
        {
            fs::create_dir_all(&sub_dir)
                .unwrap_or_else(|e| panic!("cannot create {}: {e}", sub_dir.display()));
        }
        dirs
    }

    /// Where a file of this name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        let hash = name.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let hash = if hash == i32::MIN { 0 } else { hash.unsigned_abs() };
        let count = u32::try_from(self.dirs.len()).expect("a handful of directories");
        let dir = &self.dirs[(hash % count) as usize];
        dir.join(format!("{:02x}", (hash / count) % self.sub_dirs)).join(name)
    }

    /// Writes a file of this name where it belongs.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("files lie in directories"))
            .and_then(|()| fs::write(&path, bytes))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }

    /// Writes data and index file of one map output.
    pub fn write_map(&self, shuffle: u32, map: u64, partitions: &[Vec<u8>]) {
        self.write(&format!("shuffle_{shuffle}_{map}_0.data"), &partitions.concat());
        let ends = partitions.iter().scan(0u64, |end, partition| {
            *end += partition.len() as u64;
            Some(*end)
        });
        let index: Vec<u8> = std::iter::once(0).chain(ends).flat_map(u64::to_be_bytes).collect();
        self.write(&format!("shuffle_{shuffle}_{map}_0.index"), &index);
    }

    /// Writes the checksum file of one map output.
    pub fn write_checksums(&self, shuffle: u32, map: u64, algorithm: Algorithm, partitions: &[Vec<u8>]) {
        let rows: Vec<u8> = partitions.iter().flat_map(|bytes| algorithm.of(bytes).to_be_bytes()).collect();
        self.write(&format!("shuffle_{shuffle}_{map}_0.checksum.{}", algorithm.name()), &rows);
    }

    /// The directories as messages carry them.
    pub fn dir_names(&self) -> Vec<String> {
        self.dirs.iter().map(|dir| dir.to_str().expect("test paths are text").to_owned()).collect()
    }
}

/// `length` bytes that depend on `seed` alone: canaries among noise.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = Noise::seeded(seed);
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        bytes.extend_from_slice(CANARY.as_bytes());
        for _ in 0..64 {
            bytes.extend_from_slice(&noise.next_u64().to_le_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

/// Length and hash of bytes, on whichever side they were seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Digest {
    /// How many bytes.
    pub length: u64,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

impl Digest {
    /// Of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        Self { length: bytes.len() as u64, sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect() }
    }

    /// Of what Spark's client received, as it reports it.
    pub fn received(answer: &Value) -> Self {
        let length = answer["length"].as_u64().unwrap_or_else(|| panic!("not received but {answer}"));
        Self { length, sha256: answer["sha256"].as_str().expect("a digest has a hash").to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_files_where_spark_does() {
        let one = Executor { dirs: vec!["/a".into()], sub_dirs: 64 };
        let three = Executor { dirs: vec!["/a".into(), "/b".into(), "/c".into()], sub_dirs: 16 };
        assert_eq!(one.path("shuffle_0_0_0.data"), Path::new("/a/0c/shuffle_0_0_0.data"));
        assert_eq!(three.path("shuffle_0_0_0.index"), Path::new("/c/0a/shuffle_0_0_0.index"));
        assert_eq!(one.path("polygenelubricants"), Path::new("/a/00/polygenelubricants"));
    }

    #[test]
    fn content_depends_on_the_seed_alone() {
        assert_eq!(content(7, 5000), content(7, 5000));
        assert_ne!(content(7, 5000), content(8, 5000));
        assert_eq!(content(7, 5000).len(), 5000);
    }
}
