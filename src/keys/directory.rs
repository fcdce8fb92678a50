//! A directory with one file per application: `ID` has its current secret, `ID.previous` the previous one.
//!
//! Files are opened beneath the directory's own handle ([`crate::confined`]). Kubernetes mounts secrets as symlinks to
//! `..data/ID`, which stay beneath; a link that leads out is not followed. If the kernel has no `openat2`, no symlink is
//! followed. The text of a file is the secret as it stands, as in `spark.sealed.auth.secret-file`.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::Identity;
use tracing::warn;

use super::secret_file::{self, open_to_others};
use crate::confined::{Confinement, Links, OpenFailure};

/// The ending of the file with the previous secret.
const PREVIOUS: &str = ".previous";

/// Longest file name that Linux's file systems take.
const LONGEST_NAME: usize = 255;

/// Longest secret.
const LONGEST_SECRET: usize = 64 << 10;

/// About so many secrets are kept. The files of others are read again.
const MOST_KEPT: usize = 10_000;

/// A directory of secrets. Clones share it.
#[derive(Clone, Debug)]
pub struct Directory {
    path: Arc<Path>,
    handle: Arc<OwnedFd>,
    confinement: Confinement,
    wait: Duration,
    kept: Arc<Cache<Box<str>, KnownSecret>>,
}

/// A secret and the file that it was read from.
#[derive(Clone, Debug)]
struct KnownSecret {
    identity: Identity,
    secret: Arc<AppSecret>,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("spark.sealed.auth.secret-dir = {path}: {errno}; name a directory that this user can open")]
pub struct DirectoryError {
    path: String,
    errno: Errno,
}

/// The result of a look at an application's files.
pub(super) enum SecretFiles {
    /// The current one, then the one before, if there is one.
    Secrets(Vec<Arc<AppSecret>>),
    /// There is no current secret.
    Missing,
    /// There is a secret that must not be used; the reason is for the log.
    Unusable(String),
}

impl Directory {
    /// Opens `path`. A lookup waits up to `wait` for a file that does not exist yet.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| DirectoryError { path: path.display().to_string(), errno })?;
        let confinement = Confinement::detect(handle.as_fd());
        let kept = Arc::new(Cache::new(MOST_KEPT));
        Ok(Self { path: path.into(), handle: Arc::new(handle), confinement, wait, kept })
    }

    /// The same with a way of confinement that was not detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        Self { confinement, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Reads the secret in the file `name` and the previous one.
    pub(super) fn look(&self, on: &OnLane, name: &str) -> SecretFiles {
        let current = match self.read(on, name) {
            Ok(Some(secret)) => secret,
            Ok(None) => return SecretFiles::Missing,
            Err(reason) => return SecretFiles::Unusable(reason),
        };
        let mut secrets = vec![current];
        match self.read(on, &format!("{name}{PREVIOUS}")) {
            Ok(Some(previous)) => secrets.push(previous),
            Ok(None) => {}
            // The current secret is good, so its holders are let in all the same.
            Err(reason) => warn!("{reason}"),
        }
        SecretFiles::Secrets(secrets)
    }

    /// Whether the file certainly no longer exists.
    pub(super) fn is_gone(&self, on: &OnLane, name: &str) -> bool {
        matches!(self.open_file(on, name), Err(OpenFailure::Errno(Errno::NOENT)))
    }

    /// Whether Kubernetes has mounted a Secret here: the kubelet changes all files at once by the link `..data`.
    fn is_mounted_secret(&self) -> bool {
        let found = rustix::fs::statat(&self.handle, "..data", AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    fn read(&self, on: &OnLane, name: &str) -> Result<Option<Arc<AppSecret>>, String> {
        let shown = self.shown(name);
        let (file, stat) = match self.open_file(on, name) {
            Ok(opened) => opened,
            Err(OpenFailure::Errno(Errno::NOENT)) => {
                self.kept.remove(name);
                return Ok(None);
            }
            Err(OpenFailure::Escapes) => {
                return Err(format!(
                    "{} leads out of its directory: put the secret there itself",
                    shown.display()
                ));
            }
            Err(OpenFailure::NotRegular(_)) => return Err(format!("{} is no regular file", shown.display())),
            Err(OpenFailure::NoAnswer) => return Err(format!("{} does not answer", shown.display())),
            Err(OpenFailure::Errno(errno)) => {
                return Err(format!("{} cannot be read by this user: {errno}", shown.display()));
            }
        };
        if let Some(mode) = open_to_others(&stat) {
            let remedy = match self.is_mounted_secret() {
                true => "give the volume of the Secret `defaultMode: 0440`, and the pod an `fsGroup`",
                false => "chmod 600",
            };
            return Err(format!("{} is open to other users (mode {mode:04o}): {remedy}", shown.display()));
        }
        let identity = Identity::of(&stat);
        if let Some(kept) = self.kept.get(name)
            && kept.identity == identity
        {
            return Ok(Some(kept.secret));
        }
        let secret = Arc::new(secret_in(&File::from(file), &shown)?);
        self.kept.insert(name.into(), KnownSecret { identity, secret: Arc::clone(&secret) });
        Ok(Some(secret))
    }

    fn open_file(&self, on: &OnLane, name: &str) -> Result<(OwnedFd, Stat), OpenFailure> {
        self.confinement.open_file(on, self.handle.as_fd(), name, Links::Beneath)
    }

    fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The file name of an application. Its id comes from a peer, and must be a plain file name.
pub(super) fn file_name(app: &AppId) -> Result<&str, &'static str> {
    let name = app.as_str();
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
        && !name.ends_with(PREVIOUS);
    if !plain {
        return Err("an application id that is no plain file name has no secret");
    }
    if name.len() + PREVIOUS.len() > LONGEST_NAME {
        return Err("an application id that is too long for a file name has no secret");
    }
    Ok(name)
}

fn secret_in(file: &File, shown: &Path) -> Result<AppSecret, String> {
    let shown = shown.display();
    let read = secret_file::read(file, LONGEST_SECRET).map_err(|error| format!("{shown}: {error}"))?;
    let Some(bytes) = read else {
        return Err(format!("{shown} is longer than any secret ({LONGEST_SECRET} bytes)"));
    };
    if bytes.is_empty() {
        return Err(format!(
            "{shown} is empty: write the secret into it, at once or by renaming a file to it"
        ));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format!("{shown} is not UTF-8 text: encode the secret, in hexadecimal for instance"))?;
    if text.ends_with('\n') {
        warn!("{shown} ends in a line break, which is part of the secret: write it without one (printf %s)");
    }
    Ok(AppSecret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_reach_the_disk() {
        for name in ["app-1", "application_1700000000000_0001", "spark-0af", "a.b"] {
            assert_eq!(file_name(&AppId::new(name)), Ok(name));
        }
        let long = "a".repeat(250);
        for name in
            ["", ".", "..", "../etc/passwd", "a/b", "..data", ".x", "a\0b", "a\nb", "a.previous", &long]
        {
            assert!(file_name(&AppId::new(name)).is_err(), "{name:?}");
        }
    }
}
