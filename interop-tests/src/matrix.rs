//! Which Spark, which cipher, which engine version: a representative part by default, everything with
//! `SEALED_SHUFFLE_MATRIX=full`, and with any other value the modes whose name holds it, for example
//! `SEALED_SHUFFLE_MATRIX=3.5.9` or `SEALED_SHUFFLE_MATRIX="4.0.5 Gcm v2"`.
//!
//! | default | request tests, ours and Spark's | applications on ours | live block managers | standalone cluster |
//! |---|---|---|---|---|
//! | modes | five, one with 3.3.4 | four | two | one |
//!
//! Applications and clusters on Spark's own service run only when the matrix is chosen.

use std::fmt;

/// The session cipher of `spark.network.crypto.cipher`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cipher {
    /// `AES/CTR/NoPadding`, Spark's default.
    Ctr,
    /// `AES/GCM/NoPadding`, usable from Spark 3.5.
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

/// One cell of the matrix.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Mode {
    /// The Spark release of the peer.
    pub version: &'static str,
    /// The session cipher.
    pub cipher: Cipher,
    /// `spark.network.crypto.authEngineVersion`.
    pub engine: u8,
}

impl Mode {
    /// The newest release with the given cipher and engine version.
    pub const fn newest(cipher: Cipher, engine: u8) -> Self {
        Self { version: "4.3.0", cipher, engine }
    }

    /// The transport keys that both ends need, the secret aside. The fallback is off: nobody may slip into SASL.
    pub fn conf(&self) -> Vec<(&'static str, String)> {
        vec![
            ("spark.authenticate", "true".to_owned()),
            ("spark.network.crypto.enabled", "true".to_owned()),
            ("spark.network.crypto.saslFallback", "false".to_owned()),
            ("spark.network.crypto.cipher", self.cipher.transformation().to_owned()),
            ("spark.network.crypto.authEngineVersion", self.engine.to_string()),
        ]
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spark {} {:?} v{}", self.version, self.cipher, self.engine)
    }
}

/// The modes that request tests go through.
pub fn modes() -> Vec<Mode> {
    match std::env::var("SEALED_SHUFFLE_MATRIX") {
        Ok(value) if value == "full" => full(),
        Ok(part) if !part.is_empty() => {
            let modes: Vec<Mode> =
                full().into_iter().filter(|mode| mode.to_string().contains(&part)).collect();
            assert!(!modes.is_empty(), "SEALED_SHUFFLE_MATRIX={part} names no mode of {:?}", full());
            modes
        }
        _ => representative(),
    }
}

/// Whether more than the representative part was asked for.
fn is_chosen() -> bool {
    std::env::var_os("SEALED_SHUFFLE_MATRIX").is_some_and(|value| !value.is_empty())
}

/// The modes in which whole applications run against Spark's own service, which shows that the recipe is right. That
/// takes minutes and says nothing about us, so by default there are none; request tests run on both sides always.
pub fn oracle_modes() -> Vec<Mode> {
    if is_chosen() {
        return application_modes();
    }
    eprintln!("nothing is run: this oracle needs SEALED_SHUFFLE_MATRIX=full");
    Vec::new()
}

/// The modes in which whole clusters run: by default one.
pub fn standalone_modes() -> Vec<Mode> {
    if is_chosen() { application_modes() } else { vec![Mode::newest(Cipher::Gcm, 2)] }
}

/// The modes in which blocks are fetched from live applications: by default the newest release and the oldest that
/// runs on current systems, one in each cipher.
pub fn live_modes() -> Vec<Mode> {
    if is_chosen() {
        return application_modes();
    }
    vec![Mode::newest(Cipher::Ctr, 2), Mode { version: "3.5.9", cipher: Cipher::Gcm, engine: 1 }]
}

/// The modes that whole applications go through; PySpark 3.3 needs an older Python than current systems have.
pub fn application_modes() -> Vec<Mode> {
    modes().into_iter().filter(|mode| mode.version != "3.3.4").collect()
}

fn representative() -> Vec<Mode> {
    vec![
        Mode::newest(Cipher::Ctr, 1),
        Mode::newest(Cipher::Gcm, 2),
        Mode { version: "3.5.9", cipher: Cipher::Gcm, engine: 1 },
        Mode { version: "4.0.5", cipher: Cipher::Ctr, engine: 2 },
        Mode { version: "3.3.4", cipher: Cipher::Ctr, engine: 1 },
    ]
}

fn full() -> Vec<Mode> {
    let mut modes = Vec::new();
    for version in ["4.3.0", "4.0.5", "3.5.9"] {
        for cipher in [Cipher::Ctr, Cipher::Gcm] {
            for engine in [1, 2] {
                modes.push(Mode { version, cipher, engine });
            }
        }
    }
    modes.push(Mode { version: "3.3.4", cipher: Cipher::Ctr, engine: 1 });
    modes
}
