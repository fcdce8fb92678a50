//! The handshake and the session ciphers from outside: against known answers of Spark's own classes,
//! against themselves under every split, and against hostile input.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test fails the test")]

mod ctr;
mod gcm;
mod handshake;
mod known_answers;
mod recognition;
mod salts;
mod segments;
mod support;
