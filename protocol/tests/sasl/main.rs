//! SASL and the handshake of Spark 2.2 to 3.0 from outside: against known answers of Spark's own classes, against
//! themselves under every split, and against hostile input.

#![expect(clippy::unwrap_used, reason = "a failing helper of a test fails the test")]

mod captured;
mod exchange;
mod known_answers;
mod layer;
mod legacy;
mod support;
