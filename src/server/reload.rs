//! What a running server takes from a configuration that was read again: policy, secrets, and what TLS shows.
//!
//! Everything new is built in full before anything old is replaced, so that a reload either happens or does not.
//! Connections go on as they were judged; the next one meets what is new.

use std::sync::Arc;

use sealed_shuffle_config::{ConfiguredSecret, ServerConfig, keys};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::tls::{LiveServerTls, MaterialError};
use tracing::info;

use super::Server;
use super::housekeeping::say_tls;
use super::start_error::{Cause, StartError};
use crate::keys::{Directory, DirectoryError, Source};

impl Server {
    /// Whether a reload replaces what this key says; other keys need a restart.
    pub(crate) fn reloads(key: &str) -> bool {
        keys::find(key).is_some_and(|key| key.reloads())
    }

    /// Counts what became of a configuration that was read again: an error says why it was not taken up.
    pub(crate) fn reloaded(&self, done: Result<(), &str>) {
        self.shared.metrics.reloaded(done.is_ok());
        if let Err(why) = done {
            self.shared.audit.not_reloaded(why);
        }
    }

    /// Takes policy, secrets and TLS from `config`, for connections that begin from now on. An error leaves everything as it was.
    pub fn reload(&self, config: &ServerConfig) -> Result<(), StartError> {
        let shared = &self.shared;
        let source = source(config).map_err(Cause::from)?;
        let tls = tls(config).map_err(Cause::from)?;
        shared.applications.secrets().replace(source);
        if let Some(tls) = &tls {
            say_tls(tls);
        }
        shared.tls.store(tls);
        let before = shared.policy.swap(Arc::new(config.policy.clone()));
        shared.audit.reloaded(&before.to_json(), &config.policy.to_json());
        shared.evidence.replace(config);
        info!(policy = %config.policy, "policy, secrets and TLS are in force as they were read");
        Ok(())
    }
}

/// Opens the key and certificates that a configuration names.
pub(super) fn tls(config: &ServerConfig) -> Result<Option<Arc<LiveServerTls>>, MaterialError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Ok(Some(Arc::new(LiveServerTls::load(tls.clone())?)))
}

/// Where the secrets of a configuration come from.
pub(super) fn source(config: &ServerConfig) -> Result<Source, DirectoryError> {
    let secret = |secret: &ConfiguredSecret| Arc::new(AppSecret::new(secret.text.to_string()));
    match (&config.secret, &config.secret_directory) {
        (Some(current), _) => Ok(Source::Shared {
            current: secret(current),
            previous: config.previous_secret.as_ref().map(secret),
        }),
        (None, Some(directory)) => Ok(Source::Directory(Directory::open(&directory.path, directory.wait)?)),
        (None, None) => Ok(Source::None),
    }
}
