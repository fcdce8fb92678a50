//! Why a machine cannot run what a test needs.

use std::fmt;

/// What the machine lacks, as a reason for skipping.
#[derive(Clone, Debug)]
pub struct Lack(String);

impl Lack {
    pub(crate) fn of(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
