//! What is compared: ways of protecting a connection, and what is done over it.

use sealed_shuffle_client::Settings;
use sealed_shuffle_interop_tests::fixture::SECRET;
use sealed_shuffle_interop_tests::merger::PUSH_RESOLVER;
use sealed_shuffle_interop_tests::modes::{Auth, Cipher, Mode, Service, Stores};
use sealed_shuffle_interop_tests::ours;

/// The release of Spark that ours is compared with.
pub(crate) const SPARK: &str = "4.3.0";

/// What the client does, and so what the cost is counted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Takes blocks over a few connections that stay.
    Blocks,
    /// The same with blocks so small that requests and frames cost more than bytes.
    SmallBlocks,
    /// Opens and authenticates connections, and closes each at once.
    Handshakes,
    /// Pushes blocks to be merged, and finalizes.
    Push,
    /// Takes what was merged, chunk by chunk.
    Merged,
}

impl Work {
    pub(crate) const ALL: [Self; 5] =
        [Self::Blocks, Self::SmallBlocks, Self::Handshakes, Self::Push, Self::Merged];

    /// What a cost is counted in: seconds for a thousand are milliseconds for one.
    pub(crate) fn cost_unit(self) -> &'static str {
        match self {
            Self::Blocks | Self::Push | Self::Merged => "CPU-s/GB",
            Self::SmallBlocks => "CPU-µs/block",
            Self::Handshakes => "CPU-ms each",
        }
    }

    /// What is done in a second.
    pub(crate) fn rate_unit(self) -> &'static str {
        match self {
            Self::Blocks | Self::SmallBlocks | Self::Push | Self::Merged => "GB/s",
            Self::Handshakes => "1000/s",
        }
    }

    /// Whether the services are told to merge.
    pub(crate) fn merges(self) -> bool {
        matches!(self, Self::Push | Self::Merged)
    }

    /// What ours is compared with, as a possessive.
    pub(crate) fn other(self) -> &'static str {
        match self {
            Self::Blocks | Self::SmallBlocks | Self::Handshakes | Self::Push => "Spark's",
            Self::Merged => "our plain blocks'",
        }
    }
}

/// Whose client is the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Clients {
    /// Spark's on both services.
    Spark,
    /// Ours on both.
    Ours,
    /// Ours on our server, Spark's on Spark's service: what each whole moves.
    EachItsOwn,
}

impl Clients {
    /// Whose client loads this service.
    pub(crate) fn of(self, service: Service) -> Service {
        match self {
            Self::Spark => Service::Spark,
            Self::Ours => Service::Ours,
            Self::EachItsOwn => service,
        }
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// The most that ours may cost, as a part of what the other costs ([`Work::other`]).
    Cost(f64),
    /// The least that ours must do in a second, as a multiple of what Spark's does.
    Rate(f64),
}

/// One row of the figures.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) clients: Clients,
    mode: Mode,
    pub(crate) bound: Option<Bound>,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let (ctr, gcm) = (Mode::aes(SPARK, Cipher::Ctr, 1), Mode::aes(SPARK, Cipher::Gcm, 2));
        let (bare, sasl) = (Mode::new(SPARK, Auth::None), Mode::new(SPARK, Auth::Sasl));
        let tls = |mode: Mode| mode.inside_tls(Stores::Pkcs12);
        let case = |work, name, mode, bound: Option<f64>| Self {
            name,
            work,
            clients: Clients::Spark,
            mode,
            bound: bound.map(Bound::Cost),
        };
        let blocks = |name, mode, bound| case(Work::Blocks, name, mode, bound);
        let handshakes = |name, mode, bound| case(Work::Handshakes, name, mode, bound);
        vec![
            blocks("plaintext", bare, Some(0.6)),
            blocks("ctr-v1", ctr, Some(1.0 / 3.0)),
            blocks("gcm-v2", gcm, Some(1.0 / 4.0)),
            blocks("tls", tls(bare), Some(1.0 / 5.0)),
            blocks("tls-sasl", tls(sasl), Some(1.0 / 5.0)),
            Self { clients: Clients::Ours, ..blocks("our-client-ctr", ctr, None) },
            Self { clients: Clients::Ours, ..blocks("our-client-gcm", gcm, None) },
            Self {
                clients: Clients::EachItsOwn,
                bound: Some(Bound::Rate(3.0)),
                ..blocks("own-client-ctr", ctr, None)
            },
            case(Work::SmallBlocks, "small-ctr", ctr, Some(1.0 / 10.0)),
            handshakes("handshake-v1", ctr, Some(1.0 / 10.0)),
            handshakes("handshake-v2", gcm, Some(1.0 / 10.0)),
            handshakes("handshake-sasl", sasl, None),
            handshakes("handshake-tls", tls(bare), None),
            Self { clients: Clients::Ours, ..case(Work::Push, "push-ctr", ctr, Some(1.6)) },
            Self { clients: Clients::Ours, ..case(Work::Merged, "merged-ctr", ctr, Some(1.3)) },
            // What of the others is not the handshake.
            handshakes("connection", bare, None),
        ]
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Self {
        let case = Self::all().into_iter().find(|case| case.name == name);
        case.unwrap_or_else(|| panic!("no case {name:?}, but {}", Self::names()))
    }

    /// All names, for the help.
    pub(crate) fn names() -> String {
        Self::all().iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
    }

    /// For readers.
    pub(crate) fn title(&self) -> &'static str {
        match self.name {
            "ctr-v1" | "our-client-ctr" | "own-client-ctr" | "small-ctr" | "push-ctr" | "merged-ctr" => {
                "AES-CTR (v1)"
            }
            "gcm-v2" | "our-client-gcm" => "AES-GCM (v2)",
            "tls" => "TLS 1.3",
            "tls-sasl" => "TLS 1.3, SASL inside",
            name => name,
        }
    }

    /// The secret of both ends, where they authenticate.
    pub(crate) fn secret(&self) -> Option<&'static str> {
        self.mode.authenticates().then_some(SECRET)
    }

    pub(crate) fn client_conf(&self) -> Vec<(&'static str, String)> {
        self.mode.client_conf()
    }

    pub(crate) fn service_conf(&self, service: Service) -> Vec<(&'static str, String)> {
        let mut conf = self.mode.service_conf(service);
        if self.work.merges() {
            conf.push((PUSH_RESOLVER.0, PUSH_RESOLVER.1.to_owned()));
        }
        conf
    }

    /// What our client is told.
    pub(crate) fn our_client(&self) -> Settings {
        ours::settings(&self.mode, SECRET)
    }
}
