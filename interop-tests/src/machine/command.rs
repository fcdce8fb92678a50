//! Commands that do not depend on the caller's shell, and those that must end well.

use std::process::Command;

/// What the shell of the caller may say about Spark, PySpark and secrets.
const INHERITED: [&str; 7] = [
    "SPARK_HOME",
    "SPARK_CONF_DIR",
    "SPARK_LOCAL_DIRS",
    "SPARK_EXECUTOR_DIRS",
    "LOCAL_DIRS",
    "PYTHONPATH",
    "_SPARK_AUTH_SECRET",
];

/// Keeps what the caller's shell says about Spark from the program.
pub(crate) fn clean_environment(command: &mut Command) {
    for inherited in INHERITED {
        command.env_remove(inherited);
    }
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(command: &mut Command, meaning: impl Fn() -> String) {
    let output = command.output().unwrap_or_else(|e| panic!("{}: {command:?}: {e}", meaning()));
    assert!(
        output.status.success(),
        "{}\n{command:?}\n{}{}",
        meaning(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
