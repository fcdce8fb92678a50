//! Envelope keys: each application has a data key that seals its data at rest, and a key service wraps that key.
//!
//! ```text
//! code that seals or opens ──► ring ──► provider: local key file | AWS KMS | Hadoop KMS | a program
//!                              keys in memory, one call each, outages
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`ring`](EnvelopeKeys) | the data keys of the applications, and the times to ask for them |
//! | [`provider`](KeyProvider) | the interface of a key service |
//! | [`loan`](Loan) | how long a key may be used |
//! | [`local`](LocalKeyFile) | wrapping keys in a file of this machine |
//! | `kms` (feature `aws-kms`) | AWS KMS |
//! | `hadoop_kms` (feature `hadoop-kms`) | Hadoop KMS |
//! | `seal` | a data key under another key, bound to its context |
//! | [`command`](CommandKeys) | a program that speaks to any other key service |
//! | `key_text` | keys as Base64 |
//! | [`witness`](KeyWitness) | whoever is told of each call, with the key service's own name for it |
//! | [`error`](KeyError) | the reasons why a data key cannot be had |
//!
//! Invariants: key bytes are in memory only, wiped, never logged, in no argument list and no environment; a data key
//! is bound to its application, cluster and, if one is named, node
//! ([`Context`](sealed_shuffle_protocol::stored::envelope::Context)); a missing key is an error with a remedy, and
//! data is never written in clear instead.

mod calls;
mod command;
mod error;
#[cfg(feature = "hadoop-kms")]
mod hadoop_kms;
mod key_text;
#[cfg(feature = "aws-kms")]
mod kms;
mod loan;
mod local;
mod provider;
mod ring;
mod seal;
mod witness;

use std::sync::Arc;

use sealed_shuffle_config::{EnvelopeConfig, KeySource, ServerConfig};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tracing::{info, warn};

pub use self::calls::{KeyCallFigures, KeyCalls};
pub use self::command::CommandKeys;
pub use self::error::{KeyError, KeyErrorKind};
#[cfg(feature = "hadoop-kms")]
pub use self::hadoop_kms::HadoopKmsKeys;
#[cfg(feature = "aws-kms")]
pub use self::kms::{KmsKeys, KmsSettings};
pub use self::loan::{Loan, LoanState};
pub use self::local::{KeyInFile, LocalKeyFile, shared_file_system};
pub use self::provider::{Answer, KeyProvider};
pub use self::ring::{AppKey, EnvelopeKeys, RingSettings};
use self::witness::Witnessed;
pub use self::witness::{KeyCall, KeyWitness};

impl EnvelopeKeys {
    /// The keys of a server with this configuration. Makes the local key file if there is none; checks whether a key
    /// of AWS KMS can work. An outage of the key service at start is logged and is no error.
    pub async fn from_config(config: &ServerConfig, metrics: KeyCalls) -> Result<Self, KeyError> {
        Self::witnessed(config, metrics, None).await
    }

    /// The same, with somebody who is told of each call.
    pub async fn witnessed(
        config: &ServerConfig,
        metrics: KeyCalls,
        witness: Option<Arc<dyn KeyWitness>>,
    ) -> Result<Self, KeyError> {
        let asked = config.clone();
        if let Ok(warnings) = Lane::new(1).run(move |on| warnings(on, &asked)).await {
            warnings.iter().for_each(|warning| warn!("{warning}"));
        }
        let provider = open_provider(&config.envelope).await?;
        info!("envelope keys: {}", provider.describe());
        let provider = match witness {
            Some(witness) => Arc::new(Witnessed { provider, witness }),
            None => provider,
        };
        let mut settings = RingSettings::new(config.envelope.outage, config.envelope.timeout);
        settings.cluster.clone_from(&config.envelope.cluster);
        settings.node.clone_from(&config.envelope.node);
        settings.most_applications = config.max_applications;
        Ok(Self::new(provider, settings, metrics))
    }
}

