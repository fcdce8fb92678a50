//! The floor plan, held by a test: which package may stand on which, in which order the rooms of a package stand, and
//! that no two files use each other in a circle.
//!
//! The sources are read as text: `use` lines and paths in code, without comments and without tests. A failure names the
//! file and the line that break the plan.

mod packages;
mod paths;
mod plan;
mod sources;
mod waiting;

use std::path::Path;

use plan::{circles, upward};
use sources::Package;

/// The rooms of each package from the ground up: a room uses only rooms that stand before it.
const PLAN: [(&str, &[&str]); 9] = [
    ("protocol/src", PROTOCOL),
    ("config/src", &[]),
    ("transport/src", TRANSPORT),
    ("client/src", &[]),
    ("measure/src", &[]),
    ("src", SERVER),
    ("interop-tests/src", INTEROP_TESTS),
    ("interop-tests/benches/serve_cost", &[]),
    ("interop-tests/benches/jobs", &[]),
];

const PROTOCOL: &[&str] = &[
    "labels",
    "named",
    "limits",
    "shown",
    "ids",
    "secret",
    "codec",
    "crypto",
    "message",
    "frame",
    "shuffle",
    "cipher",
    "auth",
    "sasl",
    "channel",
    "stored",
    "connection",
];

const TRANSPORT: &[&str] =
    &["descriptors", "program", "random", "pot", "turns", "lane", "region", "seal", "wire", "tls"];

const SERVER: &[&str] = &[
    "receipt",
    "private_file",
    "confined",
    "confinement",
    "disk",
    "keys",
    "local_socket",
    "handover",
    "sealed_files",
    "io_encryption",
    "inspect",
    "merge",
    "view",
    "state",
    "audit",
    "remains",
    "traces",
    "telemetry",
    "applications",
    "supervision",
    "server",
    "admin",
    "takeover",
    "listeners",
    "commands",
    "internals",
    "main",
];

/// What an embedder of the server sees, and `commands` and `internals`, which are there with the features `program` and
/// `internals` alone.
const SHOWN: &[&str] = &[
    "AdminConfig",
    "AppId",
    "AppPolicy",
    "AppSecret",
    "AuditConfig",
    "BindError",
    "ByteCount",
    "CleanUpConfig",
    "Clears",
    "ConfiguredSecret",
    "DrainOutcome",
    "EnvelopeConfig",
    "EventError",
    "HandOverPayload",
    "HandoverConfig",
    "HttpEndpoint",
    "KeySource",
    "Limits",
    "Listeners",
    "MergeConfig",
    "OutagePolicy",
    "Policy",
    "QuotaConfig",
    "Receiver",
    "SaslSettings",
    "SecretDirectory",
    "SecurityLevel",
    "Server",
    "ServerConfig",
    "ServerTimeouts",
    "SocketOptions",
    "StartError",
    "TlsConfig",
    "TlsFile",
    "TlsSource",
    "TracesConfig",
    "commands",
    "internals",
];

const INTEROP_TESTS: &[&str] = &[
    "machine",
    "oracle",
    "modes",
    "kms",
    "spark",
    "ours",
    "wire",
    "fixture",
    "merger",
    "services",
    "cells",
    "releases",
    "applications",
    "disks",
    "yarn",
    "kubernetes",
    "suites",
    "main",
];

/// Packages of Java's own classes, as they stand in front of an exception's name.
const JAVA: &[&str] = &["java.lang.", "java.io.", "java.nio.", "java.util."];

/// The room that words failures as Java does, for peers to read.
const REFUSALS: &[&str] = &["server", "refusals"];

fn package(dir: &str) -> Package {
    Package::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    for (dir, order) in PLAN.iter().filter(|(_, order)| !order.is_empty()) {
        let package = package(dir);
        assert_eq!(
            package.unknown_rooms(order),
            Vec::<String>::new(),
            "{dir} has rooms that the plan does not name"
        );
        let broken = upward(&package.uses(), order);
        assert!(broken.is_empty(), "{dir}: against the plan:\n{}", broken.join("\n"));
    }
}

#[test]
fn the_library_shows_what_an_embedder_needs() {
    let mut shown = package("src").shown();
    shown.sort();
    assert_eq!(shown, SHOWN, "name it here if an embedder needs it, or else show it in `internals`");
}

