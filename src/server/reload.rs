//! What a running server takes from a configuration that was read again: the policy and the secrets.
//!
//! Everything new is built in full before anything old is replaced, so that a reload either happens or does not.
//! Connections go on as they were judged; the next one meets what is new.

use std::sync::{Arc, PoisonError};

use sealed_shuffle_protocol::secret::AppSecret;
use tracing::info;

use super::{Server, StartError};
use crate::config::{AnyKey, ConfiguredSecret, ServerConfig, keys};
use crate::keys::{Directory, DirectoryError, Source};

/// The keys that a reload replaces.
static RELOADED: &[&dyn AnyKey] = &[
    &keys::AUTHENTICATE,
    &keys::AUTHENTICATE_SECRET,
    &keys::SECRET_FILE,
    &keys::PREVIOUS_SECRET_FILE,
    &keys::SECRET_DIR,
    &keys::SECRET_WAIT,
    &keys::SECURITY_MINIMUM,
    &keys::SECURITY_TARGET,
    &keys::SECURITY_ALLOW,
    &keys::SECURITY_APP_MINIMUM,
    &keys::SECURITY_APP_TARGET,
    &keys::SECURITY_APP_ALLOW,
];

impl Server {
    /// Whether a reload replaces what this key says; other keys need a restart.
    pub fn reloads(key: &str) -> bool {
        keys::find(key).is_some_and(|key| RELOADED.iter().any(|reloaded| reloaded.name() == key.name()))
    }

    /// Counts what became of a configuration that was read again.
    pub fn reloaded(&self, replaced: bool) {
        self.shared.metrics.reloaded(if replaced { "replaced" } else { "refused" });
    }

    /// Takes policy and secrets from `config`. An error leaves everything as it was.
    pub fn reload(&self, config: &ServerConfig) -> Result<(), StartError> {
        let shared = &self.shared;
        let source = source(config)?;
        // What else is to be reloaded (keys and certificates of TLS) is built here, before the first replacement.
        shared.secrets.replace(source);
        *shared.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.policy.clone());
        info!(policy = %config.policy, "policy and secrets are in force as they were read");
        Ok(())
    }
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
