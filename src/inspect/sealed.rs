//! Recognizing files that this project's server sealed.
//!
//! The one place where [`crate::inspect`] asks: the format itself is not known here.

/// What the clear header of a sealed file says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SealedHeader {
    /// Version of the format.
    pub version: u32,
    /// What the file holds, in words.
    pub kind: String,
    /// The key that wraps the file's data key.
    pub key_id: String,
}

/// The header at the beginning of `head`, if it is one. Nothing is recognized yet: no release seals files.
pub fn sealed_header(_head: &[u8]) -> Option<SealedHeader> {
    None
}
