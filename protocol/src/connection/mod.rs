//! Both ends of a connection as state machines without IO.
//!
//! The owner of the socket drives an engine in this order, after every change:
//!
//! ```text
//! engine.handle_bytes(now, plaintext)         what the session layers opened
//! while let Some(event) = engine.poll_event()?     facts for the application
//! while let Some(part) = engine.poll_transmit()    next thing to write, in order
//! engine.handle_output(now, n, pending)        progress of the socket
//! engine.poll_timeout() -> handle_timeout(now)     when to come back
//! ```
//!
//! Bulk data never enters an engine. On the way out it carries an opaque body `B` from the answer
//! to its place in the transmit order; on the way in it says how long a body is and passes the
//! pieces through unjoined.
//!
//! A handshake that agrees on keys ends with [`Transmit::Install`]: they move to the session layers at that exact
//! byte, and from there on the engine sees plaintext only. TLS is none of an engine's business: it lies around
//! everything from the first byte, see [`Engine::handle_ready`].

mod client;
mod close;
mod engine;
mod handshake;
mod link;
mod server;

pub use client::{ClientConnection, ClientEvent, ClientSettings};
pub use close::{Blame, CloseReason};
pub use engine::{Body, Engine};
pub use handshake::{Agreement, Challenge, Greeting};
pub use link::Transmit;
pub use server::{Identity, Request, ServerConnection, ServerEvent, ServerSettings};
