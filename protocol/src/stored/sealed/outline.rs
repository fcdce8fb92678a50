//! What an index file shows without a key: whether its partition was finalized.
//!
//! Records are sealed, and their lengths are clear. A commit record is shorter than any other, so that its length alone
//! tells it. Nothing of that is authenticated: it is good for leaving a file alone, and not for reading it.

use super::error::SealedError;
use super::header::Header;
use super::record::CommitRecord;
use super::segment::{HEAD, MAX_RECORD, SegmentHead};

/// The outline of an index file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outline {
    /// It ends before its header does: whoever made it was stopped.
    Begun,
    /// It has a header and no commit record: its partition was not finalized. Its last record may be cut.
    Open(Header),
    /// It has a commit record.
    Committed(Header),
}

impl Outline {
    /// The outline of `file`, all of an index file. An error where it is none, or not as it was written.
    pub fn of(file: &[u8]) -> Result<Self, SealedError> {
        let begin = match Header::decode(file) {
            Ok(decoded) => decoded,
            Err(SealedError::Cut { .. }) => return Ok(Self::Begun),
            Err(SealedError::NotSealed) if file.is_empty() => return Ok(Self::Begun),
            Err(error) => return Err(error),
        };
        let (header, mut at) = begin;
        while let Some(head) = file.get(at..).and_then(<[u8]>::first_chunk::<HEAD>) {
            let head = SegmentHead::decode(head);
            let plain = usize::try_from(head.plain).unwrap_or(usize::MAX);
            if !(CommitRecord::LEN..=MAX_RECORD).contains(&plain) {
                return Err(SealedError::Length { at: at as u64, found: head.sealed_len() });
            }
            let end = usize::try_from(head.sealed_len()).ok().and_then(|len| at.checked_add(len));
            match end.filter(|end| *end <= file.len()) {
                Some(_) if plain == CommitRecord::LEN => return Ok(Self::Committed(header)),
                Some(end) => at = end,
                None => break,
            }
        }
        Ok(Self::Open(header))
    }
}
