//! What came of a cell.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` comes to, or the text with which it panics, as the harness does with what is wrong.
pub fn said<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "it panicked without a text".to_owned())
    })
}

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
        said(cell).unwrap_or_else(Self::Failed)
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
