//! The recovery store: its records survive a restart, and a kill.
//!
//! ```text
//! serve ──open──► node key from the key service ──► recovery.redb ──► Recovered ──► applications
//! registering, forgetting, merging ──► queue ──► one writer thread, many changes a commit ──► recovery.redb
//! ```
//!
//! | record | holds | written | removed |
//! |---|---|---|---|
//! | executor | application, executor, directories, sub-directories, shuffle manager, [`Proof`] | before its registration is answered | with its application; at start, when its directories are gone |
//! | secret | application, its secret | when it is handed over | when it is taken back |
//! | attempt | application, attempt, merge directories, sub-directories | with its first executor | when it is over and its files are deleted |
//! | finalized | application, attempt, shuffle, merge, and room for what a later release adds | before its partitions are closed | when it has a successor, or the attempt is over |
//! | tally | how many records and bytes there are, and a keyed sum of all of them | with every change | never |
//!
//! | module | knows |
//! |---|---|
//! | `file` | directory, modes, making the file whole, opening it |
//! | `header` | the clear front: magic, version, wrapped node key |
//! | `seal` | sub-keys, names of records, sealing a value |
//! | `record` | what a record holds, as bytes |
//! | `tally` | the sum that tells records that were taken away or put back |
//! | `change`, `queue`, `writer` | what is changed; group commit |
//! | `backlog` | changes that could not be written, until they are |
//! | `rewrap` | the node key after a rotation of the key that wraps it |
//! | `sightings` | a file beside it: who used which channel |
//! | `load` | reading everything; `applications` takes it up again |
//! | [`error`](StateError) | why a store is not opened |
//!
//! # Sealing
//!
//! One file, `<spark.sealed.state.dir>/recovery.redb` (0600, its directory 0700), with two tables. `header` has one
//! clear record. In `records` nothing is clear but the kinds:
//!
//! ```text
//! node key     32 bytes, wrapped by the key service under the context of the node (application id `node/recovery-store`,
//!              which is no file name, so that no application can have files under it)
//! sub-keys   = HKDF-SHA256(ikm = node key, salt = the header's salt, info = label ‖ version), 32 bytes each, for names,
//!              values, the tally, and the header's check
//! name       = tag(application) ‖ kind (1 byte) ‖ tag(what it is of the application) …
//! tag        = first 16 bytes of HMAC-SHA256(names key, each part after its length)
//! value      = salt (32 random bytes) ‖ AES-256-GCM under HKDF-SHA256(values key, salt, label), nonce 0,
//!              associated data = version ‖ name
//! ```
//!
//! A value has a key of its own, so that no nonce is ever counted or repeated. A record under another name, of another
//! kind or version does not open. If a record was taken away, or an older one was put back, the tally does not fit. The
//! file shows how many applications there are, how many records of which kind each has, their sizes, and which change
//! together.
//!
//! **Two cases are not detected**: somebody puts the whole file back as it was at an earlier commit (redb keeps the
//! commit before the newest in the file, so damage to the newest can have the same effect), or removes the file, which
//! looks like a first start. Both give older truths: directories are judged anew, merged files verify by themselves, and
//! a partition that is finalized is not made anew, whatever is remembered of it (`sealed_files`). An application that has
//! begun a later attempt since is refused with it until an executor of that attempt registers.
//!
//! # Durability
//!
//! A commit is on the disk (`fsync`) before anybody is told, and is whole or not there after a kill or a power loss:
//! redb writes copies and switches between them. Changes that wait together share a commit. A registration is answered,
//! and a merge is told to be finalized, after its commit. Changes are committed in order, so the beginning of an attempt is
//! committed before the registration that began it. The end of something is committed soon.
//!
//! While the disk fails, or does not answer within 4 s, registrations are answered without their record, since Spark's
//! executors wait 5 s, and merges are reported as not merged. What is true and not on the disk is kept in memory, counted
//! ([`StateCounters::unwritten`]) and written as soon as the disk takes it; begin and end of that are logged. Nothing waits
//! for a place in the queue.
//!
//! # Versions
//!
//! The header has a version; this release reads and writes 1. A newer one is refused: a release does not guess what a
//! newer one meant. An older one will be brought up in one transaction when it is opened, so that it is whole in either
//! version; the way back is the newer release, or moving the file away, which forgets registrations. A change that a
//! reader of version 1 could misread takes a new version; what is added to the room in a finalized record does not.
//!
//! Origin: `ExternalShuffleBlockResolver.registeredExecutorFile`, `YarnShuffleService.secretsFile` and
//! `RemoteBlockPushResolver.recoveryFile`, Spark 4.3.0, whose stores hold all of this in clear.

