//! Streams of `spark.io.encryption` over [`Read`] and [`Write`], with one buffer each.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use sealed_shuffle::internals::io_encryption::{DecryptingReader, EncryptingWriter};
//! use sealed_shuffle_protocol::stored::io_encryption::IoKey;
//!
//! # fn main() -> std::io::Result<()> {
//! let key = IoKey::from_hex(b"000102030405060708090a0b0c0d0e0f").map_err(std::io::Error::other)?;
//! let mut writer = EncryptingWriter::new(Vec::new(), &key)?;
//! writer.write_all(b"rows")?;
//! let stored = writer.finish()?;
//! assert_eq!(stored.len(), 16 + 4);
//!
//! let mut rows = String::new();
//! DecryptingReader::new(&stored[..], &key).read_to_string(&mut rows)?;
//! assert_eq!(rows, "rows");
//! # Ok(())
//! # }
//! ```
//!
//! Each value is for one stream: a cached block, or one partition of a shuffle data file (give the reader the bytes
//! between two offsets, [`Read::take`]). Nothing is authenticated: a wrong key yields noise and no error. In this
//! crate `sealed-shuffle decrypt` is the caller; embedders use it to read files that Spark's executors wrote.

use std::fmt;
use std::io::{self, Read, Write};

use sealed_shuffle_protocol::stored::io_encryption::{
    Decryptor, Encryptor, IV_LEN, IoEncryptionError, IoKey,
};

use sealed_shuffle_transport::random::random_bytes;

/// Number of payload bytes that are encrypted at once.
const BUFFER: usize = 64 << 10;

/// The payload of a stream that lies in another reader.
///
/// It decrypts in the caller's own buffer. A stream that ends inside its IV gives [`io::ErrorKind::UnexpectedEof`],
/// as in Spark. So does an empty one, since an encrypted stream is never empty (an empty *partition* has no stream).
pub struct DecryptingReader<'k, R> {
    inner: R,
    decryptor: Decryptor<'k>,
    iv: [u8; IV_LEN],
    iv_filled: usize,
}

impl<'k, R: Read> DecryptingReader<'k, R> {
    /// Reads the stream that `inner` is about to give, to the end of `inner`. The constructor reads nothing yet.
    pub fn new(inner: R, key: &'k IoKey) -> Self {
        Self { inner, decryptor: Decryptor::new(key), iv: [0; IV_LEN], iv_filled: 0 }
    }

    /// Returns the other reader, at its present position.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// If this fails, the next call goes on.
    fn read_iv(&mut self) -> io::Result<()> {
        while self.iv_filled < IV_LEN {
            match self.inner.read(&mut self.iv[self.iv_filled..]) {
                Ok(0) => {
                    let short = IoEncryptionError::TooShort { read: self.iv_filled };
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
                }
                Ok(n) => self.iv_filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.decryptor.apply(&mut self.iv);
        Ok(())
    }
}

impl<R: Read> Read for DecryptingReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.iv_filled < IV_LEN {
            self.read_iv()?;
        }
        let n = self.inner.read(out)?;
        self.decryptor.apply(&mut out[..n]);
        Ok(n)
    }
}

impl<R> fmt::Debug for DecryptingReader<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptingReader").finish_non_exhaustive()
    }
}

/// Writes a stream that Spark can read, under its own random IV.
///
/// End it with [`EncryptingWriter::finish`]: a writer that is dropped before may lose the end of the stream. If the
/// other writer fails, the ciphertext is kept for the next call, so that no position of the key stream is used twice.
pub struct EncryptingWriter<W> {
    inner: W,
    encryptor: Encryptor,
    /// The IV, then ciphertext. Neither is secret.
    sealed: Vec<u8>,
    /// Number of these bytes that have been written.
    written: usize,
}

impl<W: Write> EncryptingWriter<W> {
    /// Begins a stream. The first write, or [`Write::flush`], writes its IV.
    pub fn new(inner: W, key: &IoKey) -> io::Result<Self> {
        let iv = random_bytes().map_err(io::Error::other)?;
        let encryptor = Encryptor::new(key, iv);
        Ok(Self { inner, encryptor, sealed: iv.to_vec(), written: 0 })
    }

    /// Writes the rest, flushes, and returns the other writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.inner)
    }

    fn write_sealed(&mut self) -> io::Result<()> {
        while self.written < self.sealed.len() {
            match self.inner.write(&self.sealed[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for EncryptingWriter<W> {
    /// Takes at most 64 KiB, after it has written the bytes that it took before.
    fn write(&mut self, payload: &[u8]) -> io::Result<usize> {
        if self.sealed.len() >= BUFFER {
            self.write_sealed()?;
            self.sealed.clear();
            self.written = 0;
        }
        let taken = &payload[..payload.len().min(BUFFER)];
        let start = self.sealed.len();
        self.sealed.extend_from_slice(taken);
        self.encryptor.apply(&mut self.sealed[start..]);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_sealed()?;
        self.inner.flush()
    }
}

impl<W> fmt::Debug for EncryptingWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptingWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IoKey {
        IoKey::from_bytes(&[7; 24]).unwrap()
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut writer = EncryptingWriter::new(Vec::new(), &key()).unwrap();
        writer.write_all(payload).unwrap();
        writer.finish().unwrap()
    }

    /// Reads and writes one byte at a time, and fails at every other call.
    struct Stubborn<T> {
        inner: T,
        fails: bool,
    }

    impl<T> Stubborn<T> {
        fn turn(&mut self) -> io::Result<()> {
            self.fails = !self.fails;
            if self.fails { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }

    impl<R: Read> Read for Stubborn<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.turn()?;
            let len = out.len().min(1);
            self.inner.read(&mut out[..len])
        }
    }

    impl<W: Write> Write for Stubborn<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn()?;
            self.inner.write(&bytes[..bytes.len().min(1)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let payload: Vec<u8> = (0..3 * BUFFER + 5).map(|n| n.to_le_bytes()[0]).collect();
        let stored = sealed(&payload);
        assert_eq!(stored.len(), IV_LEN + payload.len());
        let mut opened = Vec::new();
        DecryptingReader::new(&stored[..], &key()).read_to_end(&mut opened).unwrap();
        assert_eq!(opened, payload);
        assert_ne!(stored, sealed(&payload), "an IV of its own each time");
    }

    #[test]
    fn an_empty_stream_is_an_iv() {
        assert_eq!(sealed(&[]).len(), IV_LEN);
        let mut opened = Vec::new();
        assert_eq!(DecryptingReader::new(&sealed(&[])[..], &key()).read_to_end(&mut opened).unwrap(), 0);
    }

    #[test]
    fn refuses_fewer_bytes_than_an_iv_as_spark_does() {
        let error = DecryptingReader::new(&[0; 10][..], &key()).read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("after 10 bytes, 16 expected"), "{error}");
    }

    #[test]
    fn a_failure_below_costs_nothing_but_another_call() {
        let payload: Vec<u8> = (0..=255).collect();
        let mut writer = EncryptingWriter::new(Stubborn { inner: Vec::new(), fails: false }, &key()).unwrap();
        writer.write_all(&payload).unwrap();
        while writer.flush().is_err() {}
        let stored = writer.finish().unwrap().inner;

        let key = key();
        let mut reader = DecryptingReader::new(Stubborn { inner: &stored[..], fails: false }, &key);
        let mut opened = Vec::new();
        loop {
            let mut byte = [0];
            match reader.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => opened.extend(byte),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(opened, payload);
    }
}
