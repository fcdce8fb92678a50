//! Spark's primitive encodings: a cursor whose every read can fail, and writers.
//!
//! Integers are big-endian two's complement. A string or byte array is an `i32` length and its bytes, an
//! array an `i32` count and its elements (`Encoders`, Spark 4.3.0). There is no null.
//!
//! Invariants:
//! * a count is checked against the bytes that are left before anything is allocated for it, so that a
//!   decoded value costs at most a small multiple of its wire form;
//! * text that is not UTF-8 is refused. Java would replace the bad bytes and carry on with another name
//!   than the one that was sent;
//! * every text has a bound, which is checked before the text is copied: there is no way to read one without.
//!
//! Called by [`crate::message`] for transport messages and by [`crate::shuffle`] for what they carry.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use crate::limits::NAME_MAX;

/// Why bytes from a peer are not the message that they should be.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A fixed field, a string or an array runs past the end.
    #[error("message too short: {needed} bytes needed, {left} left")]
    TooShort {
        /// Bytes that the field takes.
        needed: u64,
        /// Bytes that there are.
        left: usize,
    },
    /// A length or count below zero.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// An array that cannot fit into what is left, however short its elements are.
    #[error("array of {count} elements cannot fit into the {left} bytes left")]
    CountTooLarge {
        /// Elements that the peer announced.
        count: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// A string that is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A string that is longer than what it stands for can be.
    #[error("{what} of {len} bytes is longer than the {most} that are taken")]
    TextTooLong {
        /// The field.
        what: &'static str,
        /// Bytes that the peer announced.
        len: usize,
        /// The bound.
        most: usize,
    },
    /// A transport message of unknown type.
    #[error("unknown transport message type {0}")]
    UnknownTransportType(u8),
    /// A block-transfer message of unknown type.
    #[error("unknown block-transfer message type {0}")]
    UnknownShuffleType(u8),
    /// A byte that names no cause of a corruption.
    #[error("unknown corruption cause {0}")]
    UnknownCorruptionCause(u8),
    /// A byte that names no outcome of a block push.
    #[error("unknown block push return code {0}")]
    UnknownPushReturnCode(u8),
    /// A bitmap that breaks the RoaringBitmap portable format.
    #[error("invalid bitmap: {0}")]
    InvalidBitmap(&'static str),
}

impl DecodeError {
    /// The first line of Spark 4.3.0's answer to such a message.
    pub fn spark_text(&self) -> String {
        match self {
            Self::UnknownTransportType(byte) | Self::UnknownShuffleType(byte) => {
                format!("java.lang.IllegalArgumentException: Unknown message type: {}", byte.cast_signed())
            }
            Self::NegativeLength(length) => format!(
                "java.lang.IndexOutOfBoundsException: Range [0, 0 + {length}) out of bounds for length 0"
            ),
            Self::CountTooLarge { count, left } => format!(
                "java.lang.IndexOutOfBoundsException: Range [0, 0 + {count}) out of bounds for length {left}"
            ),
            Self::TooShort { needed, left } => format!(
                "java.lang.IndexOutOfBoundsException: Range [0, 0 + {needed}) out of bounds for length {left}"
            ),
            Self::UnknownPushReturnCode(byte) => format!(
                "java.lang.IllegalArgumentException: Unknown block push return code: {}",
                byte.cast_signed()
            ),
            Self::UnknownCorruptionCause(byte) => format!(
                "java.lang.ArrayIndexOutOfBoundsException: Index {} out of bounds for length 5",
                byte.cast_signed()
            ),
            Self::InvalidUtf8 | Self::TextTooLong { .. } | Self::InvalidBitmap(_) => {
                format!("java.lang.IllegalArgumentException: {self}")
            }
        }
    }
}

/// Why a message cannot be written.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string, array or body whose length does not fit its field.
    #[error("{0} bytes or elements do not fit a 31-bit length; send less at once")]
    TooLong(usize),
    /// A string that is longer than what peers take.
    #[error("a text of {len} bytes is longer than the {most} that peers take")]
    TextTooLong {
        /// Its bytes.
        len: usize,
        /// The bound.
        most: usize,
    },
    /// A frame that every Spark peer would refuse.
    #[error("frame payload of {payload} bytes is above the {max} that peers accept; send a smaller body")]
    FrameTooLong {
        /// Bytes behind the frame's length field.
        payload: u64,
        /// The most that a Spark peer accepts.
        max: u64,
    },
    /// A body behind the frame whose length does not fit its field.
    #[error("body of {0} bytes does not fit a 63-bit length")]
    BodyTooLong(u64),
    /// A body for a message that has none.
    #[error("{0} carries no body")]
    UnexpectedBody(&'static str),
}

/// A value with one wire form.
pub trait Wire: Sized {
    /// The fewest bytes that a value takes: a count of them is checked against it.
    const MIN_LEN: usize;

    /// Reads one value from the front of `from`.
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError>;

    /// Appends the value to `out`.
    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError>;
}

/// A cursor over received bytes. Byte arrays come out as slices of them, without a copy.
#[derive(Debug)]
pub struct Decoder {
    left: Bytes,
}

impl Decoder {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { left: bytes }
    }

    /// Reads the next value.
    pub fn read<T: Wire>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.left.get_u8())
    }

    /// Reads a big-endian 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.need(4)?;
        Ok(self.left.get_i32())
    }

    /// Reads a big-endian 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.need(8)?;
        Ok(self.left.get_i64())
    }

    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        self.need(len)?;
        Ok(self.left.split_to(len))
    }

    /// Reads a length and that many bytes.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.count(1)?;
        self.take(len)
    }

    /// Reads a length and that many bytes of text, `most` of them at most; `what` names the field in the error.
    pub fn text(&mut self, what: &'static str, most: usize) -> Result<String, DecodeError> {
        let len = self.count(1)?;
        if len > most {
            return Err(DecodeError::TextTooLong { what, len, most });
        }
        let bytes = self.take(len)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::InvalidUtf8),
        }
    }

    /// Reads a count of elements that take at least `min_len` bytes each, and checks that so many can follow.
    pub fn count(&mut self, min_len: usize) -> Result<usize, DecodeError> {
        let count = self.i32()?;
        let count = usize::try_from(count).map_err(|_| DecodeError::NegativeLength(count))?;
        if count > self.left.len() / min_len.max(1) {
            return Err(DecodeError::CountTooLarge { count, left: self.left.len() });
        }
        Ok(count)
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// The bytes not read yet, to look ahead.
    pub fn as_slice(&self) -> &[u8] {
        &self.left
    }

    /// The bytes not read yet, as a slice of what was received.
    pub fn into_rest(self) -> Bytes {
        self.left
    }

    fn need(&self, len: usize) -> Result<(), DecodeError> {
        if len > self.left.len() {
            return Err(DecodeError::TooShort { needed: len as u64, left: self.left.len() });
        }
        Ok(())
    }
}

