//! Recognizes content by the marks that codecs, serializers and file formats leave.
//!
//! At the beginning of a stream:
//!
//! | mark | first bytes |
//! |---|---|
//! | lz4 (Spark's default) | `LZ4Block`, a token of lz4-java's block stream; or a frame (`04 22 4d 18`, version 1) |
//! | zstd | `28 b5 2f fd`, a descriptor whose reserved bit is clear; or a skippable frame, which stands before one (RFC 8878) |
//! | snappy | `82 SNAPPY 00` of snappy-java's stream; or `ff 06 00 00 sNaPpY` of the framing format |
//! | lzf | `ZV`, type 0 or 1, a possible chunk length |
//! | gzip | `1f 8b 08`, reserved flags clear |
//! | xz, bzip2 | their magic numbers |
//! | Java serialization | `ac ed 00 05` |
//! | UnsafeRow | two rows at least, each after its length (i32, big-endian, a multiple of 8); or one row that is the whole content |
//! | JPEG, PNG, PDF, Zip, SQLite | their magic numbers |
//!
//! [`super::deep_mark`] knows those that take more than a look at the first bytes.
//!
//! Ciphertext begins with one of these marks once in 2^24 streams by chance (lzf), and far more rarely with the
//! others. Kryo and pickled data have no mark; [`super::randomness`] tells that they are not random.

use std::fmt;

/// A recognized mark.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Mark {
    /// Compressed with lz4.
    Lz4Block,
    /// Compressed with zstd.
    Zstd,
    /// Compressed with snappy.
    Snappy,
    /// Compressed with lzf.
    Lzf,
    /// Written by `JavaSerializer`, not compressed.
    JavaSerialization,
    /// Rows of SQL, not compressed.
    UnsafeRow,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with bzip2.
    Bzip2,
    /// Compressed with zlib, as PySpark spills.
    Zlib,
    /// A table of RocksDB: a state store of structured streaming.
    RocksDb,
    /// An image.
    Jpeg,
    /// An image.
    Png,
    /// A document.
    Pdf,
    /// An archive, a jar, or a document of an office program.
    Zip,
    /// A database.
    Sqlite,
}

impl Mark {
    /// The mark at the beginning of `head`. `head` may be cut off anywhere.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'L', b'Z', b'4', b'B', b'l', b'o', b'c', b'k', token, ..] if matches!(token >> 4, 1 | 2) => {
                Some(Self::Lz4Block)
            }
            [0x04, 0x22, 0x4d, 0x18, flags, ..] if flags >> 6 == 1 => Some(Self::Lz4Block),
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0b1000 == 0 => Some(Self::Zstd),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, ..]
            | [0xff, 6, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => Some(Self::Snappy),
            [b'Z', b'V', 0, high, low, ..] if (*high, *low) != (0, 0) => Some(Self::Lzf),
            [b'Z', b'V', 1, a, b, c, d, ..] if [a, b] <= [c, d] && (*a, *b) != (0, 0) => Some(Self::Lzf),
            [0xac, 0xed, 0, 5, ..] => Some(Self::JavaSerialization),
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Some(Self::Bzip2),
            [0xff, 0xd8, 0xff, 0xc4 | 0xdb | 0xe0..=0xef | 0xfe, ..] => Some(Self::Jpeg),
            [b'P', b'K', 3, 4, _, 0, ..] => Some(Self::Zip),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            _ if head.starts_with(b"%PDF-1.") => Some(Self::Pdf),
            _ if head.starts_with(b"SQLite format 3\0") => Some(Self::Sqlite),
            _ if is_rows(head) => Some(Self::UnsafeRow),
            _ => None,
        }
    }

    /// The name of the mark.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4Block => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Lzf => "lzf",
            Self::JavaSerialization => "Java serialization",
            Self::UnsafeRow => "UnsafeRow",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zlib => "zlib",
            Self::RocksDb => "RocksDB",
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Pdf => "PDF",
            Self::Zip => "Zip",
            Self::Sqlite => "SQLite",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest row that counts as one.
