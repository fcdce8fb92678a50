//! The secret with which an application proves itself, and the source of that secret.
//!
//! ```text
//! handshake ──search──► the secret that was handed over for the application; if there is none:
//!                   one secret for all, or a file per application ──► the current one, then the previous one
//! session  ──watch──► cancelled when the application's secret is gone
//! ```
//!
//! Invariants: a file is checked anew at every handshake, so that no change needs a signal; a name that is no plain
//! file name never reaches the disk; files that other users can read are refused; secrets are wiped when dropped and
//! appear in no log; every wait is bounded in time, and the waits are bounded in number. The callers are the server's
//! handshakes and housekeeping, and `applications` at the beginning and end of an application.

mod directory;
pub mod envelope;
mod handed;
mod search;
mod secret_file;
mod waiting;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::{Lane, OnLane};

use self::directory::SecretFiles;
pub use self::directory::{Directory, DirectoryError};
use self::handed::HandedSecrets;
pub use self::handed::{HandOverError, RememberSecrets};
pub use self::search::{Candidate, Search};
use self::waiting::WaitingRoom;
pub use self::watch::Watch;
use self::watch::Watchers;

/// Most reads of the directory at the same time.
const THREADS: usize = 4;

/// The secrets that a server knows. Clones share them.
#[derive(Clone, Debug)]
pub struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: ArcSwap<Source>,
    handed: HandedSecrets,
    watching: Watchers,
    waiting: WaitingRoom,
    /// Where the directory is looked at: secrets do not wait for disks with blocks.
    lane: Lane,
}

/// The source of secrets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// There is no secret: nobody can prove anything.
    None,
    /// One secret for every application, as a standalone cluster has: any holder may claim any application id.
    Shared {
        /// The current secret.
        current: Arc<AppSecret>,
        /// The previous secret, which is valid during a rotation.
        previous: Option<Arc<AppSecret>>,
    },
    /// One file per application.
    Directory(Directory),
}

/// The result of looking for an application's secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// Each of these is valid; the current one first.
    Found(Vec<Arc<AppSecret>>),
    /// There is no secret yet.
    NotYet {
        /// The file that is missing; `None` if the secret was to be handed over.
        file: Option<PathBuf>,
    },
    /// This application has no secret; the reason is for the log.
    Refused(String),
}

impl Secrets {
    /// Secrets from `source`.
    pub fn from_source(source: Source) -> Self {
        Self::new(source, None)
    }

    /// Secrets that are handed over. A handshake waits up to `wait` for one. Other applications use `source`.
    pub fn handed_over_or(source: Source, wait: Duration) -> Self {
        Self::new(source, Some(wait))
    }

