//! AES/CTR: one continuous key stream for each direction, over every byte after the handshake.
//!
//! Key stream block `n` is AES(key, (IV + n) mod 2^128); the boundaries of writes mean nothing, lengths
//! do not change, and **nothing is authenticated**: whoever sits between can flip chosen bits
//! (CVE-2025-55039). Kept because it is the default of every Spark.
//!
//! Source: CtrTransportCipher, Spark 3.4 and later; TransportCipher before. NIST SP 800-38A.

use bytes::BytesMut;

use super::layer::{self, CipherError, Layer};
use super::segment::{Layout, Segment};
use crate::crypto::ctr::KeyStream;
use crate::secret::Secret;

/// Both key streams of a connection.
///
/// **Usage limit**: both directions share a key and start at unrelated counters; their streams overlap with a
/// chance of 2^-60 after 2^64 bytes each. No limit is kept.
pub struct CtrLayer {
    outbound: KeyStream,
    inbound: KeyStream,
}

impl CtrLayer {
    /// AES-128: engine version 2.
    pub fn aes_128(key: &Secret<16>, outbound_iv: &[u8; 16], inbound_iv: &[u8; 16]) -> Self {
        let key = key.as_bytes();
        Self { outbound: KeyStream::aes_128(key, outbound_iv), inbound: KeyStream::aes_128(key, inbound_iv) }
    }

    /// AES-256: engine version 1.
    pub fn aes_256(key: &Secret<32>, outbound_iv: &[u8; 16], inbound_iv: &[u8; 16]) -> Self {
        let key = key.as_bytes();
        Self { outbound: KeyStream::aes_256(key, outbound_iv), inbound: KeyStream::aes_256(key, inbound_iv) }
    }

    /// Streams that were keyed elsewhere: the older handshake.
    pub(crate) fn new(outbound: KeyStream, inbound: KeyStream) -> Self {
        Self { outbound, inbound }
    }
}

impl Layer for CtrLayer {
    fn layout(&self) -> Layout {
        Layout::BARE
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        layer::check(segment, self.layout())?;
        for unit in segment.parts().units {
            self.outbound.apply(unit.plain);
        }
        segment.mark_sealed();
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut piece = input.split();
        self.inbound.apply(&mut piece);
        Ok(Some(piece))
    }
}

impl std::fmt::Debug for CtrLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CtrLayer(redacted)")
    }
}
