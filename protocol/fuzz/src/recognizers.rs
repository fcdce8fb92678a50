//! What `inspect` tells of a file from its bytes and its name. The recognizers are pure, so their sources are included
//! here as they are: the server around them would take longer to build than to fuzz.

#![allow(dead_code, unreachable_pub)]

#[path = "../../../src/inspect/mark.rs"]
mod mark;
#[path = "../../../src/inspect/name.rs"]
mod name;
#[path = "../../../src/inspect/randomness.rs"]
mod randomness;
#[path = "../../../src/inspect/sealed.rs"]
mod sealed;

/// Nothing panics, and what has a mark keeps it when more follows.
pub(crate) fn inspect(data: &[u8]) {
    let _ = mark::Mark::of(data).map(mark::Mark::name);
    let _ = randomness::Measurement::of(data).judge();
    if sealed::sealed_header(data).is_some() {
        assert!(sealed::may_be_sealed(data));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = name::SparkName::parse(text) {
        let _ = (
            name.kind.describe(),
            name.kind.is_metadata(),
            name.app(),
            name.sibling("index"),
            name.partition(3),
        );
    }
}
