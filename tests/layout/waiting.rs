//! No thread of a runtime waits for a disk: file systems are called in named places only, and blocking threads come from
//! lanes only.
//!
//! What may wait takes an `OnLane`, which a lane alone hands out. That holds for what is written with it; this test holds
//! that nothing is written without.

use crate::package;
use crate::sources::Package;

/// Words that call a file system by a path, or take a blocking thread.
const WORDS: [&str; 17] = [
    "std::fs",
    "rustix::fs",
    "tokio::fs",
    "unix::fs::",
    "spawn_blocking",
    "block_in_place",
    "thread::spawn",
    ".exists()",
    ".try_exists()",
    ".canonicalize()",
    ".is_dir()",
    ".is_file()",
    ".is_symlink()",
    ".metadata()",
    ".symlink_metadata()",
    ".read_dir()",
    ".read_link()",
];

/// Where they may stand, and why. A name that ends in a slash is a directory.
const PLACES: [(&str, &str, &str); 34] = [
    ("transport/src", "lane.rs", "it is where threads that wait come from"),
    ("transport/src", "program.rs", "its threads move the pipes of a helper program, which has a deadline"),
    ("transport/src", "region/", "it looks at open descriptors, which waits for no path"),
    ("transport/src", "wire/socket.rs", "sendfile from an open descriptor, after the page cache was asked"),
    ("transport/src", "tls/", "read at start, by commands, and on the server's lane for TLS material"),
    ("client/src", "connection.rs", "looks at TLS material in the runtime of whoever embeds it"),
    ("client/src", "files.rs", "writes what was fetched in the runtime of whoever embeds it"),
    ("client/src", "body.rs", "reads open descriptors of whoever embeds it"),
    ("client/src", "push/mod.rs", "takes open files of whoever embeds it"),
    ("src", "disk/device.rs", "takes an OnLane, but for what opens a root at start"),
    ("src", "confined.rs", "takes an OnLane, but for the call that tries the kernel at start"),
    ("src", "disk/root.rs", "takes an OnLane"),
    ("src", "disk/beside.rs", "takes an OnLane"),
    ("src", "disk/purge.rs", "takes an OnLane"),
    ("src", "disk/weigh.rs", "takes an OnLane"),
    ("src", "disk/remains/", "takes an OnLane"),
    ("src", "disk/volume.rs", "takes an OnLane"),
    ("src", "disk/files.rs", "takes an OnLane"),
    ("src", "disk/own.rs", "takes an OnLane"),
    (
        "src",
        "keys/directory.rs",
        "takes an OnLane, but for what opens the directory at start and at a reload",
    ),
    ("src", "keys/secret_file.rs", "reads files that its callers opened on their lanes"),
    ("src", "keys/envelope/local/", "runs on the lane of the key file, or for a command"),
    ("src", "state/", "runs on the lane of the recovery store, and on the thread of its writer"),
    ("src", "audit/", "runs on lanes, and on the thread of its writer"),
    ("src", "inspect/", "serves the command of that name alone"),
    ("src", "commands/", "a command's thread is its own"),
    ("src", "confinement/landlock.rs", "looks at roots before the process serves, each for a bounded time"),
    ("src", "confinement/seccomp.rs", "asks the kernel before the process has threads"),
    ("src", "local_socket.rs", "binds sockets at start, and removes them at the end"),
    ("src", "takeover/mod.rs", "takes an OnLane"),
    ("src", "handover/relay.rs", "serves the command of that name alone"),
    ("src", "private_file.rs", "writes key file and recovery store, on the lanes of both"),
    ("src", "applications/usage/user.rs", "takes an OnLane"),
    ("src", "view/mount.rs", "takes an OnLane, before the process serves and at its end"),
];

fn is_at(file: &str, place: &str) -> bool {
    match place.ends_with('/') {
        true => file.starts_with(place),
        false => file == place,
    }
}

/// Lines with one of the words that stand in none of the places.
fn elsewhere(dir: &str, package: &Package) -> Vec<String> {
    let lines = package.lines_with(&WORDS);
    let named = |file: &str| PLACES.iter().any(|(of, place, _)| *of == dir && is_at(file, place));
    let elsewhere = lines.into_iter().filter(|(file, ..)| !named(file));
    elsewhere.map(|(file, line, word)| format!("{dir}/{file}:{line} says {word}")).collect()
}

#[test]
fn file_systems_are_called_in_named_places_only() {
    for dir in ["src", "transport/src", "client/src", "protocol/src"] {
        let found = elsewhere(dir, &package(dir));
        assert!(found.is_empty(), "take an OnLane, or name the place and why:\n{}", found.join("\n"));
    }
}

#[test]
fn every_named_place_is_needed() {
    for (dir, place, _) in PLACES {
        let lines = package(dir).lines_with(&WORDS);
        assert!(lines.iter().any(|(file, ..)| is_at(file, place)), "{dir}/{place} calls no file system");
    }
}

#[test]
fn call_of_a_file_system_elsewhere_is_found_and_named() {
    let files = [
        ("server/requests.rs", "// std::fs is not for here\nfn f() {\n    std::fs::metadata(\"x\");\n}\n"),
        (
            "server/session.rs",
            "fn f(path: &Path) -> bool { path.exists() }\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
        ),
        ("disk/own.rs", "fn f() { rustix::fs::fsync(fd) }\n"),
        ("merge/tests/model.rs", "use std::fs;\n"),
    ];
    assert_eq!(
        elsewhere("src", &Package::of(&files)),
        ["src/server/requests.rs:3 says std::fs", "src/server/session.rs:1 says .exists()"]
    );
}
