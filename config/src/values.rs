//! Typed reading of the settings that were loaded. It collects the faults and the values in effect.

use std::borrow::Cow;
use std::time::Duration;

use super::environment::{EmptyEnvironment, Environment};
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, DefaultValue, Key, Reader};
use super::keys;
use super::load::{LoadedConfig, Sources};
use super::notice::Notice;
use super::origin::Origin;
use super::report::{Effective, Report};
use super::value::{Grammar, Int, Size, Time};

/// Reads keys one by one. A value that cannot be read becomes an issue. Its default stands in for it, so that reading
/// goes on, and `finish` fails.
///
/// A room fills each field of its settings with one expression: [`Values::value`], or [`Values::count`] and its like if
/// the field has another type. The same expressions over [`Values::defaults`] make the settings of a program without a
/// configuration. So each default stands in its key alone.
pub struct Values<'a> {
    loaded: &'a LoadedConfig,
    environment: &'a dyn Environment,
    effective: Vec<Effective>,
    issues: Vec<Issue>,
    notices: Vec<Notice>,
}

/// Reads all sources, and lets `read` take the values that it needs. The error lists every fault, not only the first
/// one.
pub fn read_sources<T>(
    sources: &Sources,
    environment: &dyn Environment,
    reader: Reader,
    read: impl FnOnce(&mut Values<'_>) -> T,
) -> Result<(T, Report), ConfigError> {
    let loaded = LoadedConfig::from_sources(sources, environment, reader);
    let mut values = Values::new(&loaded, environment);
    let read = read(&mut values);
    Ok((read, values.finish()?))
}

impl Values<'static> {
    /// Values without any source: every key has its default.
    pub fn defaults() -> Self {
        static NOTHING: LoadedConfig = LoadedConfig::nothing();
        Self::new(&NOTHING, &EmptyEnvironment)
    }
}

impl<'a> Values<'a> {
    fn new(loaded: &'a LoadedConfig, environment: &'a dyn Environment) -> Self {
        Self {
            loaded,
            environment,
            effective: Vec::new(),
            issues: loaded.issues().to_vec(),
            notices: loaded.notices().to_vec(),
        }
    }

    /// The environment that the sources were read in.
    pub fn environment(&self) -> &'a dyn Environment {
        self.environment
    }

    /// The value of a key that has a default.
    pub fn value<G: Grammar>(&mut self, key: &'static Key<G>) -> G::Value {
        if let Some((value, _)) = self.optional(key) {
            return value;
        }
        let mut source: &dyn AnyKey = key;
        let (text, origin) = loop {
            match source.default() {
                DefaultValue::Text(text) => break (text.to_owned(), Origin::Default),
                DefaultValue::Same(other) => {
                    source = other;
                    // A bad value is reported under the name that it was given. A value that is good for the other
                    // key and too large for this one is bad, too.
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
        self.is_in_effect(Effective { key: key.name().into(), value: text, origin, by_way_of });
        value
    }

    /// The value of a key that was set, and its origin.
    pub fn optional<G: Grammar>(&mut self, key: &'static Key<G>) -> Option<(G::Value, Origin)> {
        self.named(key).map(|(value, origin, _)| (value, origin))
    }

    /// The same with the name that it was set under: the name of the key, or of the key that stands in for it.
    pub fn named<G: Grammar>(&mut self, key: &'static Key<G>) -> Option<(G::Value, Origin, &'static str)> {
        let mut named: &'static dyn AnyKey = key;
        let (text, origin) = match self.text(key) {
            Some(found) => found,
            None => {
                named = keys::ancestor(key)?;
                self.text(named)?
            }
        };
        if !self.accepts(key, named, &text, &origin) {
            return None;
        }
        let value = key.parse(&text).ok()?;
        let shown = if key.is_secret() { "(secret)".to_owned() } else { text.as_str().to_owned() };
        let effective =
            Effective { key: named.name().into(), value: shown, origin: origin.clone(), by_way_of: None };
        self.is_in_effect(effective);
        Some((value, origin, named.name()))
    }

    /// Every member of a family of keys that was set: the text in the place of the star, and the value.
    pub fn family<G: Grammar>(&mut self, family: &'static Key<G>) -> Vec<(String, G::Value)> {
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

    /// The value of a key that is a number of things.
    pub fn count(&mut self, key: &'static Key<Int<u32>>) -> usize {
        usize::try_from(self.value(key)).unwrap_or(usize::MAX)
    }

    /// The value of a key that leaves the choice to the system if it is below 1.
    pub fn positive(&mut self, key: &'static Key<Int<i32>>) -> Option<u32> {
        u32::try_from(self.value(key)).ok().filter(|number| *number > 0)
    }

    /// A number of bytes.
    pub fn bytes(&mut self, key: &'static Key<Size>) -> u64 {
        self.value(key).as_u64()
    }

    /// A deadline that 0 switches off.
    pub fn unless_zero(&mut self, key: &'static Key<Time>) -> Option<Duration> {
        Some(self.value(key)).filter(|time| !time.is_zero())
    }

    /// Adds a fault. Reading goes on, and fails at the end.
    pub fn refuse(&mut self, issue: Issue) {
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// Whether one of these subjects was refused already.
    pub fn refused(&self, subjects: &[&str]) -> bool {
        self.issues.iter().any(|issue| subjects.contains(&issue.subject.as_str()))
    }

    /// Adds a notice that is good to know.
    pub fn info(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Info(text.into()));
    }

    /// Adds a notice of something that the operator probably did not mean.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.notices.push(Notice::Warning(text.into()));
    }

    /// The report of the values in effect, with the notices.
    fn finish(self) -> Result<Report, ConfigError> {
        if !self.issues.is_empty() {
            return Err(ConfigError { issues: self.issues });
        }
        Ok(Report {
            properties_file: self.loaded.properties_file().map(Into::into),
            effective: self.effective,
            notices: self.notices,
            ignored: self.loaded.ignored().to_vec(),
        })
    }

    /// Adds a value in effect. A key that two rooms read is added once.
    fn is_in_effect(&mut self, one: Effective) {
        if !self.effective.contains(&one) {
            self.effective.push(one);
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

    /// Whether a text that was given under the name `named` is a value of `key`. If it is none, it is refused.
    fn accepts(&mut self, key: &dyn AnyKey, named: &dyn AnyKey, text: &str, origin: &Origin) -> bool {
        let Err(reject) = key.check(text) else { return true };
        let issue = Issue::new(named.name(), reject.to_string(), format!("accepted: {}", key.shape()));
        let issue = if key.is_secret() { issue } else { issue.with_value(text) };
        self.refuse(issue.with_origin(origin.clone()));
        false
    }
}
