//! Session ciphers, as layers over the two byte streams of a connection.
//!
//! A [`Layer`] seals what a [`Segment`] holds, where it lies, and opens what came from the socket,
//! where it lies. It knows nothing of frames: the frames of [`crate::frame`] run through it as one stream of
//! bytes in each direction, heads and bodies alike.
//!
//! | module | knows |
//! |---|---|
//! | `layer` | the trait, and its errors |
//! | `segment` | the buffer that is filled, sealed and written without moving a byte |
//! | `ctr` | AES/CTR: one key stream, no integrity |
//! | `gcm` | AES/GCM in Spark's framing: messages of 32 KiB segments |
//! | `salts` | the salts of its messages: who sent which |
//! | `window` | the salts that a peer of Spark's has used |
//! | `role` | which end of a connection a layer works for |
//! | `mode` | cipher and engine version, by Spark's names |
//! | `null` | no cipher, for benches |
//!
//! Source: CtrTransportCipher and GcmTransportCipher, Spark 3.5.9 to 4.3.0; TransportCipher before
//! 3.4.

mod ctr;
mod gcm;
mod layer;
mod mode;
mod null;
mod role;
mod salts;
mod segment;
mod window;

pub use ctr::CtrLayer;
pub use gcm::{GcmKeySize, GcmLayer};
pub(crate) use layer::check;
pub use layer::{CipherError, Layer};
pub use mode::{
    BROKEN_GCM, EngineVersion, SOUND_GCM, SessionCipher, SessionMode, UnknownCipher, has_broken_gcm,
};
pub use null::NullLayer;
pub use role::Role;
pub use segment::{Layout, Parts, Segment, Spare, Unit, Units};
