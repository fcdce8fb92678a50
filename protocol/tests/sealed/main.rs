//! The sealed file format against a model, against whoever changes files, and against its known answers.

#![allow(clippy::unwrap_used)]

mod header;
mod known_answers;
mod memory;
mod model;
mod support;
mod tampering;
