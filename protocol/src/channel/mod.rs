//! How a connection is protected and how its peer proved itself: one description for log, metrics and the
//! table of applications.

mod level;

use crate::auth::EngineVersion;
use crate::cipher::{SessionCipher, SessionMode};
use crate::sasl::SaslCipher;

pub use self::level::SecurityLevel;

/// Everything that a server knows of the way that a connection speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Channel {
    /// The rung of the ladder that the policy judges.
    pub level: SecurityLevel,
    /// How the peer proved its application.
    pub handshake: Handshake,
    /// The cipher next to the frames or, under TLS, next to the socket: `AES/GCM/NoPadding`, `3des`, `none`.
    pub cipher: &'static str,
    /// The version of TLS around everything, where there is one.
    pub tls: Option<TlsVersion>,
}

/// How a peer proved its application.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Handshake {
    /// It proved none.
    None,
    /// SASL DIGEST-MD5.
    Sasl,
    /// The AES handshake of Spark 2.2 to 3.0.
    Pbkdf2,
    /// The X25519 handshake of Spark 3.1 and later; the session behind it shows the engine version.
    X25519(EngineVersion),
}

impl Handshake {
    /// One word for labels and columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sasl => "sasl-digest-md5",
            Self::Pbkdf2 => "aes-pbkdf2",
            Self::X25519(EngineVersion::V1) => "aes-x25519-v1",
            Self::X25519(EngineVersion::V2) => "aes-x25519-v2",
        }
    }
}

named! {
    /// A version of TLS that Spark and we speak, as `spark.ssl.rpc.protocol` names it.
    TlsVersion {
        /// RFC 5246.
        V1_2 = "TLSv1.2",
        /// RFC 8446.
        V1_3 = "TLSv1.3",
    }
}

impl Channel {
    /// A clear connection that proved nothing.
    pub const PLAINTEXT: Self =
        Self { level: SecurityLevel::Plaintext, handshake: Handshake::None, cipher: "none", tls: None };

    /// SASL as a proof only: the bytes behind it are clear.
    pub const SASL: Self =
        Self { level: SecurityLevel::Plaintext, handshake: Handshake::Sasl, cipher: "none", tls: None };

    /// The AES session of Spark 2.2 to 3.0.
    pub const LEGACY: Self = Self {
        level: SecurityLevel::AesLegacy,
        handshake: Handshake::Pbkdf2,
        cipher: SessionCipher::Ctr.name(),
        tls: None,
    };

    /// SASL's privacy layer.
    pub fn sasl_conf(cipher: SaslCipher) -> Self {
        Self { level: SecurityLevel::SaslConf, handshake: Handshake::Sasl, cipher: cipher.name(), tls: None }
    }

    /// An AES session after the X25519 handshake.
    pub fn aes(mode: SessionMode) -> Self {
        Self {
            level: SecurityLevel::from(mode.cipher),
            handshake: Handshake::X25519(mode.version),
            cipher: mode.cipher.name(),
            tls: None,
        }
    }

    /// The same inside TLS: whatever runs there, TLS is what protects.
    pub fn inside(self, tls: TlsVersion, suite: &'static str) -> Self {
        let cipher = if self.cipher == Self::PLAINTEXT.cipher { suite } else { self.cipher };
        Self { level: SecurityLevel::Tls, cipher, tls: Some(tls), ..self }
    }
}
