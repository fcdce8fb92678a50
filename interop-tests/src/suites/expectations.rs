//! The expectation of each test, with its reason, and every surprise.
//!
//! `spark-suites/expectations/GROUP.md` is a table; a test that it does not name is expected to pass.
//!
//! | column | holds |
//! |---|---|
//! | outcome | `differs`: it must fail, for the reason; `not applicable`: it is not run |
//! | Spark | a release, or `all` |
//! | service | `ours`, `control`, or `both` |
//! | test | suite and method with a `#` between them |
//! | failure | a text that the failure of a test that differs must hold |
//! | reason | why, for the reader |

use std::{collections::BTreeMap, fmt, fs, path::Path};

use super::{
    group::Group,
    outcome::{Outcome, TestResult},
    release::Release,
    sources::sources,
};
use crate::modes::Service;

/// The rows of a list that hold for one release and one service.
#[derive(Debug)]
pub struct Expectations(Vec<Row>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    is_applicable: bool,
    test: String,
    failure: String,
}

/// How many tests ended how, and which of them otherwise than expected.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Passed, as is expected of a test that no list names.
    pub passed: usize,
    /// Failed as their rows say.
    pub differing: usize,
    /// Not run.
    pub not_applicable: usize,
    /// One line for each surprise.
    pub surprises: Vec<String>,
}

impl Expectations {
    /// Reads the list of a group.
    pub fn read(release: &Release, group: Group, service: Service) -> Self {
        let path = sources().join("expectations").join(format!("{}.md", group.name()));
        Self::parse(&list(&path), release.version(), service)
    }

    fn parse(text: &str, version: &str, service: Service) -> Self {
        let name = if service == Service::Ours { "ours" } else { "control" };
        let row = |cells: Vec<&str>| {
            let [outcome, spark, service, test, failure, reason] = cells[..] else {
                panic!("a row has six cells: {cells:?}");
            };
            assert!(!reason.is_empty(), "no reason: {cells:?}");
            let is_applicable = match outcome {
                "differs" => true,
                "not applicable" => false,
                _ => panic!("neither `differs` nor `not applicable`: {cells:?}"),
            };
            assert_eq!(
                is_applicable,
                !failure.is_empty(),
                "a test that differs fails with a text: {cells:?}"
            );
            let holds = [version, "all"].contains(&spark) && [name, "both"].contains(&service);
            holds.then(|| Row { is_applicable, test: test.to_owned(), failure: failure.to_owned() })
        };
        Self(rows(text).filter_map(row).collect())
    }

    /// The tests that are not to be run.
    pub(super) fn not_applicable(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|row| !row.is_applicable).map(|row| row.test.as_str())
    }

    /// Compares results with expectations: unexpected failures, unexpected passes, and rows without a test.
    pub fn judge(&self, results: &[TestResult]) -> Verdict {
        let mut verdict = Verdict::default();
        for result in results {
            let row = self.0.iter().find(|row| row.test == result.test);
            let test = &result.test;
            match (result.outcome, row) {
                (Outcome::Passed, None) => verdict.passed += 1,
                (Outcome::LeftOut, Some(_)) => verdict.not_applicable += 1,
                (Outcome::Failed, Some(row)) if result.cause.contains(&row.failure) => verdict.differing += 1,
                (Outcome::Failed, Some(_)) => {
                    verdict.surprises.push(format!("fails in another way: {test}: {}", result.cause));
                }
                (Outcome::Failed, None) => {
                    verdict.surprises.push(format!("fails: {test}: {}", result.cause));
                }
                (Outcome::Passed, Some(_)) => {
                    verdict.surprises.push(format!("passes, and is listed as one that differs: {test}"));
                }
                (Outcome::Idle, _) => verdict.surprises.push(format!("passes without a service: {test}")),
                (Outcome::Skipped | Outcome::LeftOut, _) => {
                    verdict.surprises.push(format!("was not run: {test}: {}", result.cause));
                }
            }
        }
        let is_there = |row: &&Row| results.iter().any(|result| result.test == row.test);
        let gone = self.0.iter().filter(|row| !is_there(row));
        verdict
            .surprises
            .extend(gone.map(|row| format!("is listed, and there is no such test: {}", row.test)));
        verdict
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, differing, not_applicable, surprises } = self;
        let unexpected = surprises.len();
        write!(
            f,
            "{passed} passed, {differing} differ as listed, {not_applicable} not applicable, {unexpected} unexpected"
        )
    }
}

