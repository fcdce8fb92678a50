//! Marks that take more than a look at the first bytes.
//!
//! | mark | where |
//! |---|---|
//! | those of at least seven bytes | anywhere in a stream |
//! | zlib: a header of RFC 1950 behind which the bytes inflate; or the same behind a length, as PySpark spills it | at the beginning |
//! | RocksDB: the number of a table | at the end of a file |
//!
//! By chance ciphertext has one of the first once in 2^52 bytes.

use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;

use super::mark::Mark;

/// Marks that are long enough to be believed wherever they stand.
const LONG: &[(&[u8], Mark)] = &[
    (b"LZ4Block", Mark::Lz4Block),
    (b"\x82SNAPPY\0", Mark::Snappy),
    (b"\xff\x06\0\0sNaPpY", Mark::Snappy),
    (b"\xfd7zXZ\0\0", Mark::Xz),
    (b"\x89PNG\r\n\x1a\n", Mark::Png),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0", Mark::Jpeg),
    (b"\xac\xed\0\x05sr\0", Mark::JavaSerialization),
    (b"\xac\xed\0\x05ur\0", Mark::JavaSerialization),
    (b"%PDF-1.", Mark::Pdf),
    (b"SQLite format 3\0", Mark::Sqlite),
];

/// The last eight bytes of a table of RocksDB, in block-based, plain and old form.
const ROCKSDB: [u64; 4] =
    [0x88e2_41b7_85f4_cff7, 0x8242_2296_63bf_9564, 0x4f34_18eb_7a8f_13b8, 0xdb47_7524_8b80_fb57];

/// Fewer bytes than these that inflate may be chance.
const INFLATED: u64 = 64;

/// The mark at the beginning of a stream, of which `head` may be cut off anywhere.
pub fn beginning(head: &[u8]) -> Option<Mark> {
    let is_zlib = || inflates(head) || head.get(4..).is_some_and(inflates);
    Mark::of(head).or_else(|| is_zlib().then_some(Mark::Zlib))
}

/// A mark anywhere in `bytes`.
pub fn within(bytes: &[u8]) -> Option<Mark> {
    let found = LONG.iter().find(|(mark, _)| memmem::find(bytes, mark).is_some());
    found.map(|(_, mark)| *mark)
}

/// The mark at the end of a file, of which `tail` are the last bytes.
pub fn at_end(tail: &[u8]) -> Option<Mark> {
    let number = u64::from_le_bytes(*tail.last_chunk()?);
    ROCKSDB.contains(&number).then_some(Mark::RocksDb)
}

/// Whether a zlib stream begins here. Two bytes of header are chance once in 16,000 times, so the rest must inflate.
fn inflates(head: &[u8]) -> bool {
    let [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] = head else { return false };
    let (mut inflating, mut out) = (Decompress::new(true), [0; 8 << 10]);
    loop {
        let read = usize::try_from(inflating.total_in()).unwrap_or(usize::MAX);
        let Some(rest) = head.get(read..) else { return false };
        let written = inflating.total_out();
        match inflating.decompress(rest, &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return true,
            Ok(_) if inflating.total_in() as usize >= head.len() => return inflating.total_in() >= INFLATED,
            // It stands still.
            Ok(_) if (inflating.total_in() as usize, inflating.total_out()) == (read, written) => {
                return inflating.total_in() >= INFLATED;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn knows_zlib_by_inflating_it() {
        let text = b"a line that comes again and again; ".repeat(300);
        for level in [0, 1, 6, 9] {
            let whole = zlib(&text, level);
            let spilled = [&(whole.len() as u32).to_be_bytes()[..], &whole].concat();
            for head in [&whole[..], &whole[..80], &spilled, &zlib(b"x", level)] {
                assert_eq!(beginning(head), Some(Mark::Zlib), "level {level}");
            }
        }
        let mut no_zlib = vec![0x78, 0x9c];
        no_zlib.extend((0..200_u32).map(|n| (n * 167 % 251) as u8));
        assert_eq!(beginning(&no_zlib), None);
    }

    #[test]
    fn long_marks_are_found_anywhere_and_short_ones_are_not() {
        let at = |mark: &[u8]| [&[7; 100][..], mark, &[9; 100]].concat();
        assert_eq!(within(&at(b"LZ4Block")), Some(Mark::Lz4Block));
        assert_eq!(within(&at(b"\x89PNG\r\n\x1a\n")), Some(Mark::Png));
        assert_eq!(within(&at(b"\x28\xb5\x2f\xfd")), None);
        assert!(LONG.iter().all(|(mark, _)| mark.len() >= 7));
    }

    #[test]
    fn knows_a_table_of_rocksdb_by_its_end() {
        let end = 0x88e2_41b7_85f4_cff7_u64.to_le_bytes();
        assert_eq!(at_end(&[&[1; 45][..], &end].concat()), Some(Mark::RocksDb));
        assert_eq!(at_end(&end[1..]), None);
    }
}
