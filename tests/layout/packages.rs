//! Which package stands on which, and what a package must not bring along.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Our packages from the ground up; a package depends only on ones before it.
const ORDER: [&str; 6] = [
    "sealed-shuffle-protocol",
    "sealed-shuffle-config",
    "sealed-shuffle-transport",
    "sealed-shuffle-client",
    "sealed-shuffle-measure",
    "sealed-shuffle",
];

/// What an embedder of the client does not pay for.
const NOT_IN_CLIENT: [&str; 10] = [
    "redb",
    "aws-config",
    "aws-sdk-kms",
    "clap",
    "hyper",
    "prometheus-client",
    "indicatif",
    "kube",
    "rcgen",
    "tracing-subscriber",
];

/// What an embedder of the server does not pay for.
const NOT_IN_SERVER: [&str; 8] = [
    "clap",
    "indicatif",
    "kube",
    "rcgen",
    "sd-notify",
    "tracing-subscriber",
    "aws-sdk-kms",
    "sealed-shuffle-client",
];

/// What the engine does without: it does no IO.
const NOT_IN_PROTOCOL: [&str; 4] = ["tokio", "rustix", "mio", "socket2"];

/// All packages that `name` is built from, by cargo's own account.
fn tree(name: &str) -> Vec<String> {
    tree_with(name, &[])
}

/// The same with these options of cargo.
fn tree_with(name: &str, options: &[&str]) -> Vec<String> {
    let options = [&["--edges", "normal", "--format", "{p}", "--package", name], options].concat();
    cargo_tree(&options).iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Packages from outside that tests of a selection are built from, each with its features.
fn built_for_tests(selection: &[&str]) -> BTreeSet<String> {
    // With a target that is named, what the compiler builds for itself is a package of its own, as it is in fact.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--target", &target, "--edges", "normal,build,dev", "--format", "{p} {f}"];
    let lines = cargo_tree(&[&options, selection].concat());
    lines
        .iter()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.contains('/'))
        .collect()
}

fn cargo_tree(options: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none"])
        .args(options)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_package_depends_only_on_packages_below_it() {
    for (floor, name) in ORDER.iter().enumerate() {
        let tree = tree(name);
        assert_eq!(tree.first().map(String::as_str), Some(*name));
        for above in &ORDER[floor + 1..] {
            assert!(!tree.iter().any(|package| package == above), "{name} depends on {above}");
        }
    }
}

#[test]
fn the_client_brings_along_nothing_of_a_server() {
    let client = tree("sealed-shuffle-client");
    for package in NOT_IN_CLIENT {
        assert!(
            !client.iter().any(|built| built == package),
            "sealed-shuffle-client is built from {package}"
        );
    }
    // The control: the same look at the server finds them.
    let server = tree("sealed-shuffle");
    for package in ["redb", "clap", "hyper", "prometheus-client", "tracing-subscriber"] {
        assert!(server.iter().any(|built| built == package), "the server is not built from {package}");
    }
}

#[test]
fn a_server_within_another_program_brings_along_nothing_of_the_program() {
    let server = tree_with("sealed-shuffle", &["--no-default-features"]);
    let program = tree("sealed-shuffle");
    for package in NOT_IN_SERVER {
        assert!(!server.iter().any(|built| built == package), "the server is built from {package}");
        // The control: the program is.
        assert!(program.iter().any(|built| built == package), "the program is not built from {package}");
    }
}

#[test]
fn the_protocol_does_no_io() {
    let protocol = tree("sealed-shuffle-protocol");
    for package in NOT_IN_PROTOCOL {
        assert!(
            !protocol.iter().any(|built| built == package),
            "sealed-shuffle-protocol is built from {package}"
        );
    }
}

#[test]
fn measuring_knows_nothing_of_what_is_measured() {
    let measure = tree("sealed-shuffle-measure");
    let ours: Vec<_> = measure.iter().filter(|built| built.starts_with("sealed-shuffle")).collect();
    assert_eq!(ours, ["sealed-shuffle-measure"]);
}

#[test]
fn interop_tests_want_each_package_with_the_features_of_the_other_tests() {
    let interop = built_for_tests(&["--package", "sealed-shuffle-interop-tests"]);
    let others = built_for_tests(&["--workspace", "--exclude", "sealed-shuffle-interop-tests"]);
    let alone: Vec<_> = interop.difference(&others).collect();
    assert!(alone.is_empty(), "compiled a second time, with all that depends on them: {alone:?}");
    // The control: a program wants fewer features than tests.
    let program = cargo_tree(&["--edges", "normal", "--format", "{p} {f}", "--package", "sealed-shuffle"]);
    assert!(program.iter().any(|line| line.starts_with("tokio v") && !others.contains(line)), "{program:?}");
}
