//! Where the secret comes from.
//!
//! `_SPARK_AUTH_SECRET` in the environment comes first, as in Spark (SecurityManager.getSecretKey, Spark 4.3.0),
//! then `spark.authenticate.secret`, then the file of `spark.sealed.auth.secret-file`, then the bytes of
//! `spark.authenticate.secret.executor.file` or `.file` in Base64 (SecurityManager.secretKeyFromFile). The text of
//! `spark.sealed.auth.secret-file` is taken as it stands, a final line break included: a generated secret may consist of any characters, and both sides must have
//! the same ones. Editors like to add a line break, so a warning names it. For a rotation, a server may have the previous
//! secret, too. Instead of one secret it may have a directory with one file per application, which the server reads at a
//! handshake. A secret that was handed over for one application comes before all of them, and needs none of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::Issue;
use super::handover::{self, HandoverConfig};
use super::key::AnyKey;
use super::keys;
use super::origin::Origin;
use super::values::Values;

/// The variable that Spark's processes hand the secret on with.
pub(crate) const VARIABLE: &str = "_SPARK_AUTH_SECRET";

/// Where a secret was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// The environment variable `_SPARK_AUTH_SECRET`.
    Environment,
    /// `spark.authenticate.secret`.
    Key(Origin),
    /// A file with its text.
    File(PathBuf),
    /// A file with its bytes, of which it is the Base64 text.
    Bytes(PathBuf),
    /// Standard input.
    StandardInput,
    /// The program that the server or client is part of.
    Program,
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "environment {VARIABLE}"),
            Self::Key(origin) => write!(f, "{} ({origin})", keys::AUTHENTICATE_SECRET.name()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Bytes(path) => write!(f, "Base64 of file {}", path.display()),
            Self::StandardInput => f.write_str("standard input"),
            Self::Program => f.write_str("the program"),
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

impl ConfiguredSecret {
    /// A secret that the program knows.
    pub fn new(text: impl Into<String>) -> Self {
        Self { source: SecretSource::Program, text: Zeroizing::new(text.into()) }
    }
}

impl fmt::Debug for ConfiguredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredSecret").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A directory with one secret per application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretDirectory {
    /// The directory (`spark.sealed.auth.secret-dir`).
    pub path: PathBuf,
    /// How long a handshake waits for its file (`spark.sealed.auth.secret-wait`). 10 s.
    pub wait: Duration,
}

/// Everything that a server is told about secrets.
pub(crate) struct ServerSecrets {
    pub(crate) current: Option<ConfiguredSecret>,
    pub(crate) previous: Option<ConfiguredSecret>,
    pub(crate) directory: Option<SecretDirectory>,
    pub(crate) handover: Option<HandoverConfig>,
}

impl ServerSecrets {
    pub(crate) fn exist(&self) -> bool {
        self.current.is_some() || self.directory.is_some() || self.handover.is_some()
    }
}

/// The secrets of a server.
pub(crate) fn resolve_all(values: &mut Values<'_>) -> ServerSecrets {
    let current = resolve(values);
    let wait = values.value(&keys::SECRET_WAIT);
    let handshake = values.value(&keys::HANDSHAKE_TIMEOUT);
    let handover = handover::read(values, wait);
    let previous = values.optional(&keys::PREVIOUS_SECRET_FILE);
    let directory = values.optional(&keys::SECRET_DIR);
    if let (Some(current), Some(_)) = (&current, &directory) {
        values.warn(format!(
            "{} has no effect: the secret from {} comes before it and is every application's",
            keys::SECRET_DIR.name(),
            current.source
        ));
        let previous = previous.and_then(|(path, origin)| previous_from(values, &path, origin));
        return ServerSecrets { previous, directory: None, current: Some(current.clone()), handover };
    }
    let directory = directory.and_then(|(path, origin)| directory_at(values, path, origin, wait));
    if (directory.is_some() || handover.is_some()) && wait >= handshake {
        let reason = format!("not below {} = {handshake:?}", keys::HANDSHAKE_TIMEOUT.name());
        values
            .refuse(Issue::new(keys::SECRET_WAIT.name(), reason, "lower it").with_value(format!("{wait:?}")));
    }
    let previous = match (previous, &current) {
        (Some((path, origin)), Some(_)) => previous_from(values, &path, origin),
        (Some((_, origin)), None) => {
            let reason = "there is no current secret beside it";
            let remedy = match &directory {
                Some(_) => "name the one before ID.previous in the directory",
                None => "set the current one, too",
            };
            values.refuse(Issue::new(keys::PREVIOUS_SECRET_FILE.name(), reason, remedy).with_origin(origin));
            None
        }
        (None, _) => None,
    };
    ServerSecrets { current, previous, directory, handover }
}

fn directory_at(
    values: &mut Values<'_>,
    path: String,
    origin: Origin,
    wait: Duration,
) -> Option<SecretDirectory> {
    let environment = values.environment();
    let reason = match environment.stat(Path::new(&path)) {
        Ok(stat) if stat.is_dir => {
            if stat.mode & 0o002 != 0 {
                let mode = stat.mode;
                values.warn(format!("everybody may put secrets into {path} (mode {mode:04o}): chmod 700"));
            }
            return Some(SecretDirectory { path: path.into(), wait });
        }
        Ok(_) => "it is no directory".to_owned(),
        Err(error) => format!("user {} cannot look at it: {error}", environment.user_id()),
    };
    let issue = Issue::new(keys::SECRET_DIR.name(), reason, "name a directory of this user");
    values.refuse(issue.with_value(path).with_origin(origin));
    None
}

