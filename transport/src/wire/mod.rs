//! Hop 3: ciphertext and sockets.
//!
//! [`drive()`] is the one loop that joins a socket, the session layers, the outbox and a protocol engine. The server
//! and the client each bring a [`Handler`] for the events of the engine.

mod counted;
mod drive;
mod listen;
mod read_buffer;
mod socket;
mod turn;
mod within;

pub use counted::{CountingSocket, WireCounters};
pub use drive::{Handler, WireSettings, drive};
pub use listen::{ListenError, ListenSettings, PlaceSource, accept_loop, bind};
pub use socket::Socket;
