//! Our server in the same terms: `sealed-shuffle bench`, for one mode.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cipher::Mode;

/// What `sealed-shuffle bench` says.
pub(crate) struct ServerFigures {
    pub(crate) server_per_gb: f64,
    pub(crate) client_per_gb: f64,
    pub(crate) megabytes_per_second: f64,
}

/// Blocks of 128 KiB, 16 connections, from the page cache.
pub(crate) fn measure(program: &Path, mode: Mode, seconds: f64) -> ServerFigures {
    let seconds = seconds.to_string();
    let arguments =
        ["bench", "--modes", mode.name(), "--sizes", "128k", "--connections", "16", "--idle", "0"];
    let output = Command::new(program)
        .args(arguments)
        .args(["--seconds", &seconds, "--json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{} bench: {}", program.display(), output.status);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| said["fetch"][0][key].as_f64().unwrap();
    ServerFigures {
        server_per_gb: number("server_cpu_seconds_per_gb"),
        client_per_gb: number("client_cpu_seconds_per_gb"),
        megabytes_per_second: number("bytes_per_second") / 1e6,
    }
}
