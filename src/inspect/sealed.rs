//! Recognizes files that this project's server sealed.
//!
//! [`crate::inspect`] asks only here. [`sealed_shuffle_protocol::stored::sealed`] owns the format.

use sealed_shuffle_protocol::stored::sealed::{
    Header, Kind, MAGIC, MAX_PIECE, MAX_RECORD, SealedError, VERSION,
};

/// The fields of the clear header of a sealed file. None of them is verified: that takes the key.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SealedHeader {
    /// Version of the format.
    pub version: u32,
    /// The content of the file, in words.
    pub kind: String,
    /// The key that wraps the file's data key.
    pub key_id: String,
    /// The application that it belongs to.
    pub app: String,
    /// Where the first segment begins, and the most plaintext that one has; `None` where the header is not whole.
    segments: Option<(u64, usize)>,
}

/// Number of bytes that contain every possible header whole.
pub const SEALED_HEAD: usize = Header::MAX_LEN;

impl SealedHeader {
    /// Whether all of it could be read: else the application and the key are not known.
    pub fn is_whole(&self) -> bool {
        self.segments.is_some()
    }

    /// Bytes of the header; `None` where it is not whole.
    pub fn len(&self) -> Option<u64> {
        self.segments.map(|(start, _)| start)
    }

    /// Where the first segment begins, and the most plaintext that one has; `None` where the header is not whole.
    pub fn segments(&self) -> Option<(u64, usize)> {
        self.segments
    }
}

/// Whether a file begins as sealed files do.
pub fn may_be_sealed(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// The header at the beginning of `head`, if it is one. A header that is cut, or of a newer version, is recognized
/// without its fields.
pub fn sealed_header(head: &[u8]) -> Option<SealedHeader> {
    let unknown = |version, kind: &str| {
        let (key_id, app) = ("unknown".to_owned(), "unknown".to_owned());
        Some(SealedHeader { version, kind: kind.to_owned(), key_id, app, segments: None })
    };
    match Header::decode(head) {
        Ok((header, len)) => Some(SealedHeader {
            version: header.version().into(),
            kind: format!("{} of a merged partition", header.kind),
            key_id: header.key.key_id,
            app: header.context.app.as_str().to_owned(),
            segments: Some((len as u64, if header.kind == Kind::Data { MAX_PIECE } else { MAX_RECORD })),
        }),
        Err(SealedError::NewerVersion { found }) => unknown(found.into(), "of a newer version"),
        Err(_) if may_be_sealed(head) => unknown(VERSION.into(), "with a damaged or cut header"),
        Err(_) => None,
    }
}
