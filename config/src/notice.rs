//! What the operator should know although the configuration can be used.

use std::fmt;

/// One remark about a configuration that works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Accepted and worth knowing.
    Info(String),
    /// Accepted and probably not what was meant.
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
