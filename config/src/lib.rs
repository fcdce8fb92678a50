//! Configuration: Spark's keys, Spark's files, and what Spark has no key for.
//!
//! ```text
//! flags, --conf, environment, file ──► Loaded ──► Values ──► ServerConfig, the client's settings
//!                                       texts       types      checked, with a report
//! ```
//!
//! [`keys`] is the one table of everything that can be set. Sources are read once into [`LoadedConfig`], which knows
//! where each value came from; [`Values`] turns texts into types, from which each room fills its settings. Invariants: a bad
//! value of a key that is read refuses the start, with all others that are bad; no secret is ever printed, by
//! `Debug` neither; the process environment and the file system are seen through [`Environment`] alone. The
//! commands call this before anything else is opened.

mod admin;
mod audit;
pub mod authentication;
mod bytes;
mod clean_up;
mod confinement;
mod descriptors;
mod envelope;
mod environment;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod hadoop_kms;
mod handover;
mod ignored;
mod java_options;
mod key;
pub mod keys;
mod listing;
mod load;
mod local_socket;
mod markdown;
mod merge_config;
mod notice;
mod origin;
mod policy;
pub mod properties;
mod quota;
mod report;
mod roots;
mod sasl;
pub mod secret;
mod server;
mod spark_release;
mod substitute;
#[cfg(test)]
mod tests;
pub mod tls;
mod traces;
mod unknown;
pub mod value;
mod values;

pub use self::admin::{AdminConfig, AdminPlaces, AdminSocket, AdminToken};
pub use self::audit::AuditConfig;
pub use self::authentication::Authentication;
pub use self::bytes::ByteCount;
pub use self::clean_up::CleanUpConfig;
pub use self::confinement::ConfinementConfig;
pub use self::envelope::{EnvelopeConfig, KeySource, OutagePolicy};
pub use self::environment::{
    Environment, FileVersion, MAX_FILE, PathStat, ProcessEnvironment, raise_descriptor_limit,
};
pub use self::error::{ConfigError, Issue};
pub use self::hadoop_kms::HadoopKmsUri;
pub use self::handover::HandoverConfig;
pub use self::key::{AnyKey, DefaultValue, Key, Reader};
pub use self::listing::{ListedKey, ListedValue, Listing, NameLookup, named};
pub use self::load::{FlagValue, IgnoredSetting, LoadedConfig, Sources};
pub use self::local_socket::SocketPlace;
pub use self::markdown::markdown_table;
pub use self::merge_config::MergeConfig;
pub use self::notice::Notice;
pub use self::origin::Origin;
pub use self::policy::{AppPolicy, Policy, Verdict};
pub use self::quota::QuotaConfig;
pub use self::report::{Effective, Report};
pub use self::roots::{RootSource, Roots};
pub use self::sasl::SaslSettings;
pub use self::secret::{ConfiguredSecret, SecretDirectory, SecretSource};
pub use self::server::{ServerConfig, ServerTimeouts, SocketOptions};
pub use self::spark_release::SparkRelease;
pub use self::tls::{Password, TlsConfig, TlsFile, TlsSource};
pub use self::traces::TracesConfig;
pub use self::value::{
    AtRest, Clears, ClientAuth, Extent, HttpEndpoint, KeySourceName, LogFormat, OnUnavailable, TlsVersions,
};
pub use self::values::{Values, read_sources};
