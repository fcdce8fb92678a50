//! What is installed with the program: completions, manual pages, units, packages, alerts, dashboard; and the commands that
//! explain the configuration.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod alerts;
mod command_line;
mod configuration;
mod image;
mod machine;
#[path = "../outcome/mod.rs"]
mod outcome;
mod packages;
#[path = "../running/mod.rs"]
mod running;
mod service;
mod units;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tree of the sources.
fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(tree().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The program with nothing of this process's environment.
fn sealed_shuffle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command.env_clear().stdin(Stdio::null()).args(arguments);
    command
}

/// Every chapter of the book but the decisions, which stand as they were made, and the pages beside it.
fn documents() -> Vec<(PathBuf, String)> {
    let mut waiting = vec![tree().join("docs")];
    let mut found = vec![tree().join("README.md")];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("decisions") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Where a program of the machine is, or why the test does without it. `make alerts` puts one below `target/tools`.
fn tool(name: &str, comes_with: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = tree().join("target/tools/prometheus/usr/bin");
    let mut places = std::env::split_paths(&path).chain([ours]);
    let found = places.find_map(|dir| Some(dir.join(name)).filter(|program| program.is_file()));
    if found.is_none() {
        eprintln!("not tested: this machine has no {name} ({comes_with})");
    }
    found
}
