//! The checksums that Spark stores beside map outputs.
//!
//! They are 32 bits wide, stored as i64. An empty partition has the checksum's initial value: 1 for ADLER32, else 0.
//! Origin: `ShuffleChecksumHelper` and `ShuffleChecksumSupport`, Spark 4.3.0.

use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::{ReadError, Region, read_blocking};
use sealed_shuffle_transport::seal::{Pull, PullError};
use std::io::IoSliceMut;

/// A checksum algorithm that Spark knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// Spark's default.
    Adler32,
    /// Since Spark 3.2.
    Crc32,
    /// Since Spark 4.0.
    Crc32c,
}

impl Algorithm {
    /// The algorithm of this name, which is case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ADLER32" => Some(Self::Adler32),
            "CRC32" => Some(Self::Crc32),
            "CRC32C" => Some(Self::Crc32c),
            _ => None,
        }
    }

    /// Its name, which is also the end of the checksum file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adler32 => "ADLER32",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
        }
    }
}

/// A checksum being computed.
#[derive(Clone, Debug)]
pub enum Checksum {
    /// ADLER32.
    Adler32(adler2::Adler32),
    /// CRC32.
    Crc32(crc32fast::Hasher),
    /// CRC32C.
    Crc32c(u32),
}

impl Checksum {
    /// The checksum of no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Adler32 => Self::Adler32(adler2::Adler32::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            Algorithm::Crc32c => Self::Crc32c(0),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler32(adler) => adler.write_slice(bytes),
            Self::Crc32(crc) => crc.update(bytes),
            Self::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
        }
    }

    /// The value as Spark stores and sends it.
    pub fn value(&self) -> i64 {
        i64::from(match self {
            Self::Adler32(adler) => adler.checksum(),
            Self::Crc32(crc) => crc.clone().finalize(),
            Self::Crc32c(crc) => *crc,
        })
    }
}

impl Checksum {
    /// Reads what follows in a region from `at` on, [`STEP`] bytes at most, and takes it in. Returns where it ended.
    pub fn read_step(&mut self, on: &OnLane, region: &Region, at: u64) -> Result<u64, ReadError> {
        let end = region.len().min(at.saturating_add(STEP));
        let room = usize::try_from(end - at.min(end)).unwrap_or(usize::MAX).min(READ_AT_ONCE);
        let mut buffer = vec![0; room];
        let mut at = at;
        while at < end {
            let n = read_blocking(on, region, at, &mut [IoSliceMut::new(&mut buffer)])?;
            self.update(&buffer[..n]);
            at += n as u64;
        }
        Ok(at)
    }

    /// Takes in what follows of a body, some more than [`STEP`] bytes at most. Returns whether it is at its end.
    pub fn pull_step(&mut self, on: &OnLane, body: &mut dyn Pull) -> Result<bool, PullError> {
        let until = body.remaining().saturating_sub(STEP);
        while body.remaining() > until {
            body.fill_blocking(on)?;
            let ready = body.plain();
            self.update(ready);
            let ready = ready.len();
            if ready == 0 {
                return Err(PullError("the body ends early".to_owned()));
            }
            body.consume(ready);
        }
        Ok(body.remaining() == 0)
    }
}

/// Bytes that are read before others have their turn.
pub const STEP: u64 = 8 << 20;

const READ_AT_ONCE: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> i64 {
        let mut checksum = Checksum::new(algorithm);
        checksum.update(bytes);
        checksum.value()
    }

    #[test]
    fn knows_the_check_values() {
        assert_eq!(of(Algorithm::Adler32, b"AAAA"), 0x028e0105);
        assert_eq!(of(Algorithm::Adler32, b"123456789"), 0x091e01de);
        assert_eq!(of(Algorithm::Crc32, b"123456789"), 0xcbf43926);
        assert_eq!(of(Algorithm::Crc32c, b"123456789"), 0xe3069283);
    }

    #[test]
    fn begins_as_spark_does() {
        assert_eq!(of(Algorithm::Adler32, b""), 1);
        assert_eq!(of(Algorithm::Crc32, b""), 0);
        assert_eq!(of(Algorithm::Crc32c, b""), 0);
    }

    #[test]
    fn names_are_case_sensitive() {
        assert_eq!(Algorithm::from_name("adler32"), None);
        for algorithm in [Algorithm::Adler32, Algorithm::Crc32, Algorithm::Crc32c] {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
    }
}
