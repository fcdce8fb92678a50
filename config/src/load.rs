//! Where settings come from, and which of them wins.
//!
//! ```text
//! flag  >  --conf  >  SPARK_SHUFFLE_OPTS  >  SPARK_DAEMON_JAVA_OPTS  >  properties file  >  default
//! ```
//!
//! The two variables are looked at for a server only, as by Spark's launcher of the shuffle service. The
//! properties file is the one that was named, else `$SPARK_CONF_DIR/spark-defaults.conf`, else
//! `$SPARK_HOME/conf/spark-defaults.conf`; only a named one must exist. Nothing is read twice: the result keeps
//! what the environment said, and is read through [`Values`](super::Values), which report what is wrong in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::Issue;
use super::key::{AnyKey, DefaultValue, Reader};
use super::notice::Notice;
use super::origin::Origin;
use super::unknown::{self, Standing};
use super::value::UnknownKeys;
use super::{java_options, keys, properties, substitute};

/// The settings on the command line.
///
/// Its `Debug` shows names, never values, one of which may be the secret.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--properties-file`.
    pub properties_file: Option<PathBuf>,
    /// The texts after `--conf`, in order; a later one wins.
    pub conf: Vec<String>,
    /// Flags that are short for a key; they win over `--conf`.
    pub flags: Vec<FlagValue>,
}

/// A flag that is short for a key.
#[derive(Clone)]
pub struct FlagValue {
    /// The flag with its dashes, `--port`.
    pub flag: &'static str,
    /// The key that it stands for.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl Sources {
    /// Adds a flag that is short for a key.
    pub fn push_flag(&mut self, flag: &'static str, key: &dyn AnyKey, value: impl Into<String>) {
        self.flags.push(FlagValue { flag, key: key.name(), value: value.into() });
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conf: Vec<_> =
            self.conf.iter().filter_map(|text| text.split_once('=')).map(|(key, _)| key).collect();
        f.debug_struct("Sources")
            .field("properties_file", &self.properties_file)
            .field("conf", &conf)
            .field("flags", &self.flags)
            .finish()
    }
}

impl fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagValue").field("flag", &self.flag).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Everything that was set, with its origin. Its `Debug` shows names and origins, never values.
pub struct LoadedConfig {
    settings: BTreeMap<String, Setting>,
    system: BTreeMap<String, Zeroizing<String>>,
    properties_file: Option<PathBuf>,
    ignored: Vec<IgnoredSetting>,
    issues: Vec<Issue>,
    notices: Vec<Notice>,
}

pub(crate) struct Setting {
    pub(crate) text: Zeroizing<String>,
    pub(crate) origin: Origin,
}

/// A key of Spark's that was set and has no effect here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IgnoredSetting {
    /// The key.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// Why it has no effect.
    pub because: &'static str,
}

