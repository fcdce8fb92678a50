//! The provider with wrapping keys in a file of this machine. It needs nothing else.
//!
//! | module | knows |
//! |---|---|
//! | [`mod@file`] | making, reading and rotating the file, safe against crashes and concurrent processes |
//! | [`mod@format`] | its text |
//! | [`wrap`] | the wrapped form of a data key |
//!
//! Invariants: the file appears whole and with mode 0600, and is refused when other users can read it; the newest key
//! wraps, all unwrap; the file is checked before every call, so that a rotation, or a removed key, needs no signal.
//! It protects data on disks that are lost, unless the file lies on the same disk; [`shared_file_system`] tells that
//! case.

mod file;
mod format;
mod wrap;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::stat;
use sealed_shuffle_protocol::crypto::random::{Random as _, RandomError};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::region::Identity;
use time::OffsetDateTime;

use super::error::{KeyError, KeyErrorKind};
use super::provider::{Answer, KeyProvider};
use super::seal::Fault;
use file::{Contents, FileError};

/// Most reads of the file at the same time.
const THREADS: usize = 2;

/// The provider `local-file`. Clones share what was read.
#[derive(Clone, Debug)]
pub struct LocalKeyFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    read: Mutex<Arc<Contents>>,
    /// The lane that reads the file, so that keys do not wait for disks with blocks.
    lane: Lane,
}

/// The description of a key of the file, without the key.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyInFile {
    /// The name, as wrapped keys carry it.
    pub name: String,
    /// The time when it was made.
    pub made: OffsetDateTime,
    /// Whether this key wraps.
    pub wraps: bool,
}

impl LocalKeyFile {
    /// Reads the file, or makes it if there is none. Also returns whether this call made it.
    pub fn open_or_make(on: &OnLane, path: &Path) -> Result<(Self, bool), KeyError> {
        let opened = match file::read(on, path) {
            Err(FileError::Missing) => {
                file::make(on, path).and_then(|made| Ok((file::read(on, path)?, made)))
            }
            read => read.map(|contents| (contents, false)),
        };
        let (contents, made) = opened.map_err(|error| error.at(path))?;
        Ok((Self::of(path, contents), made))
    }

    /// Reads a file that must exist.
    pub fn open(on: &OnLane, path: &Path) -> Result<Self, KeyError> {
        let contents = file::read(on, path).map_err(|error| error.at(path))?;
        Ok(Self::of(path, contents))
    }

    fn of(path: &Path, contents: Contents) -> Self {
        let read = Mutex::new(Arc::new(contents));
        Self { inner: Arc::new(Inner { path: path.to_owned(), read, lane: Lane::new(THREADS) }) }
    }

    /// Adds a key, which wraps from now on, and returns its name.
    pub fn rotate(on: &OnLane, path: &Path) -> Result<String, KeyError> {
        file::rotate(on, path).map_err(|error| error.at(path))
    }

    /// Takes a key out of the file. What it wrapped does not open again. The one that wraps stays.
    pub fn remove(on: &OnLane, path: &Path, name: &str) -> Result<(), KeyError> {
        file::remove(on, path, name).map_err(|error| error.at(path))
    }

    /// The keys of the file, oldest first.
    pub fn list(&self, on: &OnLane) -> Result<Vec<KeyInFile>, KeyError> {
        let contents = self.inner.current(on)?;
        let newest = contents.generations.len() - 1;
        let keys = contents.generations.iter().enumerate().map(|(n, generation)| KeyInFile {
            name: generation.name.clone(),
            made: generation.made,
            wraps: n == newest,
        });
        Ok(keys.collect())
    }
}

