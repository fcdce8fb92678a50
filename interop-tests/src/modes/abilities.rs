//! What a release of Spark can speak.

use sealed_shuffle_protocol::cipher::has_broken_gcm;

use super::version::{number, patch};

/// What a release can speak, besides what all can: no proof, and SASL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Abilities {
    /// The AES handshake since Spark 3.1; before, there is another.
    pub x25519: bool,
    /// Version 2 of it, `spark.network.crypto.authEngineVersion`.
    pub engines: bool,
    /// `AES/GCM/NoPadding`.
    pub gcm: Gcm,
    /// `spark.ssl.rpc`.
    pub tls: bool,
}

/// `GcmTransportCipher` of a release.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gcm {
    /// It is not there.
    Absent,
    /// Its receiver takes one message of a connection and loses all others: nobody can speak it.
    Broken,
    /// It works.
    Sound,
}

impl Abilities {
    /// Those of a release from the archives of Spark. Of other builds the classes tell (`Peer::abilities`), which
    /// `tests/matrix.rs` compares with this.
    pub fn of(version: &str) -> Self {
        let (release, patch) = (number(version), patch(version));
        let gcm = match () {
            () if has_broken_gcm(release.0, release.1, patch) => Gcm::Broken,
            () if release >= (4, 0) || (release, patch) >= ((3, 5), 2) => Gcm::Sound,
            () => Gcm::Absent,
        };
        Self { x25519: release >= (3, 1), engines: release >= (3, 4), gcm, tls: release >= (4, 0) }
    }
}
