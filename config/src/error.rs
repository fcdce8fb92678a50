//! All faults of a configuration at once.
//!
//! An operator repairs a file in one go, so loading and reading collect [`Issue`]s instead of stopping at the first. Each
//! names the setting, its origin, the reason and the remedy. Values of secret keys are never part of an issue.

use std::fmt;

use super::origin::Origin;

/// A configuration that cannot be used: one or more issues.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(issues))]
pub struct ConfigError {
    /// Everything that was found, in the order of discovery; never empty.
    pub issues: Vec<Issue>,
}

impl ConfigError {
    /// The exit code of the command line for a wrong configuration (`EX_CONFIG` of sysexits).
    pub const EXIT_CODE: u8 = 78;
}

/// One thing that is wrong, with its remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issue {
    /// The key, environment variable or file that is wrong.
    pub subject: String,
    /// Its value as written; absent where there is none or where it is secret.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Option<Origin>,
    /// Why it cannot be used.
    pub reason: String,
    /// The remedy; may be empty if the reason names it.
    pub remedy: String,
}

impl Issue {
    /// `subject` cannot be used for `reason`; `remedy` says what to do.
    pub fn new(subject: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            value: None,
            origin: None,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// The same with the value that cannot be used.
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same with where the value came from.
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.reason)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

fn list(issues: &[Issue]) -> String {
    match issues {
        [one] => format!("wrong configuration: {one}"),
        many => {
            let lines: String = many.iter().map(|issue| format!("\n  {issue}")).collect();
            format!("wrong configuration, {} issues:{lines}", many.len())
        }
    }
}