impl KeyProvider for LocalKeyFile {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        let context = context.clone();
        Box::pin(self.on_disk(move |on, inner| inner.generate(on, &context)))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        let (wrapped, context) = (wrapped.clone(), context.clone());
        Box::pin(self.on_disk(move |on, inner| inner.unwrap(on, &wrapped, &context)))
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a Context) -> Answer<'a, WrappedKey> {
        let (key, context) = (DataKey::new(*key.as_bytes()), context.clone());
        Box::pin(self.on_disk(move |on, inner| inner.wrap(on, &key, &context)))
    }

    fn wraps_with(&self) -> Answer<'_, Option<String>> {
        Box::pin(self.on_disk(move |on, inner| Ok(Some(inner.current(on)?.newest().name.clone()))))
    }

    fn describe(&self) -> String {
        let contents = self.inner.known();
        let newest = contents.newest();
        let count = contents.generations.len();
        format!("local file {}, {} of {count} keys wraps", self.inner.path.display(), newest.name)
    }

    fn name(&self) -> &'static str {
        "local-file"
    }
}

impl LocalKeyFile {
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OnLane, &Inner) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let inner = Arc::clone(&self.inner);
        let done = self.inner.lane.run(move |on| work(on, &inner)).await;
        done.unwrap_or_else(|error| {
            Err(KeyError::new(
                KeyErrorKind::Unavailable,
                self.inner.path.display().to_string(),
                format!("the look into the key file was cut: {error}"),
                "try again",
            ))
        })
    }
}

impl Inner {
    fn generate(&self, on: &OnLane, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let data_key = DataKey::fill_with(|out| OsRandom.fill(out)).map_err(|error| self.no_random(error))?;
        let wrapped = self.wrap(on, &data_key, context)?;
        Ok((data_key, wrapped))
    }

    fn wrap(&self, on: &OnLane, key: &DataKey, context: &Context) -> Result<WrappedKey, KeyError> {
        let contents = self.current(on)?;
        let newest = contents.newest();
        let bytes = wrap::wrap(&newest.key, key, context).map_err(|error| self.no_random(error))?;
        Ok(WrappedKey { key_id: newest.name.clone(), bytes })
    }

    fn no_random(&self, error: RandomError) -> KeyError {
        let reason = format!("no random bytes for a data key: {error}");
        KeyError::new(KeyErrorKind::Unavailable, self.path.display().to_string(), reason, "try again")
    }

    fn unwrap(&self, on: &OnLane, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        let contents = self.current(on)?;
        let Some(generation) = contents.find(&wrapped.key_id) else {
            return Err(KeyError::new(
                KeyErrorKind::NotFound,
                &wrapped.key_id,
                format!("{} does not hold the key that wrapped the data key", self.path.display()),
                "put its line back from a copy of the file, or name the provider that it belongs to \
                 (spark.sealed.keys.provider, spark.sealed.keys.file)",
            ));
        };
        wrap::unwrap(&generation.key, &wrapped.bytes, context).map_err(|fault| {
            let reason = match fault {
                Fault::Shape => "the wrapped data key is not of the form of the local key file: it was changed",
                Fault::Tag => {
                    "the wrapped data key belongs to another application, cluster or node, or was changed"
                }
            };
            KeyError::new(
                KeyErrorKind::WrongContext,
                &wrapped.key_id,
                reason,
                "look at where the file came from; spark.sealed.cluster.name and spark.sealed.node.id must be \
                 what they were when it was written",
            )
        })
    }

    /// The content that was read last.
    fn known(&self) -> Arc<Contents> {
        Arc::clone(&self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current content of the file.
    fn current(&self, on: &OnLane) -> Result<Arc<Contents>, KeyError> {
        let known = self.known();
        match stat(&self.path) {
            Ok(now) if Identity::of(&now) == known.identity => return Ok(known),
            _ => {}
        }
        let contents = Arc::new(file::read(on, &self.path).map_err(|error| error.at(&self.path))?);
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&contents);
        Ok(contents)
    }
}

/// The first of `protected` that lies on the same file system as `path`, or as its nearest existing parent. A person
/// who takes that disk away takes the keys along.
pub fn shared_file_system<'a>(_: &OnLane, path: &Path, protected: &'a [PathBuf]) -> Option<&'a Path> {
    let device = path.ancestors().find_map(|place| {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        Some(stat(place).ok()?.st_dev)
    })?;
    protected.iter().map(PathBuf::as_path).find(|root| stat(*root).is_ok_and(|stat| stat.st_dev == device))
}

#[cfg(test)]
mod tests;