impl LoadedConfig {
    /// Nothing was set.
    pub(crate) const fn nothing() -> Self {
        Self {
            settings: BTreeMap::new(),
            system: BTreeMap::new(),
            properties_file: None,
            ignored: Vec::new(),
            issues: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Reads all sources for a server or a client. Faults are kept; the reader of values reports them.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment, reader: Reader) -> Self {
        let mut loaded = Self::nothing();
        loaded.add_properties_file(sources.properties_file.as_deref(), environment);
        if reader.includes(Reader::Serve) {
            for variable in ["SPARK_DAEMON_JAVA_OPTS", "SPARK_SHUFFLE_OPTS"] {
                loaded.add_java_options(variable, environment);
            }
        }
        loaded.add_conf(&sources.conf);
        for FlagValue { flag, key, value } in &sources.flags {
            loaded.set(key, value, Origin::Flag { name: (*flag).to_owned() });
        }
        loaded.judge_names();
        loaded
    }

    /// The properties file that was read.
    pub fn properties_file(&self) -> Option<&Path> {
        self.properties_file.as_deref()
    }

    /// Keys of Spark's that were set and have no effect here, each with the reason.
    pub fn ignored(&self) -> &[IgnoredSetting] {
        &self.ignored
    }

    pub(crate) fn issues(&self) -> &[Issue] {
        &self.issues
    }

    pub(crate) fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The text of a key as it was written, an older name of it included.
    pub(crate) fn setting(&self, key: &dyn AnyKey) -> Option<(&str, &Setting)> {
        let names = std::iter::once(key.name()).chain(key.old_names().iter().copied());
        names
            .into_iter()
            .find_map(|name| self.settings.get_key_value(name))
            .map(|(name, s)| (name.as_str(), s))
    }

    /// The settings of a family of keys: name, what stands in the place of the star, setting.
    pub(crate) fn members(&self, family: &dyn AnyKey) -> impl Iterator<Item = (&str, &str, &Setting)> {
        let pattern = family.name();
        self.settings
            .iter()
            .filter_map(move |(name, setting)| Some((name.as_str(), keys::member(pattern, name)?, setting)))
    }

    /// The text of a key with its references replaced; an error names the reference that leads to itself.
    pub(crate) fn expanded(
        &self,
        key: &dyn AnyKey,
        setting: &Setting,
        environment: &dyn Environment,
    ) -> Result<Zeroizing<String>, String> {
        if !key.substitutes() {
            return Ok(setting.text.clone());
        }
        substitute::substitute(&setting.text, &KnownReferences { loaded: self, environment })
    }

    fn add_properties_file(&mut self, named: Option<&Path>, environment: &dyn Environment) {
        let Some(path) = named.map(Path::to_path_buf).or_else(|| default_file(environment)) else { return };
        let bytes = match environment.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let uid = environment.user_id();
                self.issues.push(Issue::new(
                    path.display().to_string(),
                    format!("the properties file cannot be read by user {uid}: {error}"),
                    "name another with --properties-file, or make this one readable",
                ));
                return;
            }
        };
        // Like the JVM, replace what is not UTF-8: a comment in another encoding is no reason to stop.
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => Zeroizing::new(text.to_owned()),
            Err(_) => {
                let text = "is not UTF-8 throughout; the bytes that are not were replaced";
                self.notices.push(Notice::Warning(format!("{} {text}", path.display())));
                Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        match properties::parse(&text) {
            Ok(entries) => {
                for property in entries {
                    let origin = Origin::File { path: path.clone(), line: property.line };
                    self.set(&property.key, &property.value, origin);
                }
            }
            Err(error) => self.issues.push(Issue::new(
                format!("{}:{}", path.display(), error.line),
                error.reason,
                "correct the line",
            )),
        }
        self.properties_file = Some(path);
    }

    fn add_java_options(&mut self, variable: &str, environment: &dyn Environment) {
        let Some(value) = environment.var(variable) else { return };
        let Ok(text) = value.into_string().map(Zeroizing::new) else {
            self.issues.push(Issue::new(variable, "it is not UTF-8", "correct the variable"));
            return;
        };
        match java_options::system_properties(&text) {
            Ok(properties) => {
                for (name, value) in properties {
                    if name.starts_with("spark.") {
                        self.set(&name, &value, Origin::Environment { variable: variable.to_owned() });
                    } else {
                        self.system.insert(name, value);
                    }
                }
            }
            Err(reason) => self.issues.push(Issue::new(
                variable,
                format!("its words cannot be told apart: {reason}"),
                "quote it as for a shell",
            )),
        }
    }

    fn add_conf(&mut self, conf: &[String]) {
        for text in conf {
            match text.split_once('=') {
                Some((key, value)) if !key.is_empty() => self.set(key, value, Origin::Conf),
                _ => self.issues.push(Issue::new(
                    "--conf",
                    // The text may be a secret whose key was forgotten.
                    if text.starts_with("spark.") && !text.contains('=') {
                        format!("{text:?} has no value")
                    } else {
                        "there is no KEY=VALUE".to_owned()
                    },
                    "write --conf KEY=VALUE",
                )),
            }
        }
    }

    fn set(&mut self, key: &str, value: &str, origin: Origin) {
        if !key.starts_with("spark.") {
            self.notices
                .push(Notice::Warning(format!("{key} ({origin}) is ignored: it does not begin with spark.")));
            return;
        }
        self.settings.insert(key.to_owned(), Setting { text: Zeroizing::new(value.to_owned()), origin });
    }