/// Appends a length and the text.
pub fn put_str(out: &mut BytesMut, text: &str) -> Result<(), EncodeError> {
    put_bytes(out, text.as_bytes())
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), EncodeError> {
    put_count(out, bytes.len())?;
    out.put_slice(bytes);
    Ok(())
}

/// Appends a length or count.
pub fn put_count(out: &mut BytesMut, count: usize) -> Result<(), EncodeError> {
    out.put_i32(i32::try_from(count).map_err(|_| EncodeError::TooLong(count))?);
    Ok(())
}

impl Wire for i32 {
    const MIN_LEN: usize = 4;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.i32()
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_i32(*self);
        Ok(())
    }
}

impl Wire for i64 {
    const MIN_LEN: usize = 8;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.i64()
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_i64(*self);
        Ok(())
    }
}

impl Wire for bool {
    const MIN_LEN: usize = 1;

    /// Every byte but 0 is true, as for Netty's `readBoolean`.
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(from.u8()? != 0)
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(u8::from(*self));
        Ok(())
    }
}

impl Wire for Bytes {
    const MIN_LEN: usize = 4;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.bytes()
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_bytes(out, self)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const MIN_LEN: usize = 4;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let count = from.count(T::MIN_LEN)?;
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(T::decode(from)?);
        }
        Ok(items)
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_count(out, self.len())?;
        self.iter().try_for_each(|item| item.encode(out))
    }
}

