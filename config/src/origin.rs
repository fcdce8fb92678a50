//! The sources of configuration values.

use std::fmt;
use std::path::PathBuf;

/// The source of one configuration value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nobody set the key; the value is its default.
    Default,
    /// A line of the properties file.
    File {
        /// The file.
        path: PathBuf,
        /// The line on which the entry begins, counted from 1.
        line: usize,
    },
    /// A `-Dspark.*=` word in a variable of JVM options, or a variable that stands for a key.
    Environment {
        /// The variable.
        variable: String,
    },
    /// `--conf KEY=VALUE`.
    Conf,
    /// A flag that is short for a key.
    Flag {
        /// The flag, with its dashes.
        name: String,
    },
}

impl Origin {
    /// Whether the value stood on the command line, where every user of the machine can read it.
    pub fn is_command_line(&self) -> bool {
        matches!(self, Self::Conf | Self::Flag { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Conf => f.write_str("--conf"),
            Self::Flag { name } => f.write_str(name),
        }
    }
}