fn previous_from(values: &mut Values<'_>, path: &str, origin: Origin) -> Option<ConfiguredSecret> {
    if path == "-" {
        let issue = Issue::new(keys::PREVIOUS_SECRET_FILE.name(), "it must be a file", "name a file");
        values.refuse(issue.with_value(path).with_origin(origin));
        return None;
    }
    from_file(values, &keys::PREVIOUS_SECRET_FILE, path, origin)
}

/// The secret that the sources name first; `None` where there is none or where it cannot be used.
pub fn resolve(values: &mut Values<'_>) -> Option<ConfiguredSecret> {
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
    let bytes = from_bytes(values, file.is_some());
    match file {
        Some((path, origin)) => from_file(values, &keys::SECRET_FILE, &path, origin),
        None => bytes,
    }
}

/// The secret whose bytes lie in a file. `is_shadowed` by a file that comes before.
fn from_bytes(values: &mut Values<'_>, is_shadowed: bool) -> Option<ConfiguredSecret> {
    let for_executors =
        values.optional(&keys::EXECUTOR_SECRET_BYTES).map(|found| (found, &keys::EXECUTOR_SECRET_BYTES));
    let for_all = values.optional(&keys::SECRET_BYTES).map(|found| (found, &keys::SECRET_BYTES));
    let ((path, origin), key) = for_executors.or(for_all)?;
    if is_shadowed {
        shadowed(values, keys::SECRET_FILE.name(), [(true, key)]);
        return None;
    }
    let source = SecretSource::Bytes(PathBuf::from(&path));
    let issuer = Issuer { key, path: &path, origin };
    let bytes = read_secret(values, &issuer, &source)?;
    let text = Zeroizing::new(STANDARD.encode(&*bytes));
    is_kept_close(values, &issuer, &source).then_some(ConfiguredSecret { source, text })
}

/// The key that named a file, for what is wrong with it.
struct Issuer<'a> {
    key: &'a dyn AnyKey,
    path: &'a str,
    origin: Origin,
}

impl Issuer<'_> {
    fn issue(&self, reason: String, remedy: &str) -> Issue {
        Issue::new(self.key.name(), reason, remedy).with_value(self.path).with_origin(self.origin.clone())
    }
}

/// The bytes of a file that is there and not empty.
fn read_secret(
    values: &mut Values<'_>,
    issuer: &Issuer<'_>,
    source: &SecretSource,
) -> Option<Zeroizing<Vec<u8>>> {
    let environment = values.environment();
    let read = match source {
        SecretSource::StandardInput => environment.read_stdin(),
        _ => environment.read(Path::new(issuer.path)),
    };
    match read {
        Ok(bytes) if bytes.is_empty() => {
            values.refuse(issuer.issue("the secret is empty".into(), "write the secret into it"));
            None
        }
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let uid = environment.user_id();
            let reason = format!("the secret cannot be read by user {uid}: {error}");
            values.refuse(issuer.issue(reason, "make it readable to this user alone"));
            None
        }
    }
}

/// What to do about the mode of a file in a Secret that Kubernetes mounts. The files are root's, so the group lets us in.
const OF_A_MOUNT: &str =
    "give the volume of the Secret `defaultMode: 0440`, and the pod an `fsGroup` in its securityContext";

/// Whether no other users can read the file of a secret; those of its group are warned about. Root's file that the group
/// lets us read is how Kubernetes mounts a Secret for a pod with `fsGroup`.
fn is_kept_close(values: &mut Values<'_>, issuer: &Issuer<'_>, source: &SecretSource) -> bool {
    let environment = values.environment();
    let path = Path::new(issuer.path);
    let Ok(stat) = environment.stat(path) else { return true };
    let mode = stat.mode;
    if *source == SecretSource::StandardInput || mode & 0o077 == 0 {
        return true;
    }
    let mounted = environment.is_in_mounted_secret(path);
    let remedy = if mounted { OF_A_MOUNT } else { "chmod 600" };
    if mode & 0o004 != 0 {
        let reason = match mounted {
            true => format!("every user in the container can read the secret (mode {mode:04o})"),
            false => format!("every user of the machine can read the secret (mode {mode:04o})"),
        };
        let known = if mounted { "" } else { ", and think of it as known" };
        values.refuse(issuer.issue(reason, &format!("{remedy}{known}")));
        return false;
    }
    let is_let_in = mode & 0o037 == 0
        && environment.user_id() != 0
        && environment.owner(path).is_ok_and(|user| user == 0);
    if !is_let_in {
        values.warn(format!("{source} with the secret is open to other users (mode {mode:04o}): {remedy}"));
    }
    true
}

fn shadowed<const N: usize>(values: &mut Values<'_>, winner: &str, others: [(bool, &dyn AnyKey); N]) {
    for (_, key) in others.into_iter().filter(|(set, _)| *set) {
        values.warn(format!("{} has no effect: {winner} comes before it", key.name()));
    }
}

fn from_file(
    values: &mut Values<'_>,
    key: &dyn AnyKey,
    path: &str,
    origin: Origin,
) -> Option<ConfiguredSecret> {
    let source = match path {
        "-" => SecretSource::StandardInput,
        path => SecretSource::File(path.into()),
    };
    let issuer = Issuer { key, path, origin };
    let mut bytes = read_secret(values, &issuer, &source)?;
    let text = match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            let remedy = "encode it, in hexadecimal for instance; where Spark reads it with \
                          spark.authenticate.secret.file, name it with that key, and its Base64 text is the secret";
            values.refuse(issuer.issue("the secret is not UTF-8 text".into(), remedy));
            return None;
        }
    };
    if text.ends_with('\n') {
        values.warn(format!(
            "the secret from {source} ends in a line break, which is part of it: write it without one \
             (printf %s) unless the applications' secret ends so, too"
        ));
    }
    is_kept_close(values, &issuer, &source).then_some(ConfiguredSecret { source, text })
}