#[test]
fn no_two_files_use_each_other_in_a_circle() {
    for (dir, _) in PLAN {
        let found = circles(&package(dir).uses());
        assert!(found.is_empty(), "{dir}: circles:\n{}", found.join("\n\n"));
    }
}

#[test]
fn a_use_against_the_plan_is_found_and_named() {
    let files = [
        ("wire/mod.rs", "//! See [`crate::server`].\nuse crate::seal::Stack;\n"),
        ("seal/mod.rs", "use std::fmt;\nuse crate::{\n    wire::Socket,\n};\n"),
        ("seal/lane.rs", "fn f() { super::pool::take() }\n"),
        ("seal/pool.rs", "#[cfg(test)]\nmod tests {\n    use super::super::lane::Lane;\n}\n"),
    ];
    let package = Package::of(&files);
    let broken = upward(&package.uses(), &["seal", "wire"]);
    assert_eq!(broken, ["seal/mod.rs:2 uses wire, which stands above seal"]);
    let found = circles(&package.uses());
    assert_eq!(found, ["seal/mod.rs:2 -> wire/mod.rs\nwire/mod.rs:2 -> seal/mod.rs"]);
}

#[test]
fn a_room_is_seen_behind_a_name_that_the_root_exports_again() {
    let order = &["seal", "wire", "server", "main"];
    let wire = ("wire/mod.rs", "use crate::Server;\nfn f() -> crate::Fault { super::Stack::new() }\n");
    let server = ("server/mod.rs", "use crate::wire::*;\n");
    let main = ("main.rs", "fn main() { sealed_shuffle::Server::run() }\n");
    let root = "pub use self::seal::Stack;\npub use self::server::{Server, StartError as Fault};\n";
    let package = Package::of(&[("lib.rs", root), ("seal.rs", ""), wire, server, main]);
    assert_eq!(package.shown(), ["Stack", "Server", "Fault"]);
    let broken = upward(&package.uses(), order);
    assert_eq!(
        broken,
        [
            "wire/mod.rs:1 uses server, which stands above wire",
            "wire/mod.rs:2 uses server, which stands above wire"
        ]
    );
    assert_eq!(circles(&package.uses()), ["server/mod.rs:1 -> wire/mod.rs\nwire/mod.rs:1 -> server/mod.rs"]);
    // The control: where the root exports nothing, the names are of nobody here.
    let package = Package::of(&[("lib.rs", "mod seal;\n"), ("seal.rs", ""), wire, server, main]);
    assert_eq!((package.shown(), upward(&package.uses(), order)), (vec![], vec![]));
}

/// Macros that panic where nobody takes what they print: a log disk that is full, a pipe whose reader is gone.
const PRINTS: &[&str] = &["println!(", "print!(", "dbg!("];

#[test]
fn nothing_prints_and_panics() {
    for (dir, _) in
        PLAN.iter().filter(|(dir, _)| ["src", "client/src", "config/src", "transport/src"].contains(dir))
    {
        let found = package(dir).lines_outside(PRINTS, &["no such room"]);
        assert!(found.is_empty(), "{dir}: write instead, and look at the result:\n{}", found.join("\n"));
    }
    let files = [("disk/mod.rs", "//! println!(x)\nfn f() {\n    eprintln!(\"x\")\n}\n")];
    assert_eq!(Package::of(&files).lines_outside(PRINTS, &["no"]), ["disk/mod.rs:3: eprintln!(\"x\")"]);
}

#[test]
fn one_room_words_failures_as_java_does() {
    let found = package("src").lines_outside(JAVA, REFUSALS);
    assert!(
        found.is_empty(),
        "they name Java classes, which server/refusals alone does:\n{}",
        found.join("\n")
    );
    assert!(!package("src").lines_outside(JAVA, &["no such room"]).is_empty(), "the room itself is seen");

    let files = [
        ("server/refusals/mod.rs", "fn f() { g(\"java.io.IOException\") }\n"),
        (
            "disk/mod.rs",
            "//! As `java.io.File`.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    \"java.io.File\"\n}\n",
        ),
        ("disk/store.rs", "fn f() {\n    g(\"java.io.IOException\")\n}\n"),
    ];
    let found = Package::of(&files).lines_outside(JAVA, REFUSALS);
    assert_eq!(found, ["disk/store.rs:2: g(\"java.io.IOException\")"]);
}
