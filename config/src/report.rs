//! The report of a configuration that was read: the keys in effect, the keys without effect, and the notices.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::load::IgnoredSetting;
use super::notice::Notice;
use super::origin::Origin;

/// How a configuration came about. No secret is in it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file that was read.
    pub properties_file: Option<PathBuf>,
    /// Every key that is in effect, with its value and origin.
    pub effective: Vec<Effective>,
    /// Facts that the operator should know although the configuration can be used.
    pub notices: Vec<Notice>,
    /// Keys of Spark's that were set and have no effect here.
    pub ignored: Vec<IgnoredSetting>,
}

impl Report {
    /// The line that a description begins with.
    pub fn opening(&self) -> String {
        match &self.properties_file {
            Some(path) => format!("properties file: {}", path.display()),
            None => "properties file: none".into(),
        }
    }

    /// The lines that it ends with: every key, then keys without effect, then notices.
    pub fn closing(&self) -> impl Iterator<Item = String> {
        let effective = self.effective.iter().map(ToString::to_string);
        let ignored = self.ignored.iter().map(|ignored| {
            format!("{} has no effect: {}  ({})", ignored.key, ignored.because, ignored.origin)
        });
        effective.chain(ignored).chain(self.notices.iter().map(ToString::to_string))
    }
}

/// One line of the effective configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// The key.
    pub key: Cow<'static, str>,
    /// Its value as text; secrets are replaced by `(secret)`.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// The key from which the value was taken, where that is another one.
    pub by_way_of: Option<&'static str>,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  ({}", self.key, self.value, self.origin)?;
        if let Some(other) = self.by_way_of {
            write!(f, " of {other}")?;
        }
        f.write_str(")")
    }
}
