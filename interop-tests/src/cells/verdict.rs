//! What came of a cell.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of one cell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Everything went as it must.
    Passed,
    /// Refused, as it must be, with a text that says why.
    Refused,
    /// Nobody can be on that side in this mode.
    Impossible,
    /// What went otherwise.
    Failed(String),
}

impl Verdict {
    /// What comes of the checks of a cell, which panic with what they find: no cell keeps another from being gone through.
    pub(super) fn of(cell: impl FnOnce() -> Self) -> Self {
        catch_unwind(AssertUnwindSafe(cell)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Self::Failed(text.unwrap_or_default())
        })
    }

    /// In a word or three.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "yes",
            Self::Refused => "refused by name",
            Self::Impossible => "–",
            Self::Failed(_) => "no",
        }
    }

    /// The same, short, for a table in Markdown.
    pub(super) fn sign(&self) -> &'static str {
        match self {
            Self::Passed => "✔",
            Self::Refused => "✖",
            Self::Impossible => "–",
            Self::Failed(_) => "**no**",
        }
    }
}
