//! The directories beneath which executors may register theirs.
//!
//! The first source that is set decides, even if it is set to nothing: `SPARK_EXECUTOR_DIRS` (split at `:`),
//! `SPARK_LOCAL_DIRS` (commas), `LOCAL_DIRS` inside a YARN container (commas), `spark.local.dir` (commas). Entries
//! are trimmed. Spark accepts every directory when there is no root; here that is refused. This module handles names
//! only; the disk room opens and canonicalizes them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, Reader};
use super::keys;
use super::load::Sources;
use super::origin::Origin;
use super::values::{Values, read_sources};

/// The source that names the roots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootSource {
    /// An environment variable.
    Environment(&'static str),
    /// `spark.local.dir`.
    Key(Origin),
    /// The program that the server is part of.
    Program,
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Key(origin) => write!(f, "{} ({origin})", keys::LOCAL_DIR.name()),
            Self::Program => f.write_str("the program"),
        }
    }
}

/// The roots, as the source names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roots {
    /// The source.
    pub source: RootSource,
    /// At least one path. None was looked at.
    pub paths: Vec<PathBuf>,
}

impl Roots {
    /// Reads the roots of a server with these sources, and none of its other keys.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let (roots, _) = read_sources(sources, environment, Reader::Serve, resolve)?;
        Ok(roots.unwrap_or_else(|| Self { source: RootSource::Program, paths: Vec::new() }))
    }
}

/// The roots of the first source that is set; `None` if they were refused.
pub(crate) fn resolve(values: &mut Values<'_>) -> Option<Roots> {
    let local_dir = values.optional(&keys::LOCAL_DIR);
    let environment = values.environment();
    let in_container = environment.var("CONTAINER_ID").is_some();
    let variables = [("SPARK_EXECUTOR_DIRS", b':'), ("SPARK_LOCAL_DIRS", b','), ("LOCAL_DIRS", b',')];
    let from_environment = variables
        .into_iter()
        .filter(|(name, _)| *name != "LOCAL_DIRS" || in_container)
        .find_map(|(name, separator)| Some((name, split(&environment.var(name)?, separator))));

    let (source, paths) = match (from_environment, local_dir) {
        (Some((name, paths)), key) => {
            if key.is_some() {
                values.warn(format!("{} has no effect: {name} comes before it", keys::LOCAL_DIR.name()));
            }
            (RootSource::Environment(name), paths)
        }
        (None, Some((entries, origin))) => {
            (RootSource::Key(origin), entries.into_iter().map(PathBuf::from).collect())
        }
        (None, None) => {
            values.refuse(Issue::new(
                keys::LOCAL_DIR.name(),
                "no directory is named beneath which executors may register theirs",
                "set it, or SPARK_LOCAL_DIRS, to the local directories of the Workers",
            ));
            return None;
        }
    };
    let subject = match &source {
        RootSource::Environment(name) => *name,
        RootSource::Key(_) | RootSource::Program => keys::LOCAL_DIR.name(),
    };
    let issue = |reason: String, remedy: &str| match &source {
        RootSource::Environment(_) | RootSource::Program => Issue::new(subject, reason, remedy),
        RootSource::Key(origin) => Issue::new(subject, reason, remedy).with_origin(origin.clone()),
    };
    if paths.is_empty() {
        values.refuse(issue(
            "it is set and names no directory".into(),
            "name the local directories of the Workers, or unset it",
        ));
        return None;
    }
    Some(Roots { source, paths })
}

fn split(list: &OsStr, separator: u8) -> Vec<PathBuf> {
    let entries = list.as_bytes().split(|b| *b == separator).map(<[u8]>::trim_ascii);
    entries.filter(|entry| !entry.is_empty()).map(|entry| OsString::from_vec(entry.to_vec()).into()).collect()
}
