//! Why keys and certificates cannot be used.

use std::error::Error;

use sealed_shuffle_config::AnyKey;
use sealed_shuffle_config::{ConfigError, Issue, Origin, TlsConfig, TlsFile, TlsSource, keys};

/// Keys or certificates cannot be used. The text has the key that named them, the file, the reason and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{issue}")]
pub struct MaterialError {
    /// The text for the operator.
    issue: Box<Issue>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl From<MaterialError> for ConfigError {
    fn from(error: MaterialError) -> Self {
        Self { issues: vec![*error.issue] }
    }
}

impl MaterialError {
    /// The text for the operator.
    pub fn issue(&self) -> &Issue {
        &self.issue
    }

    pub(super) fn of(file: &TlsFile, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let issue = Issue::new(file.key, reason, remedy)
            .with_value(file.path.display().to_string())
            .with_origin(file.origin.clone());
        Self { issue: Box::new(issue), source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn unreadable(file: &TlsFile, error: std::io::Error) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "name a file that exists",
            std::io::ErrorKind::IsADirectory => "name the file within",
            _ => "make it readable to this user alone",
        };
        Self::of(file, format!("it cannot be read by user {user}: {error}"), remedy).caused_by(error)
    }

    pub(super) fn wrong_password(file: &TlsFile) -> Self {
        let reason = match &file.password {
            Some(_) => "the password does not open it, or it is damaged".to_owned(),
            None => "it needs a password".to_owned(),
        };
        Self::of(file, reason, format!("set {} to the password it was made with", file.password_key))
    }

    pub(super) fn of_command(
        argv: &[String],
        origin: &Origin,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let issue = Issue::new(keys::TLS_COMMAND.name(), reason, remedy)
            .with_value(argv.first().map_or("", String::as_str))
            .with_origin(origin.clone());
        Self { issue: Box::new(issue), source: None }
    }

    /// The material as a whole cannot be used.
    pub(in crate::tls) fn unusable(
        config: &TlsConfig,
        reason: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut error = Self::of_source(config, format!("{reason} ({source})"), "");
        error.source = Some(source);
        error
    }

    pub(in crate::tls) fn no_identity(config: &TlsConfig) -> Self {
        Self::of_source(
            config,
            "there is no private key and certificate for the server",
            "add them; `sealed-shuffle certs dev DIR` makes some for trying out",
        )
    }

    pub(in crate::tls) fn nobody_trusted(config: &TlsConfig) -> Self {
        let remedy = match &config.source {
            TlsSource::Stores { .. } | TlsSource::Pem { .. } => {
                "set spark.ssl.rpc.trustStore to a PKCS12, JKS or PEM file with the authority's certificate"
            }
            _ => "add the authority's certificate to the trusted ones",
        };
        Self::of_source(
            config,
            "there are no trusted certificates, and the other side's must be checked",
            remedy,
        )
    }

    fn of_source(config: &TlsConfig, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        match &config.source {
            TlsSource::Stores { key_store: Some(file), .. }
            | TlsSource::Stores { trust_store: Some(file), .. }
            | TlsSource::Pem { chain: file, .. }
            | TlsSource::Bundle(file) => Self::of(file, reason, remedy),
            TlsSource::Command { argv, origin } => Self::of_command(argv, origin, reason, remedy),
            TlsSource::Stores { .. } => {
                let issue = Issue::new(keys::SSL_RPC_KEY_STORE.name(), reason, remedy);
                Self { issue: Box::new(issue), source: None }
            }
        }
    }
}
