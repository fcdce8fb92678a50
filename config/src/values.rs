//! Reads loaded text as typed values; collects the faults, and the values in effect.

use std::borrow::Cow;

use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, DefaultValue, Key};
use super::load::Loaded;
use super::notice::Notice;
use super::origin::Origin;
use super::value::Grammar;

/// One line of the effective configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// The key.
    pub key: Cow<'static, str>,
    /// Its value as text; secrets are replaced by `(secret)`.
    pub value: String,
    /// The source of the value.
    pub origin: Origin,
    /// The key from which the value was taken, if it is another one.
    pub by_way_of: Option<&'static str>,
}

impl std::fmt::Display for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}  ({}", self.key, self.value, self.origin)?;
        if let Some(other) = self.by_way_of {
            write!(f, " of {other}")?;
        }
        f.write_str(")")
    }
}

/// Reads keys one by one. A value that cannot be read becomes an issue, and its default stands in for it, so that
/// reading goes on. [`Values::finish`] fails if there is any issue.
pub(crate) struct Values<'a> {
    loaded: &'a Loaded,
    environment: &'a dyn Environment,
    effective: Vec<Effective>,
    issues: Vec<Issue>,
    notices: Vec<Notice>,
}

impl<'a> Values<'a> {
    pub(crate) fn new(loaded: &'a Loaded, environment: &'a dyn Environment) -> Self {
        Self {
            loaded,
            environment,
            effective: Vec::new(),
            issues: loaded.issues().to_vec(),
            notices: loaded.notices().to_vec(),
        }
    }

    pub(crate) fn environment(&self) -> &'a dyn Environment {
        self.environment
    }

    /// The value of a key that has a default.
    pub(crate) fn value<G: Grammar>(&mut self, key: &'static Key<G>) -> G::Value {
        if let Some((value, _)) = self.optional(key) {
            return value;
        }
        let mut source: &dyn AnyKey = key;
        let (text, origin) = loop {
            match source.default() {
                DefaultValue::Text(text) => break (text.to_owned(), Origin::Default),
                DefaultValue::Same(other) => {
                    source = other;
                    // A bad value is reported under the name that it was given. A value that is too large for this
                    // key alone counts as bad, too.
                    if let Some((text, origin)) = self.text(other)
                        && self.accepts(other, other, &text, &origin)
                        && self.accepts(key, other, &text, &origin)
                    {
                        break (text.as_str().to_owned(), origin);
                    }
                }
                DefaultValue::Unset(_) => {
                    unreachable!("{} has no default: it is read as optional", key.name())
                }
            }
        };
        let by_way_of = (source.name() != key.name()).then(|| source.name());
        let value = key.parse(&text).expect("the text was checked, or is a default, which a test checks");
        self.effective.push(Effective { key: key.name().into(), value: text, origin, by_way_of });
        value
    }

    /// The value of a key and its origin, if somebody set it.
    pub(crate) fn optional<G: Grammar>(&mut self, key: &'static Key<G>) -> Option<(G::Value, Origin)> {
        let (text, origin) = self.text(key)?;
        if !self.accepts(key, key, &text, &origin) {
            return None;
        }
        let value = key.parse(&text).ok()?;
        let shown = if key.is_secret() { "(secret)".to_owned() } else { text.as_str().to_owned() };
        self.effective.push(Effective {
            key: key.name().into(),
            value: shown,
            origin: origin.clone(),
            by_way_of: None,
        });
        Some((value, origin))
    }

    /// Every member of a family of keys that somebody set: the part in the place of the star, and the value.
    pub(crate) fn family<G: Grammar>(&mut self, family: &'static Key<G>) -> Vec<(String, G::Value)> {
        let loaded = self.loaded;
        let mut members = Vec::new();
        for (name, member, setting) in loaded.members(family) {
            let origin = setting.origin.clone();
            let text = match loaded.expanded(family, setting, self.environment) {
                Ok(text) => text,
                Err(reference) => {
                    let reason = format!("${{{reference}}} leads back to itself");
                    self.refuse(Issue::new(name, reason, "write the value itself").with_origin(origin));
                    continue;
                }
            };
            match family.parse(&text) {
                Ok(value) => {
                    members.push((member.to_owned(), value));
                    let (key, value) = (Cow::Owned(name.to_owned()), text.as_str().to_owned());
                    self.effective.push(Effective { key, value, origin, by_way_of: None });
                }
                Err(reject) => {
                    let issue = Issue::new(name, reject.to_string(), format!("accepted: {}", family.shape()));
                    self.refuse(issue.with_value(text.as_str()).with_origin(origin));
                }
            }
        }
        members
    }

    pub(crate) fn refuse(&mut self, issue: Issue) {
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Whether one of these subjects was refused already.
    pub(crate) fn refused(&self, subjects: &[&str]) -> bool {
        self.issues.iter().any(|issue| subjects.contains(&issue.subject.as_str()))
    }

    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Info(text.into()));
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Warning(text.into()));
    }

    /// The values in effect, and the remarks about them.
    pub(crate) fn finish(self) -> Result<(Vec<Effective>, Vec<Notice>), ConfigError> {
        if self.issues.is_empty() {
            Ok((self.effective, self.notices))
        } else {
            Err(ConfigError { issues: self.issues })
        }
    }

    fn text(&mut self, key: &'static dyn AnyKey) -> Option<(zeroize::Zeroizing<String>, Origin)> {
        let (_, setting) = self.loaded.setting(key)?;
        let origin = setting.origin.clone();
        match self.loaded.expanded(key, setting, self.environment) {
            Ok(text) => Some((text, origin)),
            Err(reference) => {
                let reason = format!("${{{reference}}} leads back to itself");
                self.refuse(Issue::new(key.name(), reason, "write the value itself").with_origin(origin));
                None
            }
        }
    }

    /// Whether a text that was given under the name `named` is a value of `key`. If not, it is refused.
    fn accepts(&mut self, key: &dyn AnyKey, named: &dyn AnyKey, text: &str, origin: &Origin) -> bool {
        let Err(reject) = key.check(text) else { return true };
        let issue = Issue::new(named.name(), reject.to_string(), format!("accepted: {}", key.shape()));
        let issue = if key.is_secret() { issue } else { issue.with_value(text) };
        self.refuse(issue.with_origin(origin.clone()));
        false
    }
}