    /// Unknown names, names without effect, older names.
    fn judge_names(&mut self) {
        let on_unknown = self
            .settings
            .get(keys::UNKNOWN.name())
            .and_then(|setting| keys::UNKNOWN.parse(&setting.text).ok())
            .unwrap_or(UnknownKeys::Error);
        for (name, Setting { text, origin }) in &self.settings {
            let meant = || match unknown::nearest(name) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "see the table of keys".to_owned(),
            };
            match unknown::standing(name) {
                Standing::Known | Standing::NotSpark => {}
                // A name on this program's own command line was meant for it.
                Standing::Foreign if origin.is_command_line() => self.notices.push(Notice::Warning(format!(
                    "{name} ({origin}) has no effect: it is none of the keys that are read{}",
                    unknown::nearest(name)
                        .map(|nearest| format!("; did you mean {nearest}?"))
                        .unwrap_or_default(),
                ))),
                Standing::Foreign => {}
                Standing::Old => self.notices.push(Notice::Warning(format!(
                    "{name} ({origin}) is an old name{}",
                    current_name(name).map(|current| format!(": use {current}")).unwrap_or_default(),
                ))),
                Standing::Ignored(ignored) => {
                    if ignored.warn_on.is_some_and(|value| value.eq_ignore_ascii_case(text.trim())) {
                        self.notices.push(Notice::Warning(format!(
                            "{name} = {} ({origin}) has no effect: {}",
                            text.trim(),
                            ignored.because
                        )));
                    }
                    self.ignored.push(IgnoredSetting {
                        key: name.clone(),
                        origin: origin.clone(),
                        because: ignored.because,
                    });
                }
                Standing::UnknownSpark => {
                    self.notices.push(Notice::Warning(format!(
                        "{name} ({origin}) is unknown and ignored; {}",
                        meant()
                    )));
                }
                Standing::UnknownOurs if on_unknown == UnknownKeys::Warn => {
                    self.notices.push(Notice::Warning(format!(
                        "{name} ({origin}) is unknown and ignored; {}",
                        meant()
                    )));
                }
                Standing::UnknownOurs => {
                    let issue = Issue::new(name.as_str(), "unknown key", meant());
                    self.issues.push(issue.with_origin(origin.clone()));
                }
            }
        }
    }
}

impl fmt::Debug for LoadedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.settings.iter().map(|(name, setting)| (name, &setting.origin))).finish()
    }
}

fn default_file(environment: &dyn Environment) -> Option<PathBuf> {
    let set = |name| environment.var(name).filter(|value| !value.is_empty());
    let directory = match set("SPARK_CONF_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(set("SPARK_HOME")?).join("conf"),
    };
    Some(directory.join("spark-defaults.conf"))
}

fn current_name(old: &str) -> Option<&'static str> {
    keys::all().find(|key| key.old_names().contains(&old)).map(|key| key.name())
}

/// The names that `${…}` may have.
struct KnownReferences<'a> {
    loaded: &'a LoadedConfig,
    environment: &'a dyn Environment,
}

impl substitute::References for KnownReferences<'_> {
    fn env(&self, name: &str) -> Option<Zeroizing<String>> {
        self.environment.var(name)?.into_string().ok().map(Zeroizing::new)
    }

    fn system(&self, name: &str) -> Option<Zeroizing<String>> {
        // Spark makes its settings system properties, too.
        let text = |setting: &Setting| setting.text.clone();
        self.loaded.system.get(name).cloned().or_else(|| self.loaded.settings.get(name).map(text))
    }

    fn spark(&self, name: &str) -> Option<Zeroizing<String>> {
        if let Some(setting) = self.loaded.settings.get(name) {
            return Some(setting.text.clone());
        }
        let mut key = keys::find(name)?;
        loop {
            match key.default() {
                DefaultValue::Text(text) => return Some(Zeroizing::new(text.to_owned())),
                DefaultValue::Same(other) => match self.loaded.setting(other) {
                    Some((_, setting)) => return Some(setting.text.clone()),
                    None => key = other,
                },
                DefaultValue::Unset(_) => return None,
            }
        }
    }
}
