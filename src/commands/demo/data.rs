//! A synthetic shuffle, laid out and encrypted as Spark's executors do.
//!
//! ```text
//! data file    | IV | AES-CTR(rows) | IV | AES-CTR(rows) | …      one stream for each partition
//! index file   0, end of the 1st, end of the 2nd, …               u64, big-endian
//! ```
//!
//! `spark.io.encryption` of Spark 2.4.8 to 4.3.0: 16 random bytes, then the payload under AES/CTR with these bytes as
//! the first counter. Every block can be computed again from its numbers. So a fetched block is compared with the
//! computed one, and not with the bytes on the disk.

use std::fs::{File, create_dir_all};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use aes::Aes128;
use crc32c::{crc32c, crc32c_append};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use sealed_shuffle_protocol::ids::{MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::BlockId;
use sealed_shuffle_transport::random::random_bytes;
use zeroize::Zeroizing;

use crate::disk::layout::{Placement, data_name, index_name};

/// The canary: it is in every row and must never be seen on the wire.
pub(super) const CANARY: &str = "canary-4e1243bd22c66e76";

/// Sub-directories of an executor's directory (`spark.diskStore.subDirectories`).
pub(super) const SUB_DIRS: i32 = 64;

const IV: usize = 16;

/// The shape of one shuffle, and the key of its application.
pub(super) struct Shuffle {
    pub(super) id: ShuffleId,
    pub(super) maps: i64,
    pub(super) reduces: i32,
    rows: usize,
    /// `None` stands for `spark.io.encryption.enabled=false`.
    encryption: Option<Encryption>,
}

struct Encryption {
    key: Zeroizing<[u8; 16]>,
    /// The checksums of all blocks, map by map.
    ivs: Vec<[u8; IV]>,
}

/// The written bytes, and CRC32C of each block and of each map output.
#[derive(Debug, Default)]
pub(super) struct WrittenData {
    pub(super) bytes: u64,
    pub(super) blocks: Vec<u32>,
    pub(super) maps: Vec<u32>,
}

/// Bytes of one row, its end of line included.
const ROW: usize = 128;

impl Shuffle {
    /// Makes a shuffle of about `bytes` in `maps` outputs of `reduces` partitions.
    pub(super) fn new(id: i32, maps: i64, reduces: i32, bytes: u64, encrypted: bool) -> io::Result<Self> {
        let blocks = u64::try_from(maps).unwrap_or(1) * u64::try_from(reduces).unwrap_or(1);
        let rows = usize::try_from(bytes / blocks / ROW as u64).unwrap_or(1).max(1);
        let encryption = match encrypted {
            false => None,
            true => {
                let key = Zeroizing::new(random_bytes().map_err(io::Error::other)?);
                let ivs = (0..blocks).map(|_| random_bytes().map_err(io::Error::other));
                Some(Encryption { key, ivs: ivs.collect::<io::Result<_>>()? })
            }
        };
        Ok(Self { id: ShuffleId(id), maps, reduces, rows, encryption })
    }

    /// Every block, map by map.
    pub(super) fn blocks(&self) -> Vec<BlockId> {
        let block =
            |map, reduce| BlockId::Shuffle { shuffle: self.id, map: MapId(map), reduce: ReduceId(reduce) };
        (0..self.maps).flat_map(|map| (0..self.reduces).map(move |reduce| block(map, reduce))).collect()
    }

    /// One range for each map output.
    pub(super) fn ranges(&self) -> Vec<BlockId> {
        let (start, end) = (ReduceId(0), ReduceId(self.reduces));
        (0..self.maps)
            .map(|map| BlockId::ShuffleBatch { shuffle: self.id, map: MapId(map), start, end })
            .collect()
    }

    /// The rows of a block, in clear.
    pub(super) fn rows(&self, map: i64, reduce: i32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rows * ROW);
        let mut noise = (map as u64) << 32 | u64::from(reduce.unsigned_abs()) | 1 << 63;
        for row in 0..self.rows {
            let from = out.len();
            // Writing to a vector cannot fail.
            write!(out, "row {row:07} of shuffle_{}_{map}_{reduce} {CANARY} ", self.id).ok();
            while out.len() < from + ROW - 1 {
                // xorshift64: any sequence that does not repeat will do.
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                out.push(b'a' + (noise % 26) as u8);
            }
            out.truncate(from + ROW - 1);
            out.push(b'\n');
        }
        out
    }

    /// The bytes of a block as they lie on the disk and leave the server.
    pub(super) fn stored(&self, map: i64, reduce: i32) -> Vec<u8> {
        let mut rows = self.rows(map, reduce);
        let Some(encryption) = &self.encryption else { return rows };
        let iv = encryption.ivs[self.position(map, reduce)];
        apply(&encryption.key, &iv, &mut rows);
        [&iv[..], &rows].concat()
    }

    /// The rows that a reader gets from the bytes of a block.
    pub(super) fn opened(&self, stored: &[u8]) -> Vec<u8> {
        let Some(encryption) = &self.encryption else { return stored.to_vec() };
        let Some((iv, rows)) = stored.split_first_chunk::<IV>() else { return Vec::new() };
        let mut rows = rows.to_vec();
        apply(&encryption.key, iv, &mut rows);
        rows
    }

    /// Writes data and index files beneath `dir`, as an executor with this one directory would.
    pub(super) fn write(&self, dir: &Path) -> io::Result<WrittenData> {
        let mut written = WrittenData::default();
        for map in 0..self.maps {
            let mut data = BufWriter::new(create(dir, &data_name(self.id, MapId(map)))?);
            let mut index = BufWriter::new(create(dir, &index_name(self.id, MapId(map)))?);
            let mut end = 0_u64;
            let mut whole = 0;
            index.write_all(&end.to_be_bytes())?;
            for reduce in 0..self.reduces {
                let stored = self.stored(map, reduce);
                data.write_all(&stored)?;
                written.blocks.push(crc32c(&stored));
                whole = crc32c_append(whole, &stored);
                end += stored.len() as u64;
                index.write_all(&end.to_be_bytes())?;
            }
            data.flush()?;
            index.flush()?;
            written.bytes += end;
            written.maps.push(whole);
        }
        Ok(written)
    }

    /// The position of a block in [`Shuffle::blocks`].
    pub(super) fn position(&self, map: i64, reduce: i32) -> usize {
        usize::try_from(map * i64::from(self.reduces) + i64::from(reduce)).expect("a block of this shuffle")
    }
}