mod backlog;
mod change;
mod error;
mod file;
mod header;
mod journal;
mod load;
mod queue;
mod record;
mod rewrap;
mod seal;
mod sightings;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tracing::info;

use self::change::Change;
pub use self::error::StateError;
pub use self::file::FILE_NAME;
use self::header::Header;
pub use self::load::{RecoveredExecutor, Recovery};
pub use self::queue::StateCounters;
use self::queue::{Keep, Queue};
use self::record::ExecutorRecord;
pub use self::rewrap::KeyNeed;
use self::rewrap::UnlockedStore;
use self::seal::StateKeys;
pub(crate) use self::sightings::Sighting;
use crate::disk::Proof;
use crate::keys::envelope::KeyProvider;
use crate::receipt::WriteReceipt;

/// The application id in the node key's context. No plain file name: an application that bears it has no files.
const NODE_APP: &str = "node/recovery-store";

/// The application id that the context of the node key has; the rest of the context is the server's own.
pub fn node_app() -> AppId {
    AppId::new(NODE_APP)
}

/// The open store. Dropping it writes what waits, and closes it.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// As it stands in the file.
    header: Mutex<Header>,
    keys: Arc<StateKeys>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Applications of which nothing is written.
    exempt: RwLock<HashSet<AppId>>,
    /// Where the file is opened and closed: it does not wait for disks with blocks.
    lane: Lane,
    #[cfg(test)]
    pub(crate) gate: Arc<writer::Gate>,
}

/// A node key and its wrapped form.
#[derive(Debug)]
struct NodeKey {
    key: DataKey,
    wrapped: WrappedKey,
}

impl State {
    /// Opens the store in `dir`, or makes it where there is none, and reads all that is in it. `context` is that of
    /// [`node_app`]. Asks `provider` for one key. Whatever is wrong with a store that is there is an error.
    pub async fn open(
        dir: &Path,
        provider: &dyn KeyProvider,
        context: &Context,
    ) -> Result<(Arc<Self>, Recovery), StateError> {
        let (path, lane) = (dir.join(FILE_NAME), Lane::new(1));
        if let Some(found) = Self::unlock(&lane, &path, provider, context).await? {
            let found = Self::up_to_date(&lane, &path, provider, context, found).await?;
            let (of, path_of) = (lane.clone(), path.clone());
            return on_disk(&of, &path_of, move |on| Self::begin(on, path, lane, found)).await;
        }
        let generated = provider.generate(context).await;
        let (key, wrapped) = generated.map_err(|error| StateError::key(&path, error))?;
        let node = NodeKey { key, wrapped };
        let (of, path_of) = (lane.clone(), path.clone());
        on_disk(&of, &path_of, move |on| {
            file::make(on, &path, &node)?;
            info!(file = %path.display(), "made the recovery store");
            let opened = file::open(on, &path)?;
            let (database, header) = opened.ok_or_else(|| StateError::vanished(&path))?;
            Self::begin(on, path, lane, UnlockedStore { database, header, key: node.key })
        })
        .await
    }

