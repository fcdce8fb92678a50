//! The keys that sealed files are opened with.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_config::{EnvelopeConfig, KeySource, ProcessEnvironment};
use sealed_shuffle_protocol::stored::envelope::DataKey;
use sealed_shuffle_protocol::stored::sealed::Header;
use sealed_shuffle_transport::lane::OnLane;
use tokio::runtime::Runtime;

use super::super::{ConfigArgs, Exit, Failure, complain};
use crate::keys::envelope::{KeyProvider, LocalKeyFile, open_provider};

/// Data keys that are kept, at least one application's each.
const KEPT: usize = 1000;

/// A key service, if there is one to ask, and what it said.
pub(in crate::commands) struct Keys {
    runtime: Runtime,
    provider: Option<Arc<dyn KeyProvider>>,
    known: HashMap<(String, String, Bytes), Option<Arc<DataKey>>>,
}

impl Keys {
    /// The key service that `serve` uses with this configuration. Unless it is `demanded`, only a local key file that this
    /// user may read is taken.
    pub(in crate::commands) fn of(config: ConfigArgs, demanded: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::new(Exit::Failed, format!("cannot start: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let config = EnvelopeConfig::from_sources(&config.sources(), &ProcessEnvironment);
        let provider = match (config, demanded) {
            (Err(error), true) => return Err(error.into()),
            (Ok(config), true) => Some(runtime.block_on(open_provider(&config))?),
            (Ok(EnvelopeConfig { source: KeySource::LocalFile { path }, .. }), false) => {
                let opened = LocalKeyFile::open(&OnLane::here(), &path).ok();
                opened.map(|keys| Arc::new(keys) as Arc<dyn KeyProvider>)
            }
            _ => None,
        };
        Ok(Self { runtime, provider, known: HashMap::new() })
    }

    /// The data key of a file with this header.
    pub(in crate::commands) fn key(&mut self, header: &Header) -> Option<Arc<DataKey>> {
        let provider = self.provider.as_ref()?;
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let app = header.context.app.as_str().to_owned();
        let known = self
            .known
            .entry((app, header.key.key_id.clone(), header.key.bytes.clone()))
            .or_insert_with(|| match self.runtime.block_on(provider.unwrap(&header.key, &header.context)) {
                Ok(key) => Some(Arc::new(key)),
                Err(error) => {
                    complain(format_args!("files of {} are not opened: {error}", header.context.app));
                    None
                }
            });
        known.clone()
    }
}
