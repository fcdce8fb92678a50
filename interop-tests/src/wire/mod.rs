//! The wire itself: bare sockets and frames for peers that do not behave, and a proxy that records what passes.

pub mod frames;
mod proxy;
mod pusher;
mod sight;
mod socket;
mod tap;

pub use proxy::{Direction, Proxy, Recording, contains};
pub use pusher::{Pusher, here, registration};
pub use sight::assert_looks_like;
pub use socket::{PlainSocket, Reply};
pub use tap::Tap;