    fn new(source: Source, wait: Option<Duration>) -> Self {
        let inner = Inner {
            source: ArcSwap::from_pointee(source),
            handed: HandedSecrets::waiting(wait),
            watching: Watchers::default(),
            waiting: WaitingRoom::default(),
            lane: Lane::new(THREADS),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Stores secrets that are handed over from now on in `memory`. Only the first call counts.
    pub fn remember_in(&self, memory: Arc<dyn RememberSecrets>) {
        self.inner.handed.remember_in(memory);
    }

    /// Takes a secret from the store, without storing it again.
    pub fn restore(&self, app: AppId, secret: AppSecret) {
        self.inner.handed.restore(app, secret);
    }

    /// Takes the secret of an application in the place of the previous one, and stores it if it has to outlast a
    /// restart. Returns whether it is news. Connections that proved the previous secret stay proven. May wait for a disk.
    pub fn hand_over(&self, app: &AppId, secret: AppSecret, remember: bool) -> Result<bool, HandOverError> {
        self.inner.handed.take(app, secret, remember)
    }

    /// Drops the secret that was handed over for an application, and ends the access of the connections that proved
    /// it. Returns whether there was one. It does not wait: the caller has the recovery store forget the secret.
    pub fn end(&self, app: &AppId) -> bool {
        let held = self.inner.handed.drop_of(app);
        if held {
            self.inner.watching.revoke(app);
        }
        held
    }

    /// Whether the secret of an application was handed over.
    #[cfg(test)]
    pub(crate) fn is_handed_over(&self, app: &AppId) -> bool {
        self.inner.handed.of(app).is_some()
    }

    /// Whether handing over is switched on.
    pub fn are_handed_over(&self) -> bool {
        self.inner.handed.wait().is_some()
    }

    /// Number of applications whose secret was handed over.
    pub fn handed_over(&self) -> usize {
        self.inner.handed.count()
    }

    /// The applications whose secret was handed over.
    pub fn handed_over_of(&self) -> Vec<AppId> {
        self.inner.handed.apps()
    }

    /// From now on other secrets come from `source`. Proven connections stay proven, unless the new source is a
    /// directory without a file for their application.
    pub fn replace(&self, source: Source) {
        self.inner.source.store(Arc::new(source));
    }

    /// Whether anybody can prove anything.
    pub fn exist(&self) -> bool {
        self.are_handed_over() || !matches!(*self.source(), Source::None)
    }

    /// The search for the secret that a peer at this address has, which may come late.
    pub fn search<'a>(&'a self, app: &'a AppId, peer: IpAddr) -> Search<'a> {
        Search::new(self, app, peer)
    }

    /// The secrets of `app` at this moment.
    pub async fn of(&self, app: &AppId) -> Lookup {
        match self.inner.handed.of(app) {
            Some(secret) => Lookup::Found(vec![secret]),
            None => self.look(&self.source(), app).await,
        }
    }

    /// Longest time that a handshake waits for a secret.
    fn patience(&self) -> Duration {
        match &*self.source() {
            Source::None => self.inner.handed.wait().unwrap_or(Duration::ZERO),
            Source::Shared { .. } => Duration::ZERO,
            Source::Directory(directory) => directory.wait(),
        }
    }

    fn waiting_room(&self) -> &WaitingRoom {
        &self.inner.waiting
    }

    /// The hold of a connection that has proven `app`: told when the application's secret is gone.
    pub fn watch(&self, app: &AppId) -> Watch {
        self.inner.watching.watch(app)
    }

    /// Checks the secrets of the applications with connections, and ends the access of those whose secret is gone. A
    /// secret is gone when two checks in a row miss it, since some editors replace a file by removing it first.
    /// Returns the applications whose access ended.
    pub async fn look_for_removed(&self) -> Vec<AppId> {
        let source = self.source();
        let directory = match &*source {
            Source::Directory(directory) => Some(directory.clone()),
            // For connections that proved a secret while it was being removed.
            Source::None if self.exist() => None,
            Source::None | Source::Shared { .. } => return Vec::new(),
        };
        let mut apps = self.inner.watching.names();
        apps.retain(|app| self.inner.handed.of(app).is_none());
        if apps.is_empty() {
            return Vec::new();
        }
        let Some(directory) = directory else { return self.inner.watching.looked(&apps, &[]) };
        let look = move |on: &OnLane| {
            let gone =
                |app: &AppId| directory::file_name(app).map_or(true, |name| directory.is_gone(on, name));
            apps.into_iter().partition::<Vec<_>, _>(gone)
        };
        match self.inner.lane.run(look).await {
            Ok((gone, there)) => self.inner.watching.looked(&gone, &there),
            Err(_) => Vec::new(),
        }
    }

    /// One look at where secrets come from that nobody hands over.
    async fn look(&self, source: &Source, app: &AppId) -> Lookup {
        let directory = match source {
            Source::None => {
                return match self.inner.handed.wait() {
                    Some(_) => Lookup::NotYet { file: None },
                    None => Lookup::Refused("this server has no secret".to_owned()),
                };
            }
            Source::Shared { current, previous } => {
                let all = [current].into_iter().chain(previous).cloned().collect();
                return Lookup::Found(all);
            }
            Source::Directory(directory) => directory.clone(),
        };
        let name = match directory::file_name(app) {
            Ok(name) => name.to_owned(),
            Err(reason) => return Lookup::Refused(reason.to_owned()),
        };
        let file = directory.path().join(&name);
        match self.inner.lane.run(move |on| directory.look(on, &name)).await {
            Ok(SecretFiles::Secrets(secrets)) => Lookup::Found(secrets),
            Ok(SecretFiles::Unusable(reason)) => Lookup::Refused(reason),
            Ok(SecretFiles::Missing) => Lookup::NotYet { file: Some(file) },
            Err(error) => Lookup::Refused(format!("looking for the secret was cut short: {error}")),
        }
    }

    fn source(&self) -> Arc<Source> {
        self.inner.source.load_full()
    }
}

#[cfg(test)]
mod tests;
