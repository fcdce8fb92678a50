//! How two ends speak: which Spark, what its handshake is, what protects the bytes, and the keys that say so.
//!
//! A mode knows what both ends must be told, what our metrics must call it, and what an observer of the wire must
//! see of it; which modes are gone through is the business of [`super::matrix`].

use std::fmt;

use super::{service::Service, tls::Stores, version::number};

/// The session cipher of `spark.network.crypto.cipher`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cipher {
    /// `AES/CTR/NoPadding`, Spark's default.
    Ctr,
    /// `AES/GCM/NoPadding`, in the releases of `SOUND_GCM`.
    Gcm,
}

impl Cipher {
    /// As configured.
    pub fn transformation(self) -> &'static str {
        match self {
            Self::Ctr => "AES/CTR/NoPadding",
            Self::Gcm => "AES/GCM/NoPadding",
        }
    }
}

/// The privacy ciphers of DIGEST-MD5, strongest first, which is the order in which Spark's JVM prefers them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SaslCipher {
    /// Triple DES: what two Sparks agree upon.
    TripleDes,
    /// RC4 with 128 bits.
    Rc4,
    /// Single DES.
    Des,
    /// RC4 with 56 bits.
    Rc4With56,
    /// RC4 with 40 bits.
    Rc4With40,
}

impl SaslCipher {
    /// As the tokens name it (RFC 2831).
    pub const fn name(self) -> &'static str {
        match self {
            Self::TripleDes => "3des",
            Self::Rc4 => "rc4",
            Self::Des => "des",
            Self::Rc4With56 => "rc4-56",
            Self::Rc4With40 => "rc4-40",
        }
    }
}

/// How the client proves its application, and what protects the bytes afterwards.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Auth {
    /// Nothing is proven and nothing hidden.
    None,
    /// SASL DIGEST-MD5, frames in clear after it.
    Sasl,
    /// SASL DIGEST-MD5 with its privacy layer.
    SaslConf(SaslCipher),
    /// The AES handshake of Spark 2.2 to 3.0 and AES in counter mode.
    Legacy {
        /// `spark.network.crypto.keyLength`.
        bits: u16,
    },
    /// The AES handshake since Spark 3.1.
    X25519 {
        /// The session cipher.
        cipher: Cipher,
        /// `spark.network.crypto.authEngineVersion`.
        engine: u8,
    },
}

/// One way of speaking with one Spark.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Mode {
    /// The Spark release of the peer.
    pub version: &'static str,
    /// Handshake and cipher.
    pub auth: Auth,
    /// The form of the service's key material where everything runs inside TLS.
    pub tls: Option<Stores>,
}

impl Mode {
    /// A mode without TLS.
    pub const fn new(version: &'static str, auth: Auth) -> Self {
        Self { version, auth, tls: None }
    }

    /// The X25519 handshake and what it is followed by.
    pub const fn aes(version: &'static str, cipher: Cipher, engine: u8) -> Self {
        Self::new(version, Auth::X25519 { cipher, engine })
    }

    /// The newest release with the given cipher and engine version.
    pub const fn newest(cipher: Cipher, engine: u8) -> Self {
        Self::aes("4.3.0", cipher, engine)
    }

    /// The same inside TLS.
    #[must_use]
    pub const fn inside_tls(self, stores: Stores) -> Self {
        Self { tls: Some(stores), ..self }
    }

    /// Whether Spark's own service can be in this mode; it always offers every SASL cipher, and its clients take the
    /// strongest.
    pub fn spark_serves(&self) -> bool {
        !matches!(self.auth, Auth::SaslConf(cipher) if cipher != SaslCipher::TripleDes)
    }

    /// Whether its session is in AES-GCM.
    pub const fn is_gcm(&self) -> bool {
        matches!(self.auth, Auth::X25519 { cipher: Cipher::Gcm, .. })
    }

    /// Cipher and engine version of a mode with the X25519 handshake.
    #[track_caller]
    pub fn session(&self) -> (Cipher, u8) {
        match self.auth {
            Auth::X25519 { cipher, engine } => (cipher, engine),
            _ => panic!("{self} has no AES session"),
        }
    }

    /// Whether a client must prove that it knows the secret.
    pub fn authenticates(&self) -> bool {
        self.auth != Auth::None
    }

    /// Whether an observer learns nothing of what passes.
    pub fn is_sealed(&self) -> bool {
        self.tls.is_some() || !matches!(self.auth, Auth::None | Auth::Sasl)
    }

    /// Whether the bytes on the socket are a cipher of their own around the TLS records.
    pub fn is_sealed_around_tls(&self) -> bool {
        self.tls.is_some() && !matches!(self.auth, Auth::None | Auth::Sasl)
    }

