//! The command line: arguments in, library calls, text and an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealed_shuffle::commands::run()
}