const LONGEST_ROW: usize = 1 << 20;

/// Asks for two rows at least: one length alone may be chance, unless its row is all that follows.
fn is_rows(head: &[u8]) -> bool {
    let mut rest = head;
    let mut lengths = 0;
    while let Some((length, row)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || !length.is_multiple_of(8) || length > LONGEST_ROW {
            return false;
        }
        lengths += 1;
        let Some(next) = row.get(length..) else { break };
        if next.is_empty() {
            return true;
        }
        rest = next;
    }
    lengths >= 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_each_mark() {
        for (head, mark) in [
            (&b"LZ4Block\x25\x10\x00\x00\x00"[..], Some(Mark::Lz4Block)),
            (b"LZ4Block\x75", None),
            (b"\x04\x22\x4d\x18\x60\x40\x82", Some(Mark::Lz4Block)),
            (b"\x04\x22\x4d\x18\x20\x40\x82", None),
            (b"\x28\xb5\x2f\xfd\x00\x58", Some(Mark::Zstd)),
            (b"\x28\xb5\x2f\xfd\x08\x58", None),
            (b"\x5a\x2a\x4d\x18\x04\0\0\0abcd\x28\xb5\x2f\xfd", Some(Mark::Zstd)),
            (b"\x82SNAPPY\x00\x00\x00\x00\x01", Some(Mark::Snappy)),
            (b"\xff\x06\x00\x00sNaPpY\x00", Some(Mark::Snappy)),
            (b"ZV\x01\x00\x10\x00\x20data", Some(Mark::Lzf)),
            (b"ZV\x01\x00\x30\x00\x20data", None),
            (b"ZV\x00\x00\x05hello", Some(Mark::Lzf)),
            (b"ZV\x02\x00\x05hello", None),
            (b"\xac\xed\x00\x05sr", Some(Mark::JavaSerialization)),
            (b"\x1f\x8b\x08\x00\0\0\0\0\0\x03", Some(Mark::Gzip)),
            (b"\x1f\x8b\x08\xe0\0\0\0\0\0\x03", None),
            (b"\xfd7zXZ\x00\x00\x04", Some(Mark::Xz)),
            (b"BZh91AY&SY", Some(Mark::Bzip2)),
            (b"BZh91AY&SX", None),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF", Some(Mark::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0d", Some(Mark::Png)),
            (b"LZ4Bloc", None),
            (b"", None),
        ] {
            assert_eq!(Mark::of(head), mark, "{head:?}");
        }
    }

    #[test]
    fn knows_rows_by_their_lengths() {
        let row = |len: u32, room: usize| [&len.to_be_bytes()[..], &vec![7; room]].concat();
        assert_eq!(Mark::of(&[row(24, 24), row(16, 16)].concat()), Some(Mark::UnsafeRow));
        assert_eq!(Mark::of(&[row(24, 24), row(16, 3)].concat()), Some(Mark::UnsafeRow), "cut off in a row");
        assert_eq!(Mark::of(&row(24, 24)), Some(Mark::UnsafeRow), "one that is all");
        assert_eq!(Mark::of(&row(24, 23)), None, "one may be chance");
        assert_eq!(Mark::of(&row(24, 27)), None, "one may be chance");
        assert_eq!(Mark::of(&[row(24, 24), row(17, 17)].concat()), None);
        assert_eq!(Mark::of(&[row(24, 24), row(0, 8)].concat()), None);
        assert_eq!(Mark::of(&[row(u32::MAX - 7, 24), row(16, 16)].concat()), None);
    }

    proptest! {
        #[test]
        fn every_cut_of_any_bytes_can_be_looked_at(
            mark in prop::sample::select(vec![&b""[..], b"LZ4Block", b"ZV\x01", b"ZV\x00", b"\x28\xb5\x2f\xfd", b"\0\0\0\x08"]),
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let head = [mark, &rest].concat();
            for len in 0..=head.len() {
                prop_assert!(len >= 4 || Mark::of(&head[..len]).is_none());
            }
        }
    }
}
