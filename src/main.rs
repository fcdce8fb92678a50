//! The command line: arguments in, library calls, text and an exit code out.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
