//! The bodies of the fuzz targets: each takes bytes that nobody chose and says what must hold of them.
//!
//! `fuzz_targets/` hands them to libFuzzer; the test `corpus` of the protocol crate, which includes this file, replays
//! the corpus through them with a stable compiler. A body panics where an invariant breaks; that nothing else panics is
//! the first invariant of all.

mod connection;
mod handshakes;
mod input;
mod layers;
mod messages;
#[path = "../../tests/support/random.rs"]
pub(crate) mod random;
mod recognizers;
mod stored;

/// A target: its name, which is that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("frame", messages::frame),
    ("message", messages::message),
    ("block_transfer", messages::block_transfer),
    ("names", messages::names),
    ("bitmap", messages::bitmap),
    ("x25519_handshake", handshakes::x25519),
    ("pbkdf2_handshake", handshakes::pbkdf2),
    ("sasl", handshakes::sasl),
    ("gcm", layers::gcm),
    ("sasl_layer", layers::sasl),
    ("sealed", stored::sealed),
    ("connection", connection::operations),
    ("inspect", recognizers::inspect),
];

/// Runs the target of that name.
///
/// # Panics
///
/// Where there is no such target, and where the target finds a fault.
pub fn run(name: &str, data: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("the target exists");
    body(data);
}
