//! The end of one test, as the harness prints it.

/// The way in which a test ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It passed, and a service had run.
    Passed,
    /// It failed.
    Failed,
    /// It was found, and not run, as was asked.
    LeftOut,
    /// Spark's own sources switch it off.
    Skipped,
    /// It passed without any service, so that it says nothing of ours.
    Idle,
}

/// One test and its end.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Suite and method with a `#` between them.
    pub test: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The failure, with the line of Spark's source.
    pub cause: String,
}

impl TestResult {
    /// Reads a line of the harness: the word `RESULT`, test, outcome, milliseconds and cause with tabs between them.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("RESULT\t")?.split('\t');
        let mut next = || cells.next().unwrap_or_default().to_owned();
        let (test, outcome, _millis, cause) = (next(), next(), next(), next());
        let outcome = match outcome.as_str() {
            "passed" => Outcome::Passed,
            "failed" => Outcome::Failed,
            "left-out" => Outcome::LeftOut,
            "skipped" => Outcome::Skipped,
            "idle" => Outcome::Idle,
            other => panic!("the harness says {other}"),
        };
        Some(Self { test, outcome, cause })
    }
}
