//! Tells the content of a file from its name and its bytes.
//!
//! | module | knows |
//! |---|---|
//! | [`name`] | the kind of a file, by the name that Spark gave it |
//! | [`beside`] | where the other files of the same output lie |
//! | [`mark`] | the marks that codecs and serializers leave at the beginning |
//! | [`deep_mark`] | further marks: anywhere, at the end, by inflating |
//! | [`randomness`] | whether bytes look like ciphertext |
//! | [`reading`] | reading pieces of a file, and opening none that keeps the caller waiting |
//! | [`sealed`] | the files that this project's server sealed |
//! | [`wrapped`] | which keys of a key service sealed files need |
//! | [`follow`] | whether a file that begins as a sealed one goes on so |
//! | [`content`] | how the bytes of a file are protected, from samples of it, or all of it |
//! | [`opened`] | opening what this project's server sealed |
//! | [`metadata`] | index, checksum and merged meta files, and whether they fit the data |
//! | [`owner`] | the owner of a file, as far as its path tells |
//! | [`scan`] | how everything beneath some directories is protected, by application |
//!
//! Nothing here writes, and nothing but [`opened`] needs a key. Symbolic links are not followed, except one that the caller names.

pub mod beside;
pub mod content;
pub mod deep_mark;
pub mod follow;
pub mod mark;
pub mod metadata;
pub mod name;
pub mod opened;
pub mod owner;
pub mod randomness;
pub mod reading;
pub mod scan;
pub mod sealed;
pub mod wrapped;