    /// Values of the labels `channel`, `handshake` and `cipher` in our metrics.
    pub fn labels(&self) -> [&'static str; 3] {
        let [channel, handshake, cipher] = match self.auth {
            Auth::None => ["plaintext", "none", "none"],
            Auth::Sasl => ["plaintext", "sasl-digest-md5", "none"],
            Auth::SaslConf(cipher) => ["sasl-conf", "sasl-digest-md5", cipher.name()],
            Auth::Legacy { .. } => ["aes-legacy", "aes-pbkdf2", "AES/CTR/NoPadding"],
            Auth::X25519 { cipher, engine } => [
                if cipher == Cipher::Ctr { "aes-ctr" } else { "aes-gcm" },
                if engine == 1 { "aes-x25519-v1" } else { "aes-x25519-v2" },
                cipher.transformation(),
            ],
        };
        match self.tls {
            None => [channel, handshake, cipher],
            // Nothing lies outside the records: their own suite is shown, which is our server's favourite.
            Some(_) if cipher == "none" => ["tls", handshake, "TLS_AES_256_GCM_SHA384"],
            Some(_) => ["tls", handshake, cipher],
        }
    }

    /// The mode without the release.
    pub fn way(&self) -> String {
        let tls = self.tls.map_or_else(String::new, |stores| format!("TLS ({stores:?}) "));
        match self.auth {
            Auth::None => format!("{tls}without authentication"),
            Auth::Sasl => format!("{tls}SASL without encryption"),
            Auth::SaslConf(cipher) => format!("{tls}SASL {}", cipher.name()),
            Auth::Legacy { bits } => format!("{tls}legacy AES {bits}"),
            Auth::X25519 { cipher, engine } => format!("{tls}{cipher:?} v{engine}"),
        }
    }

    /// The keys of authentication and cipher that both ends need, the secret aside. The fallback is off: nobody may
    /// slip into SASL.
    pub fn conf(&self) -> Vec<(&'static str, String)> {
        let mut conf: Vec<(&'static str, &str)> = Vec::new();
        match self.auth {
            Auth::None => conf.push(("spark.authenticate", "false")),
            Auth::Sasl | Auth::SaslConf(_) => {
                conf.push(("spark.authenticate", "true"));
                conf.push(("spark.network.crypto.enabled", "false"));
                if self.auth != Auth::Sasl {
                    conf.push(("spark.authenticate.enableSaslEncryption", "true"));
                }
            }
            Auth::Legacy { .. } | Auth::X25519 { .. } => {
                conf.push(("spark.authenticate", "true"));
                conf.push(("spark.network.crypto.enabled", "true"));
                conf.push(("spark.network.crypto.saslFallback", "false"));
            }
        }
        let mut conf: Vec<_> = conf.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        match self.auth {
            Auth::None | Auth::Sasl | Auth::SaslConf(_) => {}
            Auth::Legacy { bits } => conf.push(("spark.network.crypto.keyLength", bits.to_string())),
            Auth::X25519 { cipher, engine } => {
                conf.push(("spark.network.crypto.cipher", cipher.transformation().to_owned()));
                conf.push(("spark.network.crypto.authEngineVersion", engine.to_string()));
            }
        }
        conf
    }

    /// All keys of a service.
    pub fn service_conf(&self, service: Service) -> Vec<(&'static str, String)> {
        let mut conf = self.conf();
        if let Some(stores) = self.tls {
            conf.extend(stores.service_conf(service));
        }
        if service == Service::Ours {
            // With TLS nothing else is served, which a server of peers without proof must be told.
            if matches!(self.labels()[0], "plaintext" | "sasl-conf" | "aes-legacy" | "tls") {
                conf.push(("spark.sealed.security.minimum", self.labels()[0].to_owned()));
            }
            if let Auth::SaslConf(cipher) = self.auth {
                conf.push(("spark.sealed.sasl.ciphers", cipher.name().to_owned()));
            }
        }
        conf
    }

    /// All keys of a Spark process that is a client of the service: executors, drivers, Workers.
    pub fn client_conf(&self) -> Vec<(&'static str, String)> {
        let mut conf = self.conf();
        conf.extend(self.tls.into_iter().flat_map(Stores::client_conf));
        conf
    }

    /// All keys of our client.
    pub fn our_client_conf(&self) -> Vec<(&'static str, String)> {
        let mut conf = self.conf();
        conf.extend(self.tls.into_iter().flat_map(Stores::our_client_conf));
        if matches!(self.auth, Auth::Legacy { .. }) {
            conf.push(("spark.sealed.client.handshake", "legacy".to_owned()));
        }
        if number(self.version) < (3, 0) {
            conf.push(("spark.shuffle.useOldFetchProtocol", "true".to_owned()));
        }
        conf
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spark {} {}", self.version, self.way())
    }
}
