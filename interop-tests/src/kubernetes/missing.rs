//! Why there is no cluster.

use std::fmt;

/// The reason for which there is no cluster here.
#[derive(Clone, Debug)]
pub struct Missing(String);

impl Missing {
    pub(super) fn because(reason: String) -> Self {
        Self(reason)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
