//! Recognizes files that this project's server sealed.
//!
//! [`crate::inspect`] asks only here. [`sealed_shuffle_protocol::stored::sealed`] owns the format.

use sealed_shuffle_protocol::stored::sealed::{Header, MAGIC, SealedError, VERSION};

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
}

/// Number of bytes that contain every possible header whole.
pub const SEALED_HEAD: usize = Header::MAX_LEN;

/// Whether a file begins as sealed files do.
pub fn may_be_sealed(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// The header at the beginning of `head`, if it is one. A header that is cut, or of a newer version, is recognized
/// without its fields.
pub fn sealed_header(head: &[u8]) -> Option<SealedHeader> {
    let unknown = |version, kind: &str| {
        let (key_id, app) = ("unknown".to_owned(), "unknown".to_owned());
        Some(SealedHeader { version, kind: kind.to_owned(), key_id, app })
    };
    match Header::decode(head) {
        Ok((header, _)) => Some(SealedHeader {
            version: header.version().into(),
            kind: format!("{} of a merged partition", header.kind),
            key_id: header.key.key_id,
            app: header.context.app.as_str().to_owned(),
        }),
        Err(SealedError::NewerVersion { found }) => unknown(found.into(), "of a newer version"),
        Err(_) if may_be_sealed(head) => unknown(VERSION.into(), "with a damaged or cut header"),
        Err(_) => None,
    }
}
