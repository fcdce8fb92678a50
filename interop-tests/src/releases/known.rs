//! The releases of PySpark that its package index has, beside those of the matrix.

use std::{collections::BTreeMap, process::Command};

use crate::modes::{matrix::VERSIONS, number, patch};

/// Why the index does not say what it has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Absent(pub String);

/// All releases that pip finds, newest first.
pub fn published() -> Result<Vec<String>, Absent> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "index", "versions", "--disable-pip-version-check", "pyspark"]);
    let output = pip.output().map_err(|e| Absent(format!("cannot run python3: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let list = text.lines().find_map(|line| line.trim().strip_prefix("Available versions: "));
    let list = list.ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Absent(format!("pip lists no releases of pyspark, which takes a network: {error}"))
    })?;
    Ok(list.split(", ").map(str::to_owned).collect())
}

/// Those of a list that the matrix lacks and that are newer than what it has of their line; each with that release, where
/// it has one of the line.
pub fn unknown(published: &[String]) -> Vec<(&str, Option<&'static str>)> {
    let mut newest: BTreeMap<(u32, u32), &'static str> = BTreeMap::new();
    for version in VERSIONS {
        let of_line = newest.entry(number(version)).or_insert(version);
        if patch(version) > patch(of_line) {
            *of_line = version;
        }
    }
    let oldest = newest.keys().next().copied().unwrap_or_default();
    let is_release = |version: &&String| version.split('.').all(|part| part.parse::<u32>().is_ok());
    let lines = published.iter().filter(is_release).filter(|version| number(version) >= oldest);
    lines
        .filter_map(|version| match newest.get(&number(version)) {
            Some(known) => (patch(version) > patch(known)).then_some((version.as_str(), Some(*known))),
            None => Some((version.as_str(), None)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_beyond_those_of_its_line_and_one_of_a_new_line_are_unknown() {
        let published = ["5.0.0", "5.0.0.dev1", "4.3.1", "4.3.0", "4.0.4", "2.3.4"].map(str::to_owned);
        assert_eq!(unknown(&published), [("5.0.0", None), ("4.3.1", Some("4.3.0"))]);
    }
}
