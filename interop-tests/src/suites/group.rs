//! The groups of Spark's suites, by the class of ours behind which they run.

/// Suites that reach the service through one class, which stands before Spark's class of the same name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Group {
    /// `TransportServer`: connections, handshakes, TLS, requests.
    Wire,
    /// `ExternalBlockHandler`: every message, with the blocks that the suite knows.
    Handler,
    /// `ExternalShuffleBlockResolver`: blocks by name, and their removal.
    Resolver,
    /// `LocalDirValidator`: the directories that an executor may have.
    Directories,
    /// `RemoteBlockPushResolver`: pushes piece by piece, finalization, merged reads.
    Push,
    /// Whole applications, in which one server of many is ours.
    Applications,
}

impl Group {
    /// The groups of the network modules, whose suites need no more of Spark than these.
    pub const NETWORK: [Self; 5] = [Self::Wire, Self::Handler, Self::Resolver, Self::Directories, Self::Push];

    /// Of its directory in `spark-suites/`, and of its list of expectations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Handler => "handler",
            Self::Resolver => "resolver",
            Self::Directories => "directories",
            Self::Push => "push",
            Self::Applications => "applications",
        }
    }

    /// Its suites, by class name below `org.apache.spark`; a release may lack some.
    pub fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Wire => &[
                "network.client.TransportClientFactorySuite",
                "network.client.SslTransportClientFactorySuite",
                "network.sasl.SaslIntegrationSuite",
                "network.shuffle.AppIsolationSuite",
                "network.shuffle.ExternalShuffleIntegrationSuite",
                "network.shuffle.SslExternalShuffleIntegrationSuite",
                "network.shuffle.ExternalShuffleSecuritySuite",
                "network.shuffle.SslExternalShuffleSecuritySuite",
            ],
            Self::Handler => &["network.shuffle.ExternalBlockHandlerSuite"],
            Self::Resolver => &["network.shuffle.ExternalShuffleBlockResolverSuite"],
            Self::Directories => &["network.shuffle.LocalDirValidatorSuite"],
            Self::Push => &["network.shuffle.RemoteBlockPushResolverSuite"],
            Self::Applications => &["ExternalShuffleServiceSuite"],
        }
    }
}
