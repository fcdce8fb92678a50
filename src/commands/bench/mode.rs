//! The modes that are compared, and the settings of each end.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use sealed_shuffle_client::{ClientConfig, Security, Settings};
use sealed_shuffle_config::{ProcessEnvironment, Sources};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::tls::LiveClientTls;

use super::files::{BUNDLE, NO_PROPERTIES};
use crate::commands::{Exit, Failure};

/// A mode of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Mode {
    /// In clear and without authentication: the cost of framing, sockets and files.
    Plaintext,
    /// AES-CTR, engine version 1: Spark's default.
    AesCtr,
    /// AES-GCM, engine version 2.
    AesGcm,
    /// TLS 1.3, with SASL as the proof inside.
    Tls,
    /// SASL with 3DES.
    Sasl3des,
}

impl Mode {
    /// The default modes. 3DES would take minutes.
    pub(super) const USUAL: [Self; 4] = [Self::Plaintext, Self::AesCtr, Self::AesGcm, Self::Tls];

    /// The name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::AesCtr => "aes-ctr",
            Self::AesGcm => "aes-gcm",
            Self::Tls => "tls",
            Self::Sasl3des => "sasl-3des",
        }
    }

    /// The settings of the server.
    pub(super) fn server_conf(self, dir: &Path) -> Vec<String> {
        let set = |conf: &[&str]| conf.iter().map(|conf| (*conf).to_owned()).collect();
        match self {
            Self::Plaintext => set(&["spark.authenticate=false", "spark.sealed.security.minimum=plaintext"]),
            Self::AesCtr | Self::AesGcm => set(&["spark.sealed.security.target=aes-ctr"]),
            Self::Sasl3des => {
                set(&["spark.sealed.security.minimum=sasl-conf", "spark.sealed.security.target=sasl-conf"])
            }
            Self::Tls => {
                let mut conf: Vec<String> =
                    set(&["spark.sealed.security.minimum=tls", "spark.sealed.security.target=tls"]);
                conf.extend(tls_conf(dir));
                conf
            }
        }
    }

    /// The settings of the client.
    pub(super) fn client(self, secret: &str, dir: &Path) -> Result<Settings, Failure> {
        let secret = Arc::new(AppSecret::new(secret.to_owned()));
        let aes = |version, cipher| Security::Aes {
            secret: Arc::clone(&secret),
            mode: sealed_shuffle_protocol::cipher::SessionMode { version, cipher },
        };
        let sasl = |wanted| Security::Sasl { secret: Arc::clone(&secret), wanted, max_block: 64 << 10 };
        let settings = Settings::new(match self {
            Self::Plaintext => Security::Plaintext,
            Self::AesCtr => aes(EngineVersion::V1, SessionCipher::Ctr),
            Self::AesGcm => aes(EngineVersion::V2, SessionCipher::Gcm),
            Self::Tls => sasl(Demand::Auth),
            Self::Sasl3des => sasl(Demand::Conf(vec![SaslCipher::TripleDes])),
        });
        let tls = if self == Self::Tls { Some(Arc::new(client_tls(dir)?)) } else { None };
        // A failure must be seen here, and not be retried.
        Ok(settings.tls(tls).max_retries(0))
    }
}

fn tls_conf(dir: &Path) -> [String; 2] {
    let bundle = dir.join(BUNDLE);
    ["spark.ssl.rpc.enabled=true".to_owned(), format!("spark.sealed.tls.bundle={}", bundle.display())]
}

fn client_tls(dir: &Path) -> Result<LiveClientTls, Failure> {
    let mut conf = Vec::from(tls_conf(dir));
    conf.push("spark.authenticate=false".to_owned());
    let properties_file = Some(dir.join(NO_PROPERTIES));
    let sources = Sources { properties_file, conf, ..Sources::default() };
    let config = ClientConfig::from_sources(&sources, &ProcessEnvironment)?;
    let tls = config.tls.ok_or_else(|| Failure::new(Exit::Failed, "TLS was switched on and is not there"))?;
    LiveClientTls::load(tls).map_err(|error| Failure::new(Exit::Failed, error))
}
