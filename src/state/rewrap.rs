//! The node key after a rotation of the key that wraps it.
//!
//! | when | what | then |
//! |---|---|---|
//! | a store is opened, or `keys rewrap` | **sealed anew**: a new node key, all records under it, in a new file in the old one's place | nothing that was ever wrapped under the old key opens it |
//! | the store is open | **wrapped anew**: the same node key, in a new header | the old key is not needed any more |
//!
//! Wrapping anew does not help where the old key leaked: whoever has a copy of the old header has the node key. A restart
//! seals anew.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};
use sealed_shuffle_transport::lane::Lane;
use sealed_shuffle_transport::random::random_bytes;
use tracing::{info, warn};

use super::change::Change;
use super::error::StateError;
use super::file::{self, FILE_NAME, RECORDS};
use super::header::Header;
use super::load;
use super::queue::Keep;
use super::seal::StateKeys;
use super::sightings::SightingsUnderNewKeys;
use super::tally::{self, Tally};
use super::{NodeKey, State, on_disk};
use crate::keys::envelope::KeyProvider;

/// A store whose key was had; its records are not read yet.
pub(super) struct UnlockedStore {
    pub(super) database: Database,
    pub(super) header: Header,
    pub(super) key: DataKey,
}

/// What needs a key of the key service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyNeed {
    /// The name of the wrapping key.
    pub key: String,
    /// What needs it, in words.
    pub by: String,
}

impl KeyNeed {
    pub(crate) fn of_store(key: &str) -> Self {
        Self { key: key.to_owned(), by: "the recovery store".to_owned() }
    }

    pub(crate) fn of_app(app: impl std::fmt::Display, key: &str) -> Self {
        Self { key: key.to_owned(), by: format!("new merged files of application {app}") }
    }
}

impl State {
    /// Opens the store in `dir` as far as its key; `None` where there is none.
    pub(super) async fn unlock(
        lane: &Lane,
        path: &Path,
        provider: &dyn KeyProvider,
        context: &Context,
    ) -> Result<Option<UnlockedStore>, StateError> {
        let asked = path.to_owned();
        let opened = on_disk(lane, path, move |on| file::open(on, &asked)).await?;
        let Some((database, header)) = opened else { return Ok(None) };
        let unwrapped = provider.unwrap(&header.key, context).await;
        let key = unwrapped.map_err(|error| StateError::key(path, error))?;
        Ok(Some(UnlockedStore { database, header, key }))
    }

    /// Seals a store anew that is under another key than the provider wraps with. Where that fails it stays as it is.
    pub(super) async fn up_to_date(
        lane: &Lane,
        path: &Path,
        provider: &dyn KeyProvider,
        context: &Context,
        found: UnlockedStore,
    ) -> Result<UnlockedStore, StateError> {
        let wraps = provider.wraps_with().await.ok().flatten();
        if wraps.is_none_or(|wraps| wraps == found.header.key.key_id) {
            return Ok(found);
        }
        match seal_anew(lane, path, provider, context, &found).await {
            Ok(()) => {
                drop(found);
                let again = Self::unlock(lane, path, provider, context).await?;
                again.ok_or_else(|| StateError::vanished(path))
            }
            Err(error) => {
                warn!(%error, "the recovery store stays under the key that it has");
                Ok(found)
            }
        }
    }

    /// Seals the store in `dir` anew, under a new node key; whether there is one. Nobody else may have it open.
    pub async fn rewrap(
        dir: &Path,
        provider: &dyn KeyProvider,
        context: &Context,
    ) -> Result<bool, StateError> {
        let (path, lane) = (dir.join(FILE_NAME), Lane::new(1));
        let Some(found) = Self::unlock(&lane, &path, provider, context).await? else { return Ok(false) };
        seal_anew(&lane, &path, provider, context, &found).await?;
        Ok(true)
    }

