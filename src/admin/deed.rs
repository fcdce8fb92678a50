//! What an operator does to the node beside the server. The command that does it tells the server, for the audit trail.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What there is to tell of: the name in records, and in words.
const ACTIONS: [(&str, &str); 4] = [
    ("orphans_delete", "removes block directories that no application has"),
    ("keys_rotate", "added a key to the local key file"),
    ("keys_rewrap", "sealed the recovery store anew"),
    ("keys_drop", "took a key out of the local key file"),
];

/// What came of it.
const OUTCOMES: [&str; 4] = ["begins", "done", "partly", "failed"];

/// Numbers that a deed may have.
const NUMBERS: [&str; 3] = ["directories", "files", "bytes"];

/// A deed and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Deed {
    action: &'static str,
    outcome: &'static str,
    about: Option<String>,
    numbers: Vec<(&'static str, u64)>,
}

impl Deed {
    /// Block directories are going to be removed.
    pub(crate) fn removes_orphans(directories: u64) -> Self {
        Self::new("orphans_delete", "begins").with("directories", directories)
    }

    /// One was removed: so many files, or, with a failure, not all of it.
    pub(crate) fn removed_orphan(path: &str, outcome: Removal, files: u64, bytes: u64) -> Self {
        let outcome = match outcome {
            Removal::All => "done",
            Removal::Part => "partly",
            Removal::None => "failed",
        };
        Self::new("orphans_delete", outcome).about(path).with("files", files).with("bytes", bytes)
    }

    /// The local key file has another key, which wraps.
    pub(crate) fn rotated_keys(key: &str) -> Self {
        Self::new("keys_rotate", "done").about(key)
    }

    /// The recovery store is sealed under the key that wraps now.
    pub(crate) fn rewrapped_store() -> Self {
        Self::new("keys_rewrap", "done")
    }

    /// The local key file has this key no more.
    pub(crate) fn dropped_key(key: &str) -> Self {
        Self::new("keys_drop", "done").about(key)
    }

    fn new(action: &'static str, outcome: &'static str) -> Self {
        Self { action, outcome, about: None, numbers: Vec::new() }
    }

    fn about(self, about: &str) -> Self {
        Self { about: Some(about.to_owned()), ..self }
    }

    fn with(mut self, name: &'static str, number: u64) -> Self {
        self.numbers.push((name, number));
        self
    }

    /// What is told, with the query that says it.
    pub(crate) fn path(&self) -> String {
        let mut path = format!("/deeds?action={}&outcome={}", self.action, self.outcome);
        for (name, number) in &self.numbers {
            path += &format!("&{name}={number}");
        }
        if let Some(about) = &self.about {
            path += &format!("&about={}", utf8_percent_encode(about, NON_ALPHANUMERIC));
        }
        path
    }

    /// The deed that a query says.
    pub(super) fn of(query: Option<&str>) -> Option<Self> {
        let one_of = |names: &[&'static str], name: &str| names.iter().copied().find(|known| *known == name);
        let actions = ACTIONS.map(|(action, _)| action);
        let (mut action, mut outcome, mut about, mut numbers) = (None, None, None, Vec::new());
        for part in query?.split('&') {
            let (name, value) = part.split_once('=')?;
            match name {
                "action" => action = Some(one_of(&actions, value)?),
                "outcome" => outcome = Some(one_of(&OUTCOMES, value)?),
                "about" => about = Some(percent_decode_str(value).decode_utf8_lossy().into_owned()),
                _ => numbers.push((one_of(&NUMBERS, name)?, value.parse().ok()?)),
            }
        }
        // Each number once.
        let is_clear = numbers.len() <= NUMBERS.len();
        let deed = Self { action: action?, outcome: outcome?, about, numbers };
        is_clear.then_some(deed)
    }

    /// Its name in records.
    pub(crate) fn action(&self) -> &'static str {
        self.action
    }

    pub(crate) fn outcome(&self) -> &'static str {
        self.outcome
    }

    /// A path, or the name of a key.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.about.as_deref()
    }

    pub(crate) fn numbers(&self) -> &[(&'static str, u64)] {
        &self.numbers
    }

    /// In words.
    pub(super) fn words(&self) -> &'static str {
        ACTIONS.iter().find(|(action, _)| *action == self.action).map_or("", |(_, words)| words)
    }
}

/// How much of a directory went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    All,
    /// It holds what Spark does not make.
    Part,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deed_that_is_told_is_the_one_that_is_heard() {
        for deed in [
            Deed::removes_orphans(3),
            Deed::removed_orphan("/data 1/ü&a=b/blockmgr-1", Removal::Part, 7, 1 << 40),
            Deed::rotated_keys("k-1"),
            Deed::rewrapped_store(),
            Deed::dropped_key("k-1"),
        ] {
            let path = deed.path();
            let query = path.strip_prefix("/deeds?").unwrap();
            assert_eq!(Deed::of(Some(query)), Some(deed.clone()), "{query}");
            assert!(!deed.words().is_empty());
        }
    }

    #[test]
    fn what_no_command_tells_is_none() {
        for query in [
            "",
            "action=keys_drop",
            "outcome=done",
            "action=forget&outcome=done",
            "action=keys_drop&outcome=well",
            "action=keys_drop&outcome=done&user=0",
            "action=keys_drop&outcome=done&files=x",
            "action=keys_drop&outcome=done&files=1&files=1&files=1&files=1",
        ] {
            assert_eq!(Deed::of(Some(query)), None, "{query}");
        }
        assert_eq!(Deed::of(None), None);
    }
}