/// The suites of the test jars that no service takes part in, each with its reason (`spark-suites/no-service.md`).
pub fn no_service() -> BTreeMap<String, String> {
    let text = list(&sources().join("no-service.md"));
    rows(&text)
        .map(|cells| {
            let [suite, reason] = cells[..] else { panic!("not a suite and its reason: {cells:?}") };
            (suite.to_owned(), reason.to_owned())
        })
        .collect()
}

fn list(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// The cells of each row of the Markdown tables in a text, headings aside. No cell holds a bar.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut is_within = false;
    let rows = text.lines().filter(move |line| {
        let is_row = line.starts_with('|');
        let is_heading = is_row && !is_within;
        is_within = is_row;
        is_row && !is_heading && !line.starts_with("|-")
    });
    rows.map(cells)
}

fn cells(row: &str) -> Vec<&str> {
    let inner = row.trim_start_matches('|').trim_end().trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().trim_matches('`')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# A list

| outcome | Spark | service | test | failure | reason |
|---|---|---|---|---|---|
| differs | all | ours | `ASuite#a` | `another text` | ours says more |
| not applicable | 4.2.0 | both | `ASuite#b` | | it is about a JVM |
";

    fn result(test: &str, outcome: Outcome, cause: &str) -> TestResult {
        TestResult { test: test.to_owned(), outcome, cause: cause.to_owned() }
    }

    #[test]
    fn rows_hold_for_their_release_and_service() {
        let of = |version, service| Expectations::parse(LIST, version, service).0.len();
        assert_eq!(of("4.2.0", Service::Ours), 2);
        assert_eq!(of("3.5.9", Service::Ours), 1);
        assert_eq!(of("3.5.9", Service::Spark), 0);
    }

    #[test]
    fn everything_as_expected_is_counted() {
        let verdict = Expectations::parse(LIST, "4.2.0", Service::Ours).judge(&[
            result("ASuite#a", Outcome::Failed, "there was another text"),
            result("ASuite#b", Outcome::LeftOut, ""),
            result("ASuite#c", Outcome::Passed, ""),
        ]);
        assert_eq!(verdict.surprises, Vec::<String>::new());
        assert_eq!(verdict.to_string(), "1 passed, 1 differ as listed, 1 not applicable, 0 unexpected");
    }

    #[test]
    fn every_surprise_is_told() {
        let verdict = Expectations::parse(LIST, "4.2.0", Service::Ours).judge(&[
            result("ASuite#a", Outcome::Passed, ""),
            result("ASuite#c", Outcome::Failed, "broken"),
            result("ASuite#d", Outcome::Idle, ""),
            result("ASuite#e", Outcome::Skipped, "off"),
        ]);
        let told = [
            "passes, and is listed as one that differs: ASuite#a",
            "fails: ASuite#c: broken",
            "passes without a service: ASuite#d",
            "was not run: ASuite#e: off",
            "is listed, and there is no such test: ASuite#b",
        ];
        assert_eq!(verdict.surprises, told);
        let other =
            [result("ASuite#a", Outcome::Failed, "gone wrong"), result("ASuite#b", Outcome::LeftOut, "")];
        let verdict = Expectations::parse(LIST, "4.2.0", Service::Ours).judge(&other);
        assert_eq!(verdict.surprises, ["fails in another way: ASuite#a: gone wrong"]);
    }
}