macro_rules! wire_number {
    ($($name:ident($inner:ty)),* $(,)?) => {$(
        impl Wire for $name {
            const MIN_LEN: usize = <$inner>::MIN_LEN;

            fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(Self(from.read()?))
            }

            fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                self.0.encode(out)
            }
        }
    )*};
}

wire_number! {
    ChunkIndex(i32), MapId(i64), ReduceId(i32), RequestId(i64), ShuffleId(i32), ShuffleMergeId(i32),
    StreamId(i64),
}

macro_rules! wire_name {
    ($($name:ident $what:literal),*) => {$(
        impl Wire for $name {
            const MIN_LEN: usize = 4;

            fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(Self::new(from.text($what, NAME_MAX)?))
            }

            fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
                put_str(out, self.as_str())
            }
        }
    )*};
}

wire_name!(AppId "an application id", ExecutorId "an executor id");

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(bytes: &'static [u8]) -> Decoder {
        Decoder::new(Bytes::from_static(bytes))
    }

    #[test]
    fn rejects_count_larger_than_the_bytes_left() {
        let mut longs = decoder(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(longs.read::<Vec<i64>>(), Err(DecodeError::CountTooLarge { count: 2, left: 11 }));

        let mut arrays = decoder(&[0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(
            arrays.read::<Vec<Bytes>>(),
            Err(DecodeError::CountTooLarge { count: 0x7fff_ffff, left: 0 })
        );
    }

    #[test]
    fn rejects_negative_length() {
        assert_eq!(decoder(&[0xff; 4]).text("a text", 9), Err(DecodeError::NegativeLength(-1)));
        assert_eq!(decoder(&[0xff; 4]).read::<Vec<i32>>(), Err(DecodeError::NegativeLength(-1)));
    }

    #[test]
    fn rejects_text_that_is_not_utf8() {
        assert_eq!(decoder(&[0, 0, 0, 2, 0xc3, 0x28]).text("a text", 9), Err(DecodeError::InvalidUtf8));
    }

    #[test]
    fn rejects_text_above_its_bound() {
        assert_eq!(decoder(&[0, 0, 0, 2, b'a', b'b']).text("a text", 2), Ok("ab".to_owned()));
        let error = decoder(&[0, 0, 0, 2, b'a', b'b']).text("a text", 1).unwrap_err();
        assert_eq!(error.to_string(), "a text of 2 bytes is longer than the 1 that are taken");
    }

    #[test]
    fn any_byte_but_zero_is_true() {
        assert_eq!(decoder(&[2]).read::<bool>(), Ok(true));
        assert_eq!(decoder(&[0]).read::<bool>(), Ok(false));
    }

    #[test]
    fn byte_arrays_are_slices_of_the_input() {
        let input = Bytes::from_static(&[0, 0, 0, 2, 7, 8, 9]);
        let mut decoder = Decoder::new(input.clone());
        let bytes = decoder.bytes().unwrap();
        assert_eq!(bytes.as_ptr(), input[4..].as_ptr());
        assert_eq!(decoder.into_rest(), input.slice(6..));
    }

    #[test]
    fn speaks_of_bad_messages_as_spark_does() {
        assert_eq!(
            DecodeError::UnknownShuffleType(0xff).spark_text(),
            "java.lang.IllegalArgumentException: Unknown message type: -1"
        );
        assert_eq!(
            DecodeError::CountTooLarge { count: 16, left: 2 }.spark_text(),
            "java.lang.IndexOutOfBoundsException: Range [0, 0 + 16) out of bounds for length 2"
        );
    }
}
