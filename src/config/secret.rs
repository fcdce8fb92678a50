//! Where the secret comes from.
//!
//! `_SPARK_AUTH_SECRET` in the environment comes first, as in Spark (SecurityManager.getSecretKey, Spark 4.3.0),
//! then `spark.authenticate.secret`, then the file of `spark.sealed.auth.secret-file`. The file's text is taken
//! as it stands, a final line break included: a generated secret may consist of any characters, and what was
//! cut off silently would be looked for in vain on the other side. Since editors like to add that line break, it
//! is warned about.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::Issue;
use super::key::AnyKey;
use super::keys;
use super::origin::Origin;
use super::values::Values;

/// The variable that Spark's processes hand the secret on with.
pub(crate) const VARIABLE: &str = "_SPARK_AUTH_SECRET";

/// Where a secret was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The environment variable `_SPARK_AUTH_SECRET`.
    Environment,
    /// `spark.authenticate.secret`.
    Key(Origin),
    /// A file.
    File(PathBuf),
    /// Standard input.
    StandardInput,
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "environment {VARIABLE}"),
            Self::Key(origin) => write!(f, "{} ({origin})", keys::AUTHENTICATE_SECRET.name()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::StandardInput => f.write_str("standard input"),
        }
    }
}

/// A secret and where it was found. Its `Debug` shows the source alone.
#[derive(Clone)]
pub struct ConfiguredSecret {
    /// Where it was found.
    pub source: SecretSource,
    /// The secret, never empty; wiped when dropped.
    pub text: Zeroizing<String>,
}

impl fmt::Debug for ConfiguredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredSecret").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The secret that the sources name first; `None` where there is none or where it cannot be used.
pub(crate) fn resolve(values: &mut Values<'_>) -> Option<ConfiguredSecret> {
    let key = values.optional(&keys::AUTHENTICATE_SECRET);
    let file = values.optional(&keys::SECRET_FILE);
    if let Some((_, origin)) = &key
        && origin.is_command_line()
    {
        let name = keys::AUTHENTICATE_SECRET.name();
        values.warn(format!(
            "{name} was given on the command line, where every user of the machine can read it: use {VARIABLE} or {}",
            keys::SECRET_FILE.name(),
        ));
    }
    if let Some(value) = values.environment().var(VARIABLE) {
        shadowed(
            values,
            VARIABLE,
            [(key.is_some(), &keys::AUTHENTICATE_SECRET), (file.is_some(), &keys::SECRET_FILE)],
        );
        return match value.into_string().map(Zeroizing::new) {
            Ok(text) if !text.is_empty() => {
                Some(ConfiguredSecret { source: SecretSource::Environment, text })
            }
            Ok(_) => {
                values.refuse(Issue::new(
                    VARIABLE,
                    "it is set to nothing",
                    "give it the secret, or unset it",
                ));
                None
            }
            Err(other) => {
                drop(Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(other)));
                values.refuse(Issue::new(VARIABLE, "it is not UTF-8", "give it the secret as text"));
                None
            }
        };
    }
    if let Some((text, origin)) = key {
        shadowed(values, keys::AUTHENTICATE_SECRET.name(), [(file.is_some(), &keys::SECRET_FILE)]);
        return Some(ConfiguredSecret { source: SecretSource::Key(origin), text });
    }
    let (path, origin) = file?;
    from_file(values, &path, origin)
}

fn shadowed<const N: usize>(values: &mut Values<'_>, winner: &str, others: [(bool, &dyn AnyKey); N]) {
    for (_, key) in others.into_iter().filter(|(set, _)| *set) {
        values.warn(format!("{} has no effect: {winner} comes before it", key.name()));
    }
}

fn from_file(values: &mut Values<'_>, path: &str, origin: Origin) -> Option<ConfiguredSecret> {
    let issue = |reason: String, remedy: &str| {
        Issue::new(keys::SECRET_FILE.name(), reason, remedy).with_value(path).with_origin(origin.clone())
    };
    let environment = values.environment();
    let (source, read) = if path == "-" {
        (SecretSource::StandardInput, environment.read_stdin())
    } else {
        (SecretSource::File(path.into()), environment.read(Path::new(path)))
    };
    let mut bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            let uid = environment.user_id();
            let reason = format!("the secret cannot be read by user {uid}: {error}");
            values.refuse(issue(reason, "make it readable to this user alone"));
            return None;
        }
    };
    if bytes.is_empty() {
        values.refuse(issue("the secret is empty".into(), "write the secret into it"));
        return None;
    }
    let text = match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            values.refuse(issue(
                "the secret is not UTF-8 text".into(),
                "encode it, in hexadecimal for instance",
            ));
            return None;
        }
    };
    if text.ends_with('\n') {
        values.warn(format!(
            "the secret from {source} ends in a line break, which is part of it: write it without one \
             (printf %s) unless the applications' secret ends so, too"
        ));
    }
    if source != SecretSource::StandardInput
        && let Ok(stat) = environment.stat(Path::new(path))
        && stat.mode & 0o077 != 0
    {
        values.warn(format!(
            "{source} with the secret is open to other users (mode {:04o}): chmod 600",
            stat.mode
        ));
    }
    Some(ConfiguredSecret { source, text })
}