    /// What the store in `dir` needs keys for. Nobody else may have it open.
    pub async fn keys_needed(
        dir: &Path,
        provider: &dyn KeyProvider,
        context: &Context,
    ) -> Result<Vec<KeyNeed>, StateError> {
        let (path, lane) = (dir.join(FILE_NAME), Lane::new(1));
        let Some(UnlockedStore { database, header, key }) =
            Self::unlock(&lane, &path, provider, context).await?
        else {
            return Ok(Vec::new());
        };
        let store = KeyNeed::of_store(&header.key.key_id);
        let asked = path.clone();
        let recovered = on_disk(&lane, &path, move |on| {
            let keys = StateKeys::derive(&key, &header.salt);
            load::load(on, &asked, &database, &keys)
        });
        let merges = recovered.await?.merges;
        let apps =
            merges.iter().filter_map(|known| Some(KeyNeed::of_app(&known.app, &known.key.as_ref()?.key_id)));
        Ok([store].into_iter().chain(apps).collect())
    }

    /// The name of the key that wraps the node key.
    pub fn wrapping_key(&self) -> String {
        self.header().key.key_id.clone()
    }

    /// Wraps the node key anew where the provider wraps with another key by now.
    pub async fn keep_wrapped(
        &self,
        provider: &dyn KeyProvider,
        context: &Context,
    ) -> Result<(), StateError> {
        let failed = |error| StateError::key(&self.path, error);
        let before = self.header().clone();
        let wraps = provider.wraps_with().await.map_err(failed)?;
        if wraps.is_none_or(|wraps| wraps == before.key.key_id) {
            return Ok(());
        }
        let key = provider.unwrap(&before.key, context).await.map_err(failed)?;
        let wrapped = provider.wrap(&key, context).await.map_err(failed)?;
        let after = Header::new(&self.keys, before.salt, wrapped);
        // A failure has been logged, and is tried again.
        if self.queue.push(vec![Change::Header { encoded: after.encode() }], Keep::UntilAnswered).await {
            let (from, to) = (before.key.key_id, &after.key.key_id);
            info!(from, to, "the recovery store's key is wrapped anew");
            *self.header() = after;
        }
        Ok(())
    }
}

async fn seal_anew(
    lane: &Lane,
    path: &Path,
    provider: &dyn KeyProvider,
    context: &Context,
    found: &UnlockedStore,
) -> Result<(), StateError> {
    let generated = provider.generate(context).await;
    let (key, wrapped) = generated.map_err(|error| StateError::key(path, error))?;
    let node = NodeKey { key, wrapped };
    let old = StateKeys::derive(&found.key, &found.header.salt);
    if !found.header.fits(&old) {
        return Err(StateError::wrong_key(path));
    }
    let view = found.database.begin_read().map_err(|error| StateError::damaged(path, error))?;
    let (asked, from) = (path.to_owned(), found.header.key.key_id.clone());
    on_disk(lane, path, move |on| {
        let damaged = |error: &dyn std::fmt::Display| StateError::damaged(&asked, error);
        // Nothing is sealed anew that does not verify as it is.
        load::read(&asked, &view, &old)?;
        let salt = random_bytes().map_err(|error| StateError::io(&asked, "sealed anew", &error))?;
        let keys = StateKeys::derive(&node.key, &salt);
        let table = view.open_table(RECORDS).map_err(|error| damaged(&error))?;
        let (mut records, mut tally) = (Vec::new(), Tally::default());
        for entry in table.iter().map_err(|error| damaged(&error))? {
            let (name, value) = entry.map_err(|error| damaged(&error))?;
            if name.value() == tally::NAME {
                continue;
            }
            let (name, value) = again(&old, &keys, name.value(), value.value())
                .ok_or_else(|| damaged(&"a record cannot be sealed anew"))?;
            tally.add(&keys, &name, &value);
            records.push((name, value));
        }
        let header = Header::new(&keys, salt, node.wrapped.clone());
        let sightings = SightingsUnderNewKeys::of(on, &asked, &old, &keys);
        let sightings = sightings.map_err(|error| StateError::io(&asked, "sealed anew", &error))?;
        file::replace(on, &asked, &node, &header, &keys, &tally, &records)?;
        if let Some(Err(error)) = sightings.map(|sightings| sightings.put(on)) {
            warn!(%error, "the file of who used which channel stays under the old key: it is forgotten");
        }
        info!(from, to = node.wrapped.key_id, records = records.len(), "the recovery store is sealed anew");
        Ok(())
    })
    .await
}

/// A record under other keys.
fn again(old: &StateKeys, new: &StateKeys, name: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = old.open(name, value)?;
    let name = load::name_of(new, name, &text)?;
    let value = new.seal(&name, &text).ok()?;
    Some((name, value))
}
