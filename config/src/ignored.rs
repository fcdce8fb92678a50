//! Keys of Spark's, under the prefixes that are watched for mistyped names, that are not read here, and why.

/// A key that Spark reads and nothing here does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IgnoredKey {
    /// The name; one that ends in `.*` stands for everything beneath.
    pub(crate) name: &'static str,
    /// Why it has no effect.
    pub(crate) because: &'static str,
    /// The value that makes it worth a warning, since peers will then expect what is not there.
    pub(crate) warn_on: Option<&'static str>,
}

const STORE_TYPE: &str = "stores are told apart by their content";
const RELOADED: &str = "every file of TLS is read again when it changes";
const ONE_STORE: &str = "the recovery store has one form";
const APPLICATION: &str = "applications read it";
const LEGACY: &str = "it follows from the other keys of the handshake of Spark 2.2 to 3.0";

/// Every such key.
pub(crate) static IGNORED: &[IgnoredKey] = &[
    quiet("spark.authenticate.secretBitLength", "secrets are not generated here"),
    quiet("spark.authenticate.secret.driver.file", "the driver reads it on Kubernetes"),
    quiet("spark.authenticate.enableSaslEncryption.aes.*", "no Spark since 2.2 reads it"),
    quiet("spark.network.crypto.saslFallback", "there is no weaker mode to fall back to"),
    quiet("spark.network.crypto.config.*", "it tunes the JVM's crypto library"),
    quiet("spark.network.crypto.keyAlgorithm", LEGACY),
    quiet("spark.network.crypto.ivLength", LEGACY),
    quiet("spark.network.crypto.handshake.*", LEGACY),
    quiet("spark.ssl.rpc.keyStoreType", STORE_TYPE),
    quiet("spark.ssl.rpc.trustStoreType", STORE_TYPE),
    quiet("spark.ssl.rpc.trustStoreReloadingEnabled", RELOADED),
    quiet("spark.ssl.rpc.trustStoreReloadIntervalMs", RELOADED),
    quiet("spark.ssl.rpc.openSslEnabled", "it chooses between the JVM's TLS libraries"),
    warn(
        "spark.ssl.rpc.needClientAuth",
        "neither has it on Spark's transport: see `spark.sealed.tls.client-auth`",
        "true",
    ),
    quiet("spark.ssl.rpc.port", "TLS shares the port with all else"),
    quiet("spark.shuffle.service.enabled", "`serve` always serves"),
    quiet("spark.shuffle.service.name", "YARN reads it"),
    quiet("spark.shuffle.service.removeShuffle", APPLICATION),
    quiet("spark.shuffle.service.db.backend", ONE_STORE),
    quiet("spark.shuffle.service.index.cache.entries", "no Spark since 2.3 reads it"),
];

/// The entry that covers a key.
pub(crate) fn find(name: &str) -> Option<&'static IgnoredKey> {
    IGNORED.iter().find(|ignored| match ignored.name.strip_suffix('*') {
        Some(beneath) => name.starts_with(beneath),
        None => name == ignored.name,
    })
}

const fn quiet(name: &'static str, because: &'static str) -> IgnoredKey {
    IgnoredKey { name, because, warn_on: None }
}

const fn warn(name: &'static str, because: &'static str, on: &'static str) -> IgnoredKey {
    IgnoredKey { name, because, warn_on: Some(on) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn no_key_is_both_read_and_ignored() {
        for key in keys::all() {
            assert_eq!(find(key.name()), None, "{}", key.name());
        }
    }

    #[test]
    fn a_star_covers_what_is_beneath() {
        assert!(find("spark.network.crypto.config.x.y").is_some());
        assert!(find("spark.network.crypto.conf").is_none());
    }
}
