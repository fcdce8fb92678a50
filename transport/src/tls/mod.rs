//! TLS for Spark's transport: `spark.ssl.rpc.*` at both ends.
//!
//! ```text
//! TlsConfig ─► material/ ─► Material ─► side ─► rustls's configuration ─► TlsLayer, one a connection
//!  (words)     opens files   DER          └── live: looks for new files and swaps the configuration
//! ```
//!
//! [`LiveServerTls`] and [`LiveClientTls`] are what server and client hold; a connection takes the configuration of
//! the moment and keeps it. Invariants: the cryptography is aws-lc-rs, named explicitly, whatever the process has
//! installed; a client trusts nobody whom it was not told to trust; passwords and keys are never printed.

mod certificate;
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

/// Every suite that is offered, by the names of Java and IANA.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied()
}

/// The provider, with the suites that may be used.
fn provider(suites: Vec<SupportedCipherSuite>) -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

    // Named, since rustls orders its default by a feature that other crates in the same program may switch on.
    let groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768];
    Arc::new(CryptoProvider { cipher_suites: suites, kx_groups: groups, ..default_provider() })
}

/// Java's and IANA's name of a suite; rustls writes those of TLS 1.3 otherwise.
fn suite_name(suite: SupportedCipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite.suite() {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unnamed"),
    }
}

/// A time since 1970 as an operator reads it.
pub fn date(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
