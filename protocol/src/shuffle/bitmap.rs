//! Sets of map indexes: RoaringBitmap's portable format.
//!
//! ```text
//! no run container                       at least one run container
//! u32 0x303a, u32 containers             u16 0x303b, u16 containers - 1
//!                                        ceil(containers / 8) bytes: which are runs, lowest bit first
//! for each: u16 key, u16 cardinality-1   the same
//! u32 offset for each                    the same, but only from 4 containers on
//! containers                             containers
//! ```
//!
//! All little-endian, unlike everything around it. A container is an array (up to 4096 values of `u16`), a
//! bitmap (1024 `u64`), or runs (`u16` count, then `u16` start and `u16` length - 1 of each). There is no
//! length in front: the end is found by walking the containers, which is done before anything is allocated.
//!
//! Source: RoaringFormatSpec; `Encoders.Bitmaps`, Spark 4.3.0.

use bytes::{BufMut, Bytes, BytesMut};
use roaring::RoaringBitmap;

use crate::codec::{DecodeError, Decoder, EncodeError, Wire};

/// A set of 32-bit numbers.
///
/// A few bytes from a peer may stand for 2^32 numbers (runs): look at [`Bitmap::len`] before walking them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bitmap(RoaringBitmap);

impl Bitmap {
    /// Reads bitmaps until the bytes end: the body of a MergedBlockMetaSuccess.
    pub fn decode_all(bytes: Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut from = Decoder::new(bytes);
        let mut bitmaps = Vec::new();
        while from.remaining() > 0 {
            bitmaps.push(from.read()?);
        }
        Ok(bitmaps)
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether the set is empty. Spark never sends an empty one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set itself.
    pub fn as_roaring(&self) -> &RoaringBitmap {
        &self.0
    }

    /// The set itself, to change it.
    pub fn into_roaring(self) -> RoaringBitmap {
        self.0
    }
}

impl From<RoaringBitmap> for Bitmap {
    /// Takes the set in its shortest form, which is the one that Spark writes.
    fn from(mut set: RoaringBitmap) -> Self {
        set.optimize();
        Self(set)
    }
}

impl FromIterator<u32> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        RoaringBitmap::from_iter(numbers).into()
    }
}

impl Wire for Bitmap {
    const MIN_LEN: usize = 8;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let len = extent(from.as_slice())?;
        let bytes = from.take(len)?;
        RoaringBitmap::deserialize_from(bytes.as_ref())
            .map(Self)
            .map_err(|_| DecodeError::InvalidBitmap("containers or values are out of order"))
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let len = self.0.serialized_size();
        out.reserve(len);
        self.0.serialize_into(out.writer()).map_err(|_| EncodeError::TooLong(len))
    }
}

const COOKIE_NO_RUNS: u32 = 0x303a;
const COOKIE_RUNS: u32 = 0x303b;
const MAX_CONTAINERS: usize = 1 << 16;
const MAX_ARRAY: usize = 4096;
const BITMAP_CONTAINER_LEN: usize = 8192;
/// With run containers, offsets are only written from so many containers on.
const OFFSETS_FROM: usize = 4;

/// Length of the bitmap at the front of `bytes`.
fn extent(bytes: &[u8]) -> Result<usize, DecodeError> {
    let cookie = u32_at(bytes, 0)?;
    let (containers, run_flags, descriptions, offsets) = if cookie == COOKIE_NO_RUNS {
        let containers = usize::try_from(u32_at(bytes, 4)?).unwrap_or(usize::MAX);
        if containers > MAX_CONTAINERS {
            return Err(DecodeError::InvalidBitmap("more than 65536 containers"));
        }
        (containers, &[][..], 8, 4 * containers)
    } else if cookie & 0xffff == COOKIE_RUNS {
        let containers = usize::from(u16_at(bytes, 2)?) + 1;
        let flags_len = containers.div_ceil(8);
        let offsets = if containers >= OFFSETS_FROM { 4 * containers } else { 0 };
        (containers, slice(bytes, 4, flags_len)?, 4 + flags_len, offsets)
    } else {
        return Err(DecodeError::InvalidBitmap("unknown cookie"));
    };

    let mut at = descriptions + 4 * containers + offsets;
    slice(bytes, 0, at)?;
    for index in 0..containers {
        let is_run = run_flags.get(index / 8).is_some_and(|flags| flags >> (index % 8) & 1 == 1);
        let cardinality = usize::from(u16_at(bytes, descriptions + 4 * index + 2)?) + 1;
        let len = match cardinality {
            _ if is_run => 2 + 4 * usize::from(u16_at(bytes, at)?),
            0..=MAX_ARRAY => 2 * cardinality,
            _ => BITMAP_CONTAINER_LEN,
        };
        slice(bytes, at, len)?;
        at += len;
    }
    Ok(at)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, DecodeError> {
    slice(bytes, at, 2).map(|two| u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DecodeError> {
    slice(bytes, at, 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], DecodeError> {
    bytes.get(at..at + len).ok_or(DecodeError::TooShort { needed: (at + len) as u64, left: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Bitmap, DecodeError> {
        Decoder::new(Bytes::copy_from_slice(bytes)).read()
    }

    #[test]
    fn stops_where_the_bitmap_ends() {
        let mut bytes = BytesMut::new();
        let sets: [Bitmap; 3] = [
            (0..10).chain([65543]).collect(),
            (0..20_000).step_by(2).collect(),
            [1, 65_538, u32::MAX].into_iter().collect(),
        ];
        sets.iter().for_each(|set| set.encode(&mut bytes).unwrap());
        assert_eq!(Bitmap::decode_all(bytes.freeze()).unwrap(), sets);
    }

    #[test]
    fn rejects_every_truncation() {
        for set in
            [(0..10).chain([65_543]).collect::<Bitmap>(), [1, 70_000, 140_000, 210_000].into_iter().collect()]
        {
            let mut bytes = BytesMut::new();
            set.encode(&mut bytes).unwrap();
            for len in 0..bytes.len() {
                assert!(matches!(decode(&bytes[..len]), Err(DecodeError::TooShort { .. })), "{len}");
            }
        }
    }

    #[test]
    fn rejects_more_containers_than_keys_exist() {
        assert_eq!(
            decode(&[0x3a, 0x30, 0, 0, 1, 0, 1, 0]),
            Err(DecodeError::InvalidBitmap("more than 65536 containers"))
        );
    }

    #[test]
    fn rejects_unsorted_values() {
        let unsorted = [0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 5, 0, 1, 0];
        assert!(matches!(decode(&unsorted), Err(DecodeError::InvalidBitmap(_))));
    }
}