fn create(dir: &Path, name: &str) -> io::Result<File> {
    let place = Placement::of(name, 1, SUB_DIRS).expect("one directory, 64 sub-directories");
    let dir = dir.join(place.sub_dir());
    create_dir_all(&dir)?;
    File::create_new(dir.join(name))
}

fn apply(key: &[u8; 16], iv: &[u8; IV], bytes: &mut [u8]) {
    Ctr128BE::<Aes128>::new(key.into(), iv.into()).apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_opens_to_its_rows_and_hides_them() {
        let shuffle = Shuffle::new(0, 2, 3, 12 << 10, true).unwrap();
        let stored = shuffle.stored(1, 2);
        let rows = shuffle.rows(1, 2);
        assert_eq!(stored.len(), rows.len() + IV);
        assert_eq!(shuffle.opened(&stored), rows);
        let text = String::from_utf8(rows).unwrap();
        assert!(text.starts_with("row 0000000 of shuffle_0_1_2 ") && text.contains(CANARY));
        assert!(text.lines().all(|line| line.len() == ROW - 1));
        assert!(!stored.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    }

    /// NIST SP 800-38A, F.5.1: CTR-AES128.Encrypt, first block.
    #[test]
    fn the_cipher_is_aes_ctr() {
        let key = 0x2b7e151628aed2a6abf7158809cf4f3c_u128.to_be_bytes();
        let iv = 0xf0f1f2f3f4f5f6f7f8f9fafbfcfdfeff_u128.to_be_bytes();
        let mut block = 0x6bc1bee22e409f96e93d7e117393172a_u128.to_be_bytes();
        apply(&key, &iv, &mut block);
        assert_eq!(u128::from_be_bytes(block), 0x874d6191b620e3261bef6864990db6ce);
    }
}
