//! Spill files under `spark.io.encryption`: one encrypted stream for each segment, one directly after the other.
//!
//! ```text
//!  | IV | ciphertext of one compressed stream | IV | ciphertext of the next | ...
//! ```
//!
//! Only the executor's memory knows where a segment ends. With lz4 (Spark's default codec) the file itself tells it:
//! the compressed stream has a length in front of each block and an empty block at its end, and each segment holds
//! one such stream. With another codec, or without compression, a spill cannot be taken apart this way.
//!
//! ```text
//!  | "LZ4Block" | token u8 | compressed i32 LE | original i32 LE | checksum i32 LE | compressed bytes |
//! ```
//!
//! Origin: `DiskBlockObjectWriter.commitAndGet` and `SerializerManager.wrapStream`, Spark 4.3.0; lz4-java's block stream.

use std::fmt;
use std::io::{self, Read};

use sealed_shuffle_protocol::stored::io_encryption::{Decryptor, IV_LEN, IoEncryptionError, IoKey};

/// The bytes that every block begins with.
pub const MARK: &[u8] = b"LZ4Block";

/// Length of the head of a block.
const HEAD: usize = 21;

/// lz4-java makes blocks of at most 32 MiB. It stores incompressible ones as they are.
const LARGEST: u32 = 32 << 20;

/// Yields the compressed streams of all segments, one after the other, in the form that lz4's own reader takes.
pub struct Lz4Segments<'k, R> {
    inner: R,
    key: &'k IoKey,
    /// The current segment. `None` before the first one and after the end of each.
    decryptor: Option<Decryptor<'k>>,
    head: [u8; HEAD],
    /// Number of bytes at the end of the buffer that have not been given out yet.
    head_left: usize,
    block_left: usize,
    segments: u64,
}

impl<'k, R: Read> Lz4Segments<'k, R> {
    /// Reads the spill that `inner` is about to give, to its end. The constructor reads nothing yet.
    pub fn new(inner: R, key: &'k IoKey) -> Self {
        Self { inner, key, decryptor: None, head: [0; HEAD], head_left: 0, block_left: 0, segments: 0 }
    }

    /// Number of segments that have begun.
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Opens the next head. `false`: the file ends between two segments.
    fn next_head(&mut self) -> io::Result<bool> {
        let decryptor = match &mut self.decryptor {
            Some(decryptor) => decryptor,
            none => {
                let mut iv = [0; IV_LEN];
                match fill(&mut self.inner, &mut iv)? {
                    0 => return Ok(false),
                    IV_LEN => {}
                    read => {
                        let short = IoEncryptionError::TooShort { read };
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
                    }
                }
                self.segments += 1;
                let decryptor = none.insert(Decryptor::new(self.key));
                decryptor.apply(&mut iv);
                decryptor
            }
        };
        if fill(&mut self.inner, &mut self.head)? < HEAD {
            return Err(self.damaged(io::ErrorKind::UnexpectedEof, "ends inside the head of a block"));
        }
        decryptor.apply(&mut self.head);
        let compressed = u32::from_le_bytes([self.head[9], self.head[10], self.head[11], self.head[12]]);
        if !self.head.starts_with(MARK) || compressed > LARGEST {
            return Err(self.damaged(io::ErrorKind::InvalidData, "does not decrypt to blocks of lz4"));
        }
        self.block_left = compressed as usize;
        self.head_left = HEAD;
        if compressed == 0 {
            self.decryptor = None;
        }
        Ok(true)
    }

    fn damaged(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        io::Error::new(kind, format!("segment {} {what}", self.segments.saturating_sub(1)))
    }
}

impl<R: Read> Read for Lz4Segments<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.head_left == 0 && self.block_left == 0 && !self.next_head()? {
            return Ok(0);
        }
        if self.head_left > 0 {
            let left = &self.head[HEAD - self.head_left..];
            let n = left.len().min(out.len());
            out[..n].copy_from_slice(&left[..n]);
            self.head_left -= n;
            return Ok(n);
        }
        let want = self.block_left.min(out.len());
        let n = self.inner.read(&mut out[..want])?;
        if n == 0 {
            return Err(self.damaged(io::ErrorKind::UnexpectedEof, "ends inside a block"));
        }
        if let Some(decryptor) = &mut self.decryptor {
            decryptor.apply(&mut out[..n]);
        }
        self.block_left -= n;
        Ok(n)
    }
}

impl<R> fmt::Debug for Lz4Segments<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lz4Segments").field("segments", &self.segments).finish_non_exhaustive()
    }
}

/// Reads until `buf` is full or the stream ends.
pub(crate) fn fill(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match from.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::io_encryption::EncryptingWriter;

    fn key() -> IoKey {
        IoKey::from_bytes(&[4; 16]).unwrap()
    }

    /// A stream of blocks with the empty one at its end. The reader does not decompress, so the bytes need not be
    /// lz4.
    fn stream(blocks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for block in blocks.iter().chain([&&[][..]]) {
            out.extend_from_slice(MARK);
            out.push(0x25);
            let len = u32::try_from(block.len()).unwrap();
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(block);
        }
        out
    }

    fn encrypted(plain: &[u8]) -> Vec<u8> {
        let mut writer = EncryptingWriter::new(Vec::new(), &key()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn opened(spill: &[u8]) -> io::Result<(Vec<u8>, u64)> {
        let key = key();
        let mut reader = Lz4Segments::new(spill, &key);
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok((out, reader.segments()))
    }

    #[test]
    fn finds_where_each_segment_ends() {
        let streams = [stream(&[&[1; 5000], &[2; 3]]), stream(&[]), stream(&[&[3; 70_000]])];
        let spill: Vec<u8> = streams.iter().flat_map(|stream| encrypted(stream)).collect();
        assert_eq!(opened(&spill).unwrap(), (streams.concat(), 3));
        assert_eq!(opened(&[]).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn refuses_what_is_cut_off_or_is_no_lz4() {
        let spill = [encrypted(&stream(&[&[1; 50]])), encrypted(&stream(&[&[2; 50]]))].concat();
        let ends = [spill.len() / 2, spill.len()];
        for len in 1..spill.len() {
            assert_eq!(opened(&spill[..len]).is_ok(), ends.contains(&len), "{len}");
        }
        let error = opened(&encrypted(&[7; 100])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("segment 0"), "{error}");
        let longest = stream(&[])
            .iter()
            .enumerate()
            .map(|(n, byte)| if n == 12 { 0x7f } else { *byte })
            .collect::<Vec<_>>();
        assert!(opened(&encrypted(&longest)).is_err());
    }

    proptest! {
        #[test]
        fn never_gives_more_than_there_is(
            lengths in prop::collection::vec(prop_oneof![0..40_u32, any::<u32>()], 0..8),
            room in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut plain = Vec::new();
            for (length, room) in lengths.iter().zip(room.chunks(30)) {
                plain.extend_from_slice(MARK);
                plain.push(0x25);
                plain.extend_from_slice(&length.to_le_bytes());
                plain.extend_from_slice(&[0; 8]);
                plain.extend_from_slice(room);
            }
            if let Ok((out, _)) = opened(&encrypted(&plain)) {
                prop_assert!(out.len() <= plain.len());
            }
        }
    }
}
