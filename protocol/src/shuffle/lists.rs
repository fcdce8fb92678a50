//! Lists as they lie on the wire, so that a long one costs no more memory than its message.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{DecodeError, Decoder, EncodeError, Wire, put_count, put_str};
use crate::limits::NAME_MAX;

/// A list of strings of `MOST` bytes each at most, kept in its wire form: a slice of the message that it came in, which
/// it keeps in memory. Copy what must outlive the request.
///
/// Invariant: `encoded` holds exactly `count` lengths of at most `MOST` with valid UTF-8 behind each.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Strings<const MOST: usize = NAME_MAX> {
    count: usize,
    encoded: Bytes,
}

impl<const MOST: usize> Strings<MOST> {
    /// Writes the strings one behind the other.
    pub fn try_from_iter<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Self, EncodeError> {
        let mut count = 0;
        let mut encoded = BytesMut::new();
        for item in items {
            let item = item.as_ref();
            if item.len() > MOST {
                return Err(EncodeError::TextTooLong { len: item.len(), most: MOST });
            }
            put_str(&mut encoded, item)?;
            count += 1;
        }
        Ok(Self { count, encoded: encoded.freeze() })
    }

    /// The strings, in order.
    pub fn iter(&self) -> StringsIter<'_> {
        StringsIter { count: self.count, left: &self.encoded }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a, const MOST: usize> IntoIterator for &'a Strings<MOST> {
    type Item = &'a str;
    type IntoIter = StringsIter<'a>;

    fn into_iter(self) -> StringsIter<'a> {
        self.iter()
    }
}

impl<const MOST: usize> fmt::Debug for Strings<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<const MOST: usize> Wire for Strings<MOST> {
    const MIN_LEN: usize = 4;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let count = from.count(4)?;
        let mut extent = 0;
        let mut left = from.as_slice();
        for _ in 0..count {
            let text = split_str(&mut left, MOST)?;
            extent += 4 + text.len();
        }
        Ok(Self { count, encoded: from.take(extent)? })
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_count(out, self.count)?;
        out.extend_from_slice(&self.encoded);
        Ok(())
    }
}

/// Walks over [`Strings`].
#[derive(Clone, Debug)]
pub struct StringsIter<'a> {
    count: usize,
    left: &'a [u8],
}

impl<'a> Iterator for StringsIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.count = self.count.checked_sub(1)?;
        Some(
            split_str(&mut self.left, usize::MAX)
                .expect("lengths and UTF-8 were checked when the list was made"),
        )
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for StringsIter<'_> {}

fn split_str<'a>(left: &mut &'a [u8], most: usize) -> Result<&'a str, DecodeError> {
    if left.len() < 4 {
        return Err(DecodeError::TooShort { needed: 4, left: left.len() });
    }
    let len = left.get_i32();
    let len = usize::try_from(len).map_err(|_| DecodeError::NegativeLength(len))?;
    if len > most {
        return Err(DecodeError::TextTooLong { what: "a text of a list", len, most });
    }
    let Some((text, rest)) = left.split_at_checked(len) else {
        return Err(DecodeError::CountTooLarge { count: len, left: left.len() });
    };
    *left = rest;
    std::str::from_utf8(text).map_err(|_| DecodeError::InvalidUtf8)
}

/// A list of lists in two flat pieces: all items, and where each list ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lists<T> {
    items: Vec<T>,
    ends: Vec<usize>,
}

impl<T> Lists<T> {
    /// No lists.
    pub fn new() -> Self {
        Self { items: Vec::new(), ends: Vec::new() }
    }

    /// Appends a list.
    pub fn push(&mut self, list: impl IntoIterator<Item = T>) {
        self.items.extend(list);
        self.ends.push(self.items.len());
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The list at `index`.
    pub fn list(&self, index: usize) -> Option<&[T]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.items[start..end])
    }

    /// The lists, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> {
        (0..self.len()).map(|index| self.list(index).expect("the index is below the length"))
    }

    /// The items of all lists, in order.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Which list the item at `position` of [`Lists::items`] belongs to.
    pub fn list_of(&self, position: usize) -> Option<usize> {
        (position < self.items.len()).then(|| self.ends.partition_point(|&end| end <= position))
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, L: IntoIterator<Item = T>> FromIterator<L> for Lists<T> {
    fn from_iter<I: IntoIterator<Item = L>>(lists: I) -> Self {
        let mut nested = Self::new();
        lists.into_iter().for_each(|list| nested.push(list));
        nested
    }
}

impl<T: Wire> Wire for Lists<T> {
    const MIN_LEN: usize = 4;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let lists = from.count(4)?;
        let mut nested = Self { items: Vec::new(), ends: Vec::with_capacity(lists) };
        for _ in 0..lists {
            let count = from.count(T::MIN_LEN)?;
            nested.items.reserve(count);
            for _ in 0..count {
                nested.items.push(from.read()?);
            }
            nested.ends.push(nested.items.len());
        }
        Ok(nested)
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_count(out, self.len())?;
        for list in self.iter() {
            put_count(out, list.len())?;
            list.iter().try_for_each(|item| item.encode(out))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
        Decoder::new(Bytes::copy_from_slice(bytes)).read()
    }

    #[test]
    fn strings_are_a_slice_of_their_message() {
        let message = Bytes::from_static(&[0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 0xff]);
        let mut decoder = Decoder::new(message.clone());
        let strings: Strings = decoder.read().unwrap();
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", ""]);
        assert_eq!(strings.encoded.as_ptr(), message[4..].as_ptr());
        assert_eq!(decoder.remaining(), 1);
        assert_eq!(strings, Strings::try_from_iter(["a", ""]).unwrap());
    }

    #[test]
    fn rejects_a_string_list_that_is_not_whole() {
        assert!(matches!(decode::<Strings>(&[0, 0, 0, 1, 0, 0, 0]), Err(DecodeError::CountTooLarge { .. })));
        assert!(matches!(
            decode::<Strings>(&[0, 0, 0, 1, 0, 0, 0, 2, b'a']),
            Err(DecodeError::CountTooLarge { count: 2, left: 1 })
        ));
        assert_eq!(decode::<Strings>(&[0, 0, 0, 1, 0, 0, 0, 1, 0xff]), Err(DecodeError::InvalidUtf8));
    }

    #[test]
    fn rejects_outer_count_larger_than_the_bytes_left() {
        let announced = [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode::<Lists<i32>>(&announced), Err(DecodeError::CountTooLarge { count: 3, left: 8 }));
    }

    #[test]
    fn finds_the_list_of_an_item_past_empty_lists() {
        let nested: Lists<i32> = [vec![], vec![7, 8], vec![], vec![9]].into_iter().collect();
        assert_eq!(nested.list(1), Some(&[7, 8][..]));
        assert_eq!([0, 1, 2, 3].map(|item| nested.list_of(item)), [Some(1), Some(1), Some(3), None]);
    }
}
