//! One disk of three fails under the running server: with every fault, the other two go on as if nothing were. The disk
//! is a file system in user space that hangs or fails on demand, or one in memory that is full, for reading only, or gone.
//!
//! A machine that mounts neither skips these tests, and says so.
#![allow(clippy::unwrap_used)]

mod appearing;
mod housekeeping;
mod hung;
mod machine;
mod operations;
#[path = "../running/mod.rs"]
mod running;
mod starting;
mod table;
