//! Spark's shuffle transport over real sockets and files: the IO that the protocol engine does without.
//!
//! ```text
//! data :  region/  ───►  seal/  ───►  wire/  ───►  peer
//! calls:  wire pulls from seal, seal pulls from region (or from a `Pull` that its caller gave)
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`descriptors`] | how many of them peers may cause |
//! | [`lane`] | threads that may wait, and the proof that code runs on one |
//! | [`region`] | a range of an open file, and reading it |
//! | [`pot`] | a bounded amount of one thing, and the share of each tenant |
//! | [`turns`] | whose turn it is to send |
//! | [`seal`] | the stack of session layers, and the segments in which bodies go through it |
//! | [`wire`] | the one loop that joins a socket, the layers, the outbox and an engine |
//! | [`tls`] | TLS as one of the layers: keys, certificates, trust |
//! | [`program`] | a helper program with a deadline: it prints keys and certificates, or wraps keys |
//! | [`random`] | the operating system's randomness |
//!
//! Server and client stand on it; it knows neither.

pub mod descriptors;
pub mod lane;
pub mod pot;
pub mod program;
pub mod random;
pub mod region;
pub mod seal;
pub mod tls;
pub mod turns;
pub mod wire;
