//! How handshakes and sessions are spoken.

use std::time::Duration;

use sealed_shuffle_protocol::auth::legacy::LegacyKdf;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::sasl::SaslCipher;

use crate::ByteCount;
use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::{Both, Client, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Choice, Choices, ClientHandshake, Engine, Int, Size, SizeUnit, Time, TimeUnit};

const SECOND: Duration = Duration::from_secs(1);

keys! {
    HANDSHAKES:

    /// SASL's ciphers.
    pub static SASL_CIPHERS: Key<Choices<SaslCipher>> = Key::new(
        "spark.sealed.sasl.ciphers",
        Choices(Choice::SASL_CIPHER),
        Is("3des"),
        Both,
        "Ciphers of SASL's privacy layer that the server offers where its policy serves `sasl-conf`, and that the client takes: \
         the challenge that names them is not authenticated. 3DES costs about a hundred \
         times the processor time of AES; RC4 and DES are broken.",
    )
    .near("spark.authenticate.enableSaslEncryption");

    /// SASL without encryption.
    pub static SASL_ALWAYS_ENCRYPT: Key<Bool> = Key::new(
        "spark.network.sasl.serverAlwaysEncrypt",
        Bool::TRANSPORT,
        Is("false"),
        Serve,
        "Whether SASL without encryption is refused, after its last message and with a text.",
    )
    .literal();

    /// Size of SASL's tokens.
    pub static SASL_MAX_BLOCK: Key<Size> = Key::new(
        "spark.network.sasl.maxEncryptedBlockSize",
        Size::new(SizeUnit::Bytes, ByteCount::kib(1), ByteCount::mib(16)),
        Is("64k"),
        Both,
        "Plaintext bytes in one encrypted token of SASL that is sent.",
    )
    .literal();

    /// Work of the older handshake.
    pub static LIMIT_LEGACY_ITERATIONS: Key<Int<u32>> = Key::new(
        "spark.sealed.limits.legacy-iterations",
        Int::registry(1, 1 << 24),
        Is("10000"),
        Both,
        "Iterations of PBKDF2 that a peer may ask for in the handshake of Spark 2.2 to 3.0, before it has proven anything.",
    )
    .near("spark.network.crypto.keyFactoryIterations");

    /// AES of the client.
    pub static CRYPTO_ENABLED: Key<Bool> = Key::new(
        "spark.network.crypto.enabled",
        Bool::TRANSPORT,
        Unset("true"),
        Client,
        "Whether the client uses an AES handshake. `false`, in so many words, is SASL. What a server accepts is \
         `spark.sealed.security.minimum` alone.",
    )
    .literal();

    /// Session cipher of the client.
    pub static CRYPTO_CIPHER: Key<Choice<SessionCipher>> = Key::new(
        "spark.network.crypto.cipher",
        Choice::CIPHER,
        Is("AES/CTR/NoPadding"),
        Client,
        "Session cipher of the client; Spark's own services must have the same. CTR has no integrity (CVE-2025-55039). GCM works \
         in Spark 3.5.9, 4.0.4, 4.1.3, 4.2 or later.",
    )
    .literal();

    /// Key derivation of the client.
    pub static CRYPTO_ENGINE: Key<Engine> = Key::new(
        "spark.network.crypto.authEngineVersion",
        Engine,
        Is("1"),
        Client,
        "Key derivation of the client; Spark's own services must have the same.",
    )
    .literal();

    /// Handshake of the client.
    pub static CLIENT_HANDSHAKE: Key<Choice<ClientHandshake>> = Key::new(
        "spark.sealed.client.handshake",
        Choice::CLIENT_HANDSHAKE,
        Is("x25519"),
        Client,
        "The client's AES handshake: Spark 2.4 and 3.0 know `legacy` alone, which no later Spark does. There is no \
         falling back from one to the other.",
    )
    .near("spark.network.crypto.enabled");

    /// Key length of the older handshake.
    pub static CRYPTO_KEY_LENGTH: Key<Choice<u32>> = Key::new(
        "spark.network.crypto.keyLength",
        Choice::KEY_BITS,
        Is("128"),
        Client,
        "Bits of the keys of the `legacy` handshake.",
    )
    .literal();

    /// Key derivation of the older handshake.
    pub static CRYPTO_KEY_FACTORY: Key<Choice<LegacyKdf>> = Key::new(
        "spark.network.crypto.keyFactoryAlgorithm",
        Choice::KEY_FACTORY,
        Is("PBKDF2WithHmacSHA1"),
        Client,
        "Key derivation of the `legacy` handshake.",
    )
    .literal();

    /// Iterations of the older handshake.
    pub static CRYPTO_KEY_ITERATIONS: Key<Int<u32>> = Key::new(
        "spark.network.crypto.keyFactoryIterations",
        Int::transport(1, 1 << 24),
        Is("1024"),
        Client,
        "Iterations of the key derivation of the `legacy` handshake.",
    )
    .literal();

    /// SASL with encryption.
    pub static SASL_ENCRYPTION: Key<Bool> = Key::new(
        "spark.authenticate.enableSaslEncryption",
        Bool::REGISTRY,
        Is("false"),
        Client,
        "Whether a client that speaks SASL encrypts, with the strongest of the ciphers that the server offers.",
    );

    /// Deadline of an authentication message.
    pub static AUTH_RPC_TIMEOUT: Key<Time> = Key::new(
        "spark.network.auth.rpcTimeout",
        Time::spark(TimeUnit::Seconds).at_least(SECOND),
        Is("30s"),
        Client,
        "How long the client waits for each answer of the handshake.",
    )
    .literal();
}
