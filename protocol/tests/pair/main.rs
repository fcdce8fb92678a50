//! Both ends of a connection joined in memory under a virtual clock: whole conversations, every cut of
//! their bytes, every deadline, and peers that mean harm.

#![allow(clippy::unwrap_used)]

mod between;
mod closing;
mod conversation;
mod deadlines;
mod hostile;
mod identity;
mod joined;
#[path = "../auth_session/support.rs"]
#[allow(dead_code)] // shared with the tests of the handshake and the ciphers
mod support;
mod uploads;
