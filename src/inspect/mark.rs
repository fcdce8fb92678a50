//! Recognizes content by its first bytes, where codecs and serializers leave a mark.
//!
//! | mark | first bytes |
//! |---|---|
//! | lz4 (Spark's default) | `LZ4Block`, a token of lz4-java's block stream |
//! | zstd | `28 b5 2f fd`, a descriptor whose reserved bit is clear (RFC 8878) |
//! | snappy | `82 SNAPPY 00` of snappy-java's stream |
//! | lzf | `ZV`, type 0 or 1, a possible chunk length |
//! | Java serialization | `ac ed 00 05` |
//! | UnsafeRow | two rows at least, each after its length (i32, big-endian, a multiple of 8); or one row that is the whole content |
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
}

impl Mark {
    /// The mark at the beginning of `head`. `head` may be cut off anywhere.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'L', b'Z', b'4', b'B', b'l', b'o', b'c', b'k', token, ..] if matches!(token >> 4, 1 | 2) => {
                Some(Self::Lz4Block)
            }
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0b1000 == 0 => Some(Self::Zstd),
            [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, ..] => Some(Self::Snappy),
            [b'Z', b'V', 0, high, low, ..] if (*high, *low) != (0, 0) => Some(Self::Lzf),
            [b'Z', b'V', 1, a, b, c, d, ..] if [a, b] <= [c, d] && (*a, *b) != (0, 0) => Some(Self::Lzf),
            [0xac, 0xed, 0, 5, ..] => Some(Self::JavaSerialization),
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
            (b"\x28\xb5\x2f\xfd\x00\x58", Some(Mark::Zstd)),
            (b"\x28\xb5\x2f\xfd\x08\x58", None),
            (b"\x82SNAPPY\x00\x00\x00\x00\x01", Some(Mark::Snappy)),
            (b"ZV\x01\x00\x10\x00\x20data", Some(Mark::Lzf)),
            (b"ZV\x01\x00\x30\x00\x20data", None),
            (b"ZV\x00\x00\x05hello", Some(Mark::Lzf)),
            (b"ZV\x02\x00\x05hello", None),
            (b"\xac\xed\x00\x05sr", Some(Mark::JavaSerialization)),
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
