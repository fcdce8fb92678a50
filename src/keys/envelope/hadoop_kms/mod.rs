//! Hadoop KMS, through its REST interface.
//!
//! The service makes encrypted keys (EEK): random bytes, encrypted under the newest version of a key. It opens them for
//! users that may. An EEK is AES-CTR, which authenticates nothing, so its bytes are no data key here. They make the key that
//! seals the data key, with its context ([`form`]).
//!
//! | module | knows |
//! |---|---|
//! | [`form`] | the wrapped form of a data key |
//! | [`rest`] | the two calls, and what the service answers |
//! | [`host`] | one request to one host, over HTTP or HTTPS |
//!
//! A wrapped key carries the name of the version (`KEY@N`), so older ones open after a roll-over. Each call goes to the first
//! host, and to the next ones where that brings no answer, for as long as `spark.sealed.keys.timeout`. The user is told as
//! Hadoop's `simple` authentication wants it; Kerberos is not spoken.
//!
//! Origin: `KMSClientProvider` and the document of the REST interface, Hadoop 3.4; checked with a server of 3.4.3.

mod form;
mod host;
mod rest;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealed_shuffle_config::HadoopKmsUri;
use sealed_shuffle_protocol::crypto::random::Random as _;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_transport::random::OsRandom;
use tracing::warn;

use self::form::EncryptedKey;
use self::rest::Rest;
use super::error::{KeyError, KeyErrorKind};
use super::provider::{Answer, KeyProvider};
use super::seal::Fault;

/// How long the newest version of the key is taken for the newest. The recovery store asks every few seconds.
const NEWEST: Duration = Duration::from_secs(300);

/// The provider `hadoop-kms`.
#[derive(Debug)]
pub struct HadoopKmsKeys {
    rest: Rest,
    key_name: String,
    /// The version that the service wrapped with last, and when.
    newest: Mutex<Option<(Instant, String)>>,
}

impl HadoopKmsKeys {
    /// Checks the key, and the authorities that vouch for the service. A key that cannot work is an error. If nobody answers,
    /// or we are denied, that is logged and is no error: it may pass.
    pub async fn open(
        uri: HadoopKmsUri,
        key_name: &str,
        user: &str,
        ca_file: Option<PathBuf>,
        timeout: Duration,
    ) -> Result<Self, KeyError> {
        let trust = match uri.is_secure {
            true => Some(host::trust(ca_file).await.map_err(|(reason, remedy)| {
                KeyError::new(KeyErrorKind::Misconfigured, key_name, reason, remedy)
            })?),
            false => None,
        };
        let keys = Self {
            rest: Rest::new(uri, user, trust, timeout),
            key_name: key_name.to_owned(),
            newest: Mutex::default(),
        };
        match keys.encrypted_key().await {
            Err(error) if error.kind().may_pass() => {
                warn!(%error, "Hadoop KMS does not let the key be used now: sealed data waits for it");
            }
            checked => _ = checked?,
        }
        Ok(keys)
    }

    /// A new encrypted key, under the newest version.
    async fn encrypted_key(&self) -> Result<EncryptedKey, KeyError> {
        let encrypted = self.rest.generate(&self.key_name).await?;
        *self.newest() = Some((Instant::now(), encrypted.version.clone()));
        Ok(encrypted)
    }

    fn newest(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn new_key(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let data_key = DataKey::fill_with(|out| OsRandom.fill(out)).map_err(|error| {
            let reason = format!("no random bytes for a data key: {error}");
            KeyError::new(KeyErrorKind::Unavailable, &self.key_name, reason, "try again")
        })?;
        let wrapped = self.wrap_key(&data_key, context).await?;
        Ok((data_key, wrapped))
    }

    async fn wrap_key(&self, data_key: &DataKey, context: &Context) -> Result<WrappedKey, KeyError> {
        let encrypted = self.encrypted_key().await?;
        let clear = self.rest.decrypt(&encrypted).await?;
        let bytes = form::wrap(&encrypted, &clear, data_key, context).map_err(|error| {
            let reason = format!("no random bytes to seal a data key with: {error}");
            KeyError::new(KeyErrorKind::Unavailable, &self.key_name, reason, "try again")
        })?;
        Ok(WrappedKey { key_id: encrypted.version, bytes })
    }

    async fn open_key(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        let refused = |fault| {
            let reason = match fault {
                Fault::Shape => "the wrapped data key is none of Hadoop KMS",
                Fault::Tag => {
                    "the data key was wrapped for another application, cluster or node, or was changed"
                }
            };
            KeyError::new(
                KeyErrorKind::WrongContext,
                &wrapped.key_id,
                reason,
                "look at where the file came from; spark.sealed.cluster.name and spark.sealed.node.id must be what they \
                 were when it was written",
            )
        };
        let (encrypted, sealed) = form::parse(&wrapped.key_id, &wrapped.bytes).map_err(refused)?;
        let clear = self.rest.decrypt(&encrypted).await?;
        form::unwrap(&encrypted, &clear, &sealed, context).map_err(refused)
    }
}

impl KeyProvider for HadoopKmsKeys {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        Box::pin(self.new_key(context))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        Box::pin(self.open_key(wrapped, context))
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a Context) -> Answer<'a, WrappedKey> {
        Box::pin(self.wrap_key(key, context))
    }

    fn wraps_with(&self) -> Answer<'_, Option<String>> {
        Box::pin(async {
            let known = self.newest().clone().filter(|(at, _)| at.elapsed() < NEWEST);
            match known {
                Some((_, version)) => Ok(Some(version)),
                None => Ok(Some(self.encrypted_key().await?.version)),
            }
        })
    }

    fn describe(&self) -> String {
        format!("Hadoop KMS at {}, key {}", self.rest.uri(), self.key_name)
    }

    fn name(&self) -> &'static str {
        "hadoop-kms"
    }
}
