//! TLS for Spark's transport: `spark.ssl.rpc.*` at both ends.
//!
//! ```text
//! TlsConfig ─► material/ ─► Material ─► side ─► rustls's configuration ─► TlsLayer, one a connection
//!  (words)     opens files   DER          └── live: checks for new files and swaps the configuration
//! ```
//!
//! Server and client hold [`LiveServerTls`] and [`LiveClientTls`]. A connection takes the current configuration and
//! keeps it. Invariants: the cryptography is aws-lc-rs, named explicitly, whatever provider the process has
//! installed; a client trusts only the authorities that it was told to trust; passwords and keys are never printed.

mod certificate;
#[cfg(any(test, feature = "dev-certificates"))]
pub mod dev;
mod error;
mod layer;
mod live;
pub mod material;
mod side;
mod trust;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::certificate::CertificateSummary;
pub use self::error::{TlsError, TlsFault};
pub use self::layer::{TlsFacts, TlsLayer};
pub use self::live::{LiveClientTls, LiveServerTls, LiveTls, Refresh};
pub use self::material::MaterialError;
pub use self::side::TlsSide;
pub use self::witness::Witness;

/// Every suite that is offered, by its name in Java and IANA.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied()
}

/// The provider with the suites that may be used.
fn provider(suites: Vec<SupportedCipherSuite>) -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

    // The suites are listed by name: other crates in the same program may switch on a feature of rustls that changes
    // its default order.
    let groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768];
    Arc::new(CryptoProvider { cipher_suites: suites, kx_groups: groups, ..default_provider() })
}

/// The name of a suite in Java and IANA. Rustls writes those of TLS 1.3 differently.
fn suite_name(suite: SupportedCipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite.suite() {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unnamed"),
    }
}

/// A time since 1970 in a form for operators.
pub fn date(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