    fn begin(
        on: &OnLane,
        path: PathBuf,
        lane: Lane,
        found: UnlockedStore,
    ) -> Result<(Arc<Self>, Recovery), StateError> {
        let UnlockedStore { database, header, key } = found;
        let keys = Arc::new(StateKeys::derive(&key, &header.salt));
        if !header.fits(&keys) {
            return Err(StateError::wrong_key(&path));
        }
        let mut database = database;
        let recovered = load::load(on, &path, &database, &keys)?;
        file::compact(on, &path, &mut database, recovered.bytes);
        let queue = Arc::new(Queue::new(recovered.records));
        #[cfg(test)]
        let gate = Arc::new(writer::Gate::default());
        let writer = writer::start(
            path.clone(),
            Some(database),
            Arc::clone(&keys),
            Arc::clone(&queue),
            #[cfg(test)]
            Arc::clone(&gate),
        );
        let writer = writer.map_err(|error| StateError::io(&path, "begun with", &error))?;
        let state = Self {
            path,
            header: Mutex::new(header),
            keys,
            queue,
            writer: Mutex::new(Some(writer)),
            exempt: RwLock::default(),
            lane,
            #[cfg(test)]
            gate,
        };
        Ok((Arc::new(state), recovered))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An executor has registered. The registration is answered when this is written, or cannot be for now. Waits for
    /// nothing.
    pub fn executor<S: AsRef<str>>(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
        proof: Proof,
    ) -> WriteReceipt {
        if self.is_exempt(app) {
            return WriteReceipt::at_once(true);
        }
        let text = ExecutorRecord::encode(app, executor, dirs, sub_dirs, shuffle_manager, proof);
        self.put(self.keys.executor(app, executor), text)
    }

    /// Forgets an executor.
    pub fn forget_executor(&self, app: &AppId, executor: &ExecutorId) -> WriteReceipt {
        self.change(vec![Change::Delete { name: self.keys.executor(app, executor) }])
    }

    /// Forgets an application that is over, but for its attempts: they are forgotten when their files are deleted
    /// ([`Journal::over`](crate::merge::Journal::over)).
    pub fn forget(&self, app: &AppId) -> WriteReceipt {
        let executors = Change::DeleteAll { prefix: self.keys.executors_of(app) };
        let secret = Change::Delete { name: self.keys.secret(app) };
        let finalized = Change::DeleteAll { prefix: self.keys.all_finalized_of(app) };
        self.change(vec![executors, secret, finalized])
    }

    /// An application has proven its identity: forgets its executors that were registered without proof. Executors with
    /// proof stay, whichever came first.
    pub fn forget_unproven(&self, app: &AppId) -> WriteReceipt {
        self.change(vec![Change::DeleteUnproven { prefix: self.keys.executors_of(app) }])
    }

    /// The secret of an application was handed over.
    pub fn remember_secret(&self, app: &AppId, secret: &AppSecret) -> WriteReceipt {
        // Whoever brings it is told that it is not taken, and brings it again.
        self.put_as(self.keys.secret(app), &record::secret(app, secret), Keep::UntilAnswered)
    }

    /// The secret of an application was taken back.
    pub fn forget_secret(&self, app: &AppId) -> WriteReceipt {
        self.change(vec![Change::Delete { name: self.keys.secret(app) }])
    }

    /// An application asked to be in no record (`spark.yarn.shuffle.server.recovery.disabled`). Forgets its records, and
    /// writes none until [`State::exempt_no_more`].
    pub fn exempt(&self, app: &AppId) -> WriteReceipt {
        self.exempt.write().unwrap_or_else(PoisonError::into_inner).insert(app.clone());
        self.change(vec![Change::DeleteAll { prefix: self.keys.of(app) }])
    }

    /// The application is over, or has thought better of it.
    pub fn exempt_no_more(&self, app: &AppId) {
        self.exempt.write().unwrap_or_else(PoisonError::into_inner).remove(app);
    }

    pub(crate) fn is_exempt(&self, app: &AppId) -> bool {
        self.exempt.read().unwrap_or_else(PoisonError::into_inner).contains(app)
    }

    /// The store in numbers.
    pub fn counters(&self) -> StateCounters {
        self.queue.counters()
    }

    /// Somebody has waited for a change as long as he can. Says so, once.
    pub fn is_late(&self) {
        self.queue.is_late();
    }

    /// Where [`State::close`] runs.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Writes the changes that wait, and closes the file. Later changes are lost, and counted as lost.
    pub fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so.
            _ = writer.join();
        }
    }

    /// Takes changes again after [`State::close`]. The file is opened with the first one.
    pub fn resume(&self) -> io::Result<()> {
        self.queue.reopen();
        let (path, keys, queue) = (self.path.clone(), Arc::clone(&self.keys), Arc::clone(&self.queue));
        let writer = writer::start(
            path,
            None,
            keys,
            queue,
            #[cfg(test)]
            Arc::clone(&self.gate),
        )?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    fn header(&self) -> MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: Vec<u8>, text: record::Text) -> WriteReceipt {
        self.put_as(name, &text, Keep::UntilWritten)
    }

    fn put_as(&self, name: Vec<u8>, text: &record::Text, keep: Keep) -> WriteReceipt {
        match self.keys.seal(&name, text) {
            Ok(value) => self.queue.push(vec![Change::Put { name, value }], keep),
            Err(error) => self.queue.refuse(&error),
        }
    }

    fn change(&self, changes: Vec<Change>) -> WriteReceipt {
        self.queue.push(changes, Keep::UntilWritten)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.close();
    }
}

async fn on_disk<T: Send + 'static>(
    lane: &Lane,
    path: &Path,
    work: impl FnOnce(&OnLane) -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let done = lane.run(work).await;
    done.unwrap_or_else(|error| Err(StateError::io(path, "opened", &error)))
}
