//! What lies in a file, told from its name and its bytes.
//!
//! | module | knows |
//! |---|---|
//! | [`name`] | what a file is, by the name that Spark gave it |
//! | [`beside`] | where the other files of the same output lie |
//! | [`mark`] | what codecs and serializers begin with |
//! | [`randomness`] | whether bytes look like ciphertext |
//!
//! Nothing here needs a key, writes, or follows a symbolic link that it was not named.

pub mod beside;
pub mod mark;
pub mod name;
pub mod randomness;
