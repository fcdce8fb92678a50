//! One sealed segment.
//!
//! ```text
//! 0    4  n, the length of the plaintext, u32
//! 4    8  counter, u64
//! 12   n  ciphertext
//! 12+n 16 tag
//!
//! AES-256-GCM; nonce = 4 zero bytes ‖ counter; associated data = place (u64) ‖ n (u32)
//! ```

use super::error::SealedError;
use crate::cipher::{Layout, Segment};
use crate::crypto::gcm::{GcmKey, NONCE, TAG};

/// Bytes in front of the ciphertext.
pub const HEAD: usize = 12;
/// Bytes that a segment has more than its plaintext.
pub const OVERHEAD: usize = HEAD + TAG;
/// Longest segment of a data file: the size of the server's segment buffers, so that one of them takes a piece in
/// and another one brings it out.
pub const MAX_SEGMENT: usize = 256 << 10;
/// Most plaintext in a segment of a data file.
pub const MAX_PIECE: usize = MAX_SEGMENT - OVERHEAD;
/// Most plaintext in a segment of an index or meta file: the bitmap of 2^27 map outputs, each second one set.
pub const MAX_RECORD: usize = 17 << 20;

/// How a [`Segment`] is laid out to be sealed as one segment of a data file.
pub const PIECE: Layout = Layout { head: HEAD, unit: usize::MAX, tail: TAG };

/// The clear front of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentHead {
    /// Bytes of plaintext.
    pub(super) plain: u32,
    pub(super) counter: u64,
}

impl SegmentHead {
    fn encode(self) -> [u8; HEAD] {
        let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (self.plain.to_be_bytes(), self.counter.to_be_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    pub(super) fn decode(bytes: &[u8; HEAD]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self {
            plain: u32::from_be_bytes([a, b, c, d]),
            counter: u64::from_be_bytes([e, f, g, h, i, j, k, l]),
        }
    }

    /// Bytes of the whole segment.
    pub(super) fn sealed_len(self) -> u64 {
        u64::from(self.plain) + OVERHEAD as u64
    }
}

/// Seals `piece` where it lies, which must be laid out as [`PIECE`].
pub(super) fn seal_piece(
    key: &GcmKey,
    counter: u64,
    place: u64,
    piece: &mut Segment,
) -> Result<(), SealedError> {
    let plain = length(piece.len(), MAX_PIECE)?;
    let (whole, len) = piece.whole();
    seal(key, counter, place, plain, whole, len)?;
    piece.mark_sealed();
    Ok(())
}

/// Seals a copy of `record`.
pub(super) fn seal_record(
    key: &GcmKey,
    counter: u64,
    place: u64,
    record: &[u8],
) -> Result<Vec<u8>, SealedError> {
    let plain = length(record.len(), MAX_RECORD)?;
    let mut sealed = vec![0; record.len() + OVERHEAD];
    sealed[HEAD..HEAD + record.len()].copy_from_slice(record);
    seal(key, counter, place, plain, &mut sealed, record.len())?;
    Ok(sealed)
}

fn seal(
    key: &GcmKey,
    counter: u64,
    place: u64,
    plain: u32,
    segment: &mut [u8],
    len: usize,
) -> Result<(), SealedError> {
    let (head, rest) = segment.split_at_mut(HEAD);
    let (text, tag) = rest.split_at_mut(len);
    head.copy_from_slice(&SegmentHead { plain, counter }.encode());
    let too_long = |_| SealedError::TooLong { bytes: u64::from(plain), most: MAX_RECORD as u64 };
    let made = key.seal(nonce(counter), &associated(place, plain), text).map_err(too_long)?;
    tag.copy_from_slice(&made);
    Ok(())
}

/// Opens one whole segment where it lies: its plaintext. `at` is for the error.
///
/// The caller has compared the head's counter with the one that belongs there.
pub(super) fn open<'a>(
    key: &GcmKey,
    place: u64,
    at: u64,
    segment: &'a mut [u8],
) -> Result<&'a mut [u8], SealedError> {
    let damaged = SealedError::Damaged { at };
    let Some((head, rest)) = segment.split_first_chunk_mut() else { return Err(damaged) };
    let head = SegmentHead::decode(head);
    let Some((text, tag)) = rest.split_last_chunk_mut() else { return Err(damaged) };
    if u32::try_from(text.len()) != Ok(head.plain) {
        return Err(damaged);
    }
    match key.open(nonce(head.counter), &associated(place, head.plain), text, tag) {
        Ok(()) => Ok(text),
        Err(_) => Err(damaged),
    }
}

/// Opens one whole segment into the front of `out`; how long its plaintext is. As [`open`] otherwise.
pub(super) fn open_into(
    key: &GcmKey,
    place: u64,
    at: u64,
    segment: &[u8],
    out: &mut [u8],
) -> Result<usize, SealedError> {
    let damaged = SealedError::Damaged { at };
    let Some((head, rest)) = segment.split_first_chunk() else { return Err(damaged) };
    let head = SegmentHead::decode(head);
    let Some((text, tag)) = rest.split_last_chunk() else { return Err(damaged) };
    if u32::try_from(text.len()) != Ok(head.plain) {
        return Err(damaged);
    }
    let Some(out) = out.get_mut(..text.len()) else { return Err(damaged) };
    match key.open_into(nonce(head.counter), &associated(place, head.plain), text, tag, out) {
        Ok(()) => Ok(text.len()),
        Err(_) => Err(damaged),
    }
}

fn length(bytes: usize, most: usize) -> Result<u32, SealedError> {
    let fits = u32::try_from(bytes).ok().filter(|_| bytes <= most);
    fits.ok_or(SealedError::TooLong { bytes: bytes as u64, most: most as u64 })
}

fn nonce(counter: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn associated(place: u64, plain: u32) -> [u8; 12] {
    let mut associated = [0; 12];
    associated[..8].copy_from_slice(&place.to_be_bytes());
    associated[8..].copy_from_slice(&plain.to_be_bytes());
    associated
}
