//! Remarks for the operator about a configuration that can be used.

use std::fmt;

/// A remark about a configuration that works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// The setting is accepted and worth knowing.
    Info(String),
    /// The setting is accepted and probably not what the operator meant.
    Warning(String),
}

impl Notice {
    /// The remark itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Info(text) | Self::Warning(text) => text,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Info(text) => write!(f, "note: {text}"),
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}
