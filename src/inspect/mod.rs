//! Tells the content of a file from its name and its bytes.
//!
//! | module | knows |
//! |---|---|
//! | [`name`] | the kind of a file, by the name that Spark gave it |
//! | [`beside`] | where the other files of the same output lie |
//! | [`mark`] | the marks that codecs and serializers leave at the beginning |
//! | [`randomness`] | whether bytes look like ciphertext |
//! | [`sealed`] | the files that this project's server sealed |
//! | [`content`] | how the bytes of a file are protected, from a bounded sample |
//! | [`metadata`] | index, checksum and merged meta files, and whether they fit the data |
//! | [`owner`] | the owner of a file, as far as its path tells |
//! | [`scan`] | how everything beneath some directories is protected, by application |
//!
//! Nothing here needs a key or writes. Symbolic links are not followed, except one that the caller names.

pub mod beside;
pub mod content;
pub mod mark;
pub mod metadata;
pub mod name;
pub mod owner;
pub mod randomness;
pub mod scan;
pub mod sealed;
