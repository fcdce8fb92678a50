//! What is compared: ways of protecting a connection, and what is done over it.

use sealed_shuffle_interop_tests::mode::{Auth, Cipher, Mode};
use sealed_shuffle_interop_tests::service::{SECRET, Service};
use sealed_shuffle_interop_tests::tls::Stores;

use crate::SPARK;

/// What the client does, and so what the cost is counted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Takes blocks over a few connections that stay.
    Blocks,
    /// Opens and authenticates connections, and closes each at once.
    Handshakes,
}

impl Work {
    /// What a cost is counted in. Seconds for a thousand are milliseconds for one.
    pub(crate) fn cost_unit(self) -> &'static str {
        match self {
            Self::Blocks => "CPU-s/GB",
            Self::Handshakes => "CPU-ms each",
        }
    }

    /// What is done in a second.
    pub(crate) fn rate_unit(self) -> &'static str {
        match self {
            Self::Blocks => "GB/s",
            Self::Handshakes => "1000/s",
        }
    }
}

/// One row of the figures.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    mode: Mode,
    /// The most that ours may cost, as a part of what Spark's costs.
    pub(crate) bound: Option<f64>,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let (ctr, gcm) = (Mode::aes(SPARK, Cipher::Ctr, 1), Mode::aes(SPARK, Cipher::Gcm, 2));
        let (bare, sasl) = (Mode::new(SPARK, Auth::None), Mode::new(SPARK, Auth::Sasl));
        let tls = |mode: Mode| mode.inside_tls(Stores::Pkcs12);
        let blocks = |name, mode, bound| Self { name, work: Work::Blocks, mode, bound };
        let handshakes = |name, mode, bound| Self { name, work: Work::Handshakes, mode, bound };
        vec![
            blocks("ctr-v1", ctr, Some(1.0 / 3.0)),
            blocks("gcm-v2", gcm, Some(1.0 / 4.0)),
            blocks("tls", tls(bare), Some(1.0 / 4.0)),
            blocks("tls-sasl", tls(sasl), Some(1.0 / 4.0)),
            blocks("plaintext", bare, None),
            handshakes("handshake-v1", ctr, Some(1.0 / 10.0)),
            handshakes("handshake-v2", gcm, Some(1.0 / 10.0)),
            handshakes("handshake-sasl", sasl, None),
            handshakes("handshake-tls", tls(bare), None),
            // What of the others is not the handshake.
            handshakes("connection", bare, None),
        ]
    }

    /// All names, for the help.
    pub(crate) fn names() -> String {
        Self::all().iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
    }

    /// The secret of both ends, where they authenticate.
    pub(crate) fn secret(&self) -> Option<&'static str> {
        self.mode.authenticates().then_some(SECRET)
    }

    pub(crate) fn client_conf(&self) -> Vec<(&'static str, String)> {
        self.mode.client_conf()
    }

    pub(crate) fn service_conf(&self, service: Service) -> Vec<(&'static str, String)> {
        self.mode.service_conf(service)
    }
}