/// The provider that the configuration names. Makes the local key file if there is none.
pub async fn open_provider(config: &EnvelopeConfig) -> Result<Arc<dyn KeyProvider>, KeyError> {
    match &config.source {
        KeySource::LocalFile { path } => {
            let asked = path.clone();
            let opened = Lane::new(1).run(move |on| LocalKeyFile::open_or_make(on, &asked)).await;
            let (keys, made) = opened.unwrap_or_else(|error| {
                let reason = format!("the look into the key file was cut: {error}");
                Err(KeyError::new(KeyErrorKind::Unavailable, path.display().to_string(), reason, "try again"))
            })?;
            if made {
                let path = path.display();
                warn!(
                    "made the key file {path}: keep a copy of it elsewhere, what is sealed under it is lost with it"
                );
            }
            Ok(Arc::new(keys))
        }
        KeySource::Command { argv } => Ok(Arc::new(CommandKeys::new(argv.clone(), config.timeout))),
        #[cfg(feature = "aws-kms")]
        KeySource::AwsKms { key_id, endpoint, region } => {
            let mut settings = KmsSettings::new(key_id, config.timeout);
            settings.endpoint.clone_from(endpoint);
            settings.region.clone_from(region);
            Ok(Arc::new(KmsKeys::open(settings).await?))
        }
        #[cfg(feature = "hadoop-kms")]
        KeySource::HadoopKms { uri, key_name, user, ca_file } => Ok(Arc::new(
            HadoopKmsKeys::open(uri.clone(), key_name, user, ca_file.clone(), config.timeout).await?,
        )),
        #[cfg(not(feature = "hadoop-kms"))]
        KeySource::HadoopKms { key_name, .. } => Err(KeyError::new(
            KeyErrorKind::Misconfigured,
            key_name,
            "this program was built without Hadoop KMS",
            "build it with --features hadoop-kms",
        )),
        #[cfg(not(feature = "aws-kms"))]
        KeySource::AwsKms { key_id, .. } => Err(KeyError::new(
            KeyErrorKind::Misconfigured,
            key_id,
            "this program was built without AWS KMS",
            "build it with --features aws-kms",
        )),
    }
}

/// Warnings about the place of the keys. It looks at file systems and makes nothing.
pub fn warnings(on: &OnLane, config: &ServerConfig) -> Vec<String> {
    let KeySource::LocalFile { path } = &config.envelope.source else { return Vec::new() };
    let shared = shared_file_system(on, path, &config.roots.paths).map(|root| {
        format!(
            "the key file {} is on the same file system as {}, which it protects: who takes that disk has both; \
             put it elsewhere (spark.sealed.keys.file, spark.sealed.state.dir), or use a key service",
            path.display(),
            root.display()
        )
    });
    shared.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::ids::AppId;

    use super::*;
    use sealed_shuffle_config::Sources;
    use sealed_shuffle_config::fake::FakeEnvironment;

    fn config(root: &std::path::Path, more: &[String]) -> ServerConfig {
        let root = root.to_str().expect("temporary paths are text");
        let environment = FakeEnvironment::default()
            .with_var("SPARK_LOCAL_DIRS", root)
            .with_var("_SPARK_AUTH_SECRET", "s")
            .with_dir(root);
        let sources = Sources { conf: more.to_vec(), ..Sources::default() };
        ServerConfig::from_sources(&sources, &environment).unwrap()
    }

    #[tokio::test]
    async fn a_server_finds_its_keys_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let settings = [
            format!("spark.sealed.state.dir={}", dir.path().join("state").display()),
            "spark.sealed.node.id=n1".to_owned(),
        ];
        let config = config(dir.path(), &settings);
        let asked = config.clone();
        let said = Lane::new(1).run(move |on| warnings(on, &asked)).await.unwrap();
        let [warning] = &said[..] else { panic!("the file is on the data's disk") };
        assert!(warning.contains("state/keys"), "{warning}");
        assert!(!dir.path().join("state").exists(), "looking makes nothing");

        let app = AppId::new("app-1");
        let keys = EnvelopeKeys::from_config(&config, KeyCalls::default()).await.unwrap();
        let key = keys.current(&app).await.unwrap();
        let again = EnvelopeKeys::from_config(&config, KeyCalls::default()).await.unwrap();
        assert_eq!(again.unwrap(&app, &key.wrapped).await.unwrap().key, key.key);
        assert_eq!(again.context(&app), config.envelope.context(app.clone()));

        let mut moved = config.clone();
        moved.envelope.node = Some("n2".into());
        let moved = EnvelopeKeys::from_config(&moved, KeyCalls::default()).await.unwrap();
        let error = moved.unwrap(&app, &key.wrapped).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::WrongContext);
    }
}
