//! Which of Spark's suites run behind which class of ours.

use std::{collections::BTreeMap, fs};

use super::release::sources;

/// Suites that reach the service through one class, which stands before Spark's class of the same name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Group {
    /// `TransportServer`: connections, handshakes, TLS, requests.
    Wire,
    /// `ExternalBlockHandler`: every message, with blocks where the suite says.
    Handler,
    /// `ExternalShuffleBlockResolver`: blocks by name, and their removal.
    Resolver,
    /// `LocalDirValidator`: which directories an executor may have.
    Directories,
    /// `RemoteBlockPushResolver`: pushes piece by piece, finalization, merged reads.
    Push,
}

impl Group {
    /// All of them, the quick ones first.
    pub const ALL: [Self; 5] = [Self::Wire, Self::Handler, Self::Resolver, Self::Directories, Self::Push];

    /// Of its directory in `spark-suites/`, and of its list of expectations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Handler => "handler",
            Self::Resolver => "resolver",
            Self::Directories => "directories",
            Self::Push => "push",
        }
    }

    /// Its suites, by class name below `org.apache.spark.network`; not every release has all of them.
    pub fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Wire => &[
                "client.TransportClientFactorySuite",
                "client.SslTransportClientFactorySuite",
                "sasl.SaslIntegrationSuite",
                "shuffle.AppIsolationSuite",
                "shuffle.ExternalShuffleIntegrationSuite",
                "shuffle.SslExternalShuffleIntegrationSuite",
                "shuffle.ExternalShuffleSecuritySuite",
                "shuffle.SslExternalShuffleSecuritySuite",
            ],
            Self::Handler => &["shuffle.ExternalBlockHandlerSuite"],
            Self::Resolver => &["shuffle.ExternalShuffleBlockResolverSuite"],
            Self::Directories => &["shuffle.LocalDirValidatorSuite"],
            Self::Push => &["shuffle.RemoteBlockPushResolverSuite"],
        }
    }
}

/// The suites of the test jars that no service takes part in, each with its reason (`spark-suites/no-service.md`).
pub fn no_service() -> BTreeMap<String, String> {
    let path = sources().join("no-service.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    super::expectations::rows(&text)
        .map(|cells| {
            let [suite, reason] = cells[..] else { panic!("not a suite and its reason: {cells:?}") };
            (suite.to_owned(), reason.to_owned())
        })
        .collect()
}
