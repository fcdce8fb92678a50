//! Which secret an application proves itself with, and where it comes from.
//!
//! ```text
//! handshake ──of──► one secret for all, or a file per application ──► the current one, then the one before
//! session  ──watch──► cancelled when the application's file is gone
//! ```
//!
//! Invariants: a file is looked at anew at every handshake, so that no change needs a signal; a name that is no plain
//! file name never reaches the disk; files that other users can read are refused; secrets are wiped when dropped and
//! appear in no log. What is waited for is bounded in time and number. The server's handshakes and housekeeping are
//! the callers.

mod directory;
pub mod envelope;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use self::directory::Found;
pub use self::directory::{Directory, DirectoryError};
pub use self::watch::Watched;
use self::watch::Watching;

/// Handshakes that wait for a file at the same time; further ones are answered at once.
const MOST_WAITING: usize = 256;

/// Between two looks for a file that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The secrets that a server knows. Clones share them.
#[derive(Clone, Debug)]
pub struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: RwLock<Arc<Source>>,
    watching: Watching,
    waiting: Semaphore,
}

/// Where secrets come from.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// Nobody can prove anything.
    None,
    /// One secret for every application, as a standalone cluster has: any holder may claim any application id.
    Shared {
        /// The one that is to stay.
        current: Arc<AppSecret>,
        /// The one before, valid during a rotation.
        previous: Option<Arc<AppSecret>>,
    },
    /// One file per application.
    Directory(Directory),
}

/// What is known about an application's secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// Each of these is valid; the current one first.
    Found(Vec<Arc<AppSecret>>),
    /// There is no file, not even after waiting for it.
    NotYet {
        /// How long was waited.
        waited: Duration,
        /// What was looked for.
        file: PathBuf,
    },
    /// There is none for this application; the reason is for the log.
    Refused(String),
}

impl Lookup {
    /// The secrets, or why there are none, for the log.
    pub fn found(self) -> Result<Vec<Arc<AppSecret>>, String> {
        match self {
            Self::Found(secrets) => Ok(secrets),
            Self::NotYet { waited, file } => Err(format!(
                "there is no secret of this application: no file {} within {waited:.1?} (spark.sealed.auth.secret-wait)",
                file.display()
            )),
            Self::Refused(reason) => Err(reason),
        }
    }
}

impl Secrets {
    /// Secrets from `source`.
    pub fn from_source(source: Source) -> Self {
        let inner = Inner {
            source: RwLock::new(Arc::new(source)),
            watching: Watching::default(),
            waiting: Semaphore::new(MOST_WAITING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// No secret: nobody can prove anything.
    pub fn none() -> Self {
        Self::from_source(Source::None)
    }

    /// One secret for every application.
    pub fn shared(secret: AppSecret) -> Self {
        Self::from_source(Source::Shared { current: Arc::new(secret), previous: None })
    }

    /// From now on secrets come from `source`. What has been proven stays proven, unless the new source is a
    /// directory that has no file for its application.
    pub fn replace(&self, source: Source) {
        *self.inner.source.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(source);
    }

    /// Whether anybody can prove anything.
    pub fn exist(&self) -> bool {
        !matches!(*self.source(), Source::None)
    }

    /// The secrets of `app`. Waits a while for a file that is not there yet.
    pub async fn of(&self, app: &AppId) -> Lookup {
        let source = self.source();
        let directory = match &*source {
            Source::None => return Lookup::Refused("this server has no secret".to_owned()),
            Source::Shared { current, previous } => {
                return Lookup::Found([current].into_iter().chain(previous).cloned().collect());
            }
            Source::Directory(directory) => directory.clone(),
        };
        let name = match directory::file_name(app) {
            Ok(name) => name.to_owned(),
            Err(reason) => return Lookup::Refused(reason.to_owned()),
        };
        let began = Instant::now();
        let mut place = None;
        loop {
            match self.look(&directory, &name).await {
                Found::Secrets(secrets) => return Lookup::Found(secrets),
                Found::Unusable(reason) => return Lookup::Refused(reason),
                Found::Missing => {}
            }
            let waited = began.elapsed();
            place = place.or_else(|| self.inner.waiting.try_acquire().ok());
            if place.is_none() || waited >= directory.wait() {
                return Lookup::NotYet { waited, file: directory.path().join(&name) };
            }
            sleep(LOOK_AGAIN.min(directory.wait() - waited)).await;
        }
    }

    /// The hold of a connection that has proven `app`: told when the application's file is removed.
    pub fn watch(&self, app: &AppId) -> Watched {
        self.inner.watching.watch(app)
    }

    /// Looks at the files of the applications with connections, and ends the access of those whose file is gone:
    /// twice in a row, since some editors replace a file by removing it first. Says which ended.
    pub async fn look_for_removed(&self) -> Vec<AppId> {
        let source = self.source();
        let Source::Directory(directory) = &*source else { return Vec::new() };
        let apps = self.inner.watching.names();
        if apps.is_empty() {
            return Vec::new();
        }
        let directory = directory.clone();
        let look = move || {
            let gone = |app: &AppId| directory::file_name(app).map_or(true, |name| directory.is_gone(name));
            apps.into_iter().partition::<Vec<_>, _>(gone)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((gone, there)) => self.inner.watching.looked(&gone, &there),
            Err(_) => Vec::new(),
        }
    }

    async fn look(&self, directory: &Directory, name: &str) -> Found {
        let (directory, name) = (directory.clone(), name.to_owned());
        let looked = tokio::task::spawn_blocking(move || directory.look(&name)).await;
        looked
            .unwrap_or_else(|error| Found::Unusable(format!("looking for the secret was cut short: {error}")))
    }

    fn source(&self) -> Arc<Source> {
        Arc::clone(&self.inner.source.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
