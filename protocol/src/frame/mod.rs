//! The 8-byte length framing, and bodies in and behind a frame.
//!
//! [`FrameDecoder`] turns plaintext, cut anywhere, into heads and pieces of bodies. Writing needs no state:
//! [`crate::message::Head::encode`] writes a whole head, and the body follows it.

mod decoder;

pub use decoder::{FrameDecoder, FrameError, FrameEvent};
