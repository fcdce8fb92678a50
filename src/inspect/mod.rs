//! What lies in a file, told from its name and its bytes.
//!
//! | module | knows |
//! |---|---|
//! | [`name`] | what a file is, by the name that Spark gave it |
//! | [`beside`] | where the other files of the same output lie |
//! | [`mark`] | what codecs and serializers begin with |
//! | [`randomness`] | whether bytes look like ciphertext |
//! | [`sealed`] | files that this project's server sealed |
//! | [`content`] | what protects the bytes of a file, from a bounded sample |
//! | [`metadata`] | index, checksum and merged meta files, and whether they fit the data |
//! | [`owner`] | whose a file is, as far as its path tells |
//! | [`scan`] | what protects everything beneath some directories, by application |
//!
//! Nothing here needs a key, writes, or follows a symbolic link that it was not named.

pub mod beside;
pub mod content;
pub mod mark;
pub mod metadata;
pub mod name;
pub mod owner;
pub mod randomness;
pub mod scan;
pub mod sealed;
