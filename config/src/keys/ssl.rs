//! TLS at both ends. `spark.ssl.X` stands in for `spark.ssl.rpc.X` (SSLOptions, Spark 4.3.0).

use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::{Both, Client, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Choice, ClientAuth, List, Secret, Text, TlsVersions};

keys! {
    SSL:

    /// TLS.
    pub static SSL_RPC_ENABLED: Key<Bool> = Key::new(
        "spark.ssl.rpc.enabled",
        Bool::REGISTRY,
        Is("false"),
        Both,
        "Whether the server also takes TLS on its port, and whether the client speaks it. `spark.ssl.enabled` does not \
         stand in for it, as in Spark.",
    )
    .reloads();

    /// Versions of TLS.
    pub static SSL_RPC_PROTOCOL: Key<Choice<TlsVersions>> = Key::new(
        "spark.ssl.rpc.protocol",
        Choice::TLS_VERSIONS,
        Unset("TLS for a server, TLSv1.3 for a client"),
        Both,
        "The only version of TLS that is spoken, `TLS` for both. Unset, the server takes both and the client speaks 1.3, as Spark does.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Cipher suites.
    pub static SSL_RPC_ALGORITHMS: Key<List> = Key::new(
        "spark.ssl.rpc.enabledAlgorithms",
        List,
        Unset("every suite"),
        Both,
        "Cipher suites, by Java's names; what is not known here is left out, and where nothing is left every suite is offered.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Own key and certificates.
    pub static SSL_RPC_KEY_STORE: Key<Text> = Key::new(
        "spark.ssl.rpc.keyStore",
        Text { what: "path" },
        Unset("none"),
        Both,
        "PKCS12 or JKS file with our private key and certificate chain; told apart by its content. Read again when it changes.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Its password.
    pub static SSL_RPC_KEY_STORE_PASSWORD: Key<Secret> = Key::new(
        "spark.ssl.rpc.keyStorePassword",
        Secret,
        Unset("none"),
        Both,
        "Password of the key store. `_SPARK_SSL_RPC_KEY_STORE_PASSWORD` in the environment comes before it.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Password of the key within.
    pub static SSL_RPC_KEY_PASSWORD: Key<Secret> = Key::new(
        "spark.ssl.rpc.keyPassword",
        Secret,
        Unset("that of the key store"),
        Both,
        "Password of the key within a JKS store. `_SPARK_SSL_RPC_KEY_PASSWORD` in the environment comes before it.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Trusted authorities.
    pub static SSL_RPC_TRUST_STORE: Key<Text> = Key::new(
        "spark.ssl.rpc.trustStore",
        Text { what: "path" },
        Unset("none"),
        Both,
        "PKCS12, JKS or PEM file with the certificates whose signatures are believed. A client with a key store needs it: Spark, without, believes everybody. Read again when it changes.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Its password.
    pub static SSL_RPC_TRUST_STORE_PASSWORD: Key<Secret> = Key::new(
        "spark.ssl.rpc.trustStorePassword",
        Secret,
        Unset("none"),
        Both,
        "Password of the trust store; a JKS store is read without one, too, unverified. `_SPARK_SSL_RPC_TRUST_STORE_PASSWORD` in the environment comes before it.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Own key as PEM.
    pub static SSL_RPC_PRIVATE_KEY: Key<Text> = Key::new(
        "spark.ssl.rpc.privateKey",
        Text { what: "path" },
        Unset("none"),
        Both,
        "PEM file with our private key (PKCS#8, encrypted or not, PKCS#1 or SEC1); with `certChain` it comes before the key store.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Its password.
    pub static SSL_RPC_PRIVATE_KEY_PASSWORD: Key<Secret> = Key::new(
        "spark.ssl.rpc.privateKeyPassword",
        Secret,
        Unset("none"),
        Both,
        "Password of an encrypted PEM key. `_SPARK_SSL_RPC_PRIVATE_KEY_PASSWORD` in the environment comes before it.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Own certificates as PEM.
    pub static SSL_RPC_CERT_CHAIN: Key<Text> = Key::new(
        "spark.ssl.rpc.certChain",
        Text { what: "path" },
        Unset("none"),
        Both,
        "PEM file with our certificate and what stands between it and its authority. With it, as in Spark, its certificates are the trusted ones, and those of the trust store if there is one.",
    )
    .inherits("spark.ssl")
    .reloads();

    /// Key, certificates and authorities in one file.
    pub static TLS_BUNDLE: Key<Text> = Key::new(
        "spark.sealed.tls.bundle",
        Text { what: "path" },
        Unset("none"),
        Both,
        "Zip file of `privateKey.pem`, `certificateChain.pem` and `trustedCertificates.pem`, instead of Spark's stores and files: one file, replaced in one go. A client may leave out the first two, a server the last. Read again when it changes.",
    )
    .near("spark.ssl.rpc.keyStore")
    .reloads();

    /// A program that prints them.
    pub static TLS_COMMAND: Key<Text> = Key::new(
        "spark.sealed.tls.command",
        Text { what: "program and arguments" },
        Unset("none"),
        Both,
        "Program that prints the same as PEM: the private key; our certificate and those between it and its authority; self-issued certificates after the first are the trusted ones. Split at blanks and run without a shell, within 30 s, again at half the time that our certificate has left and every hour.",
    )
    .near("spark.ssl.rpc.keyStore")
    .reloads();

    /// Certificates of clients.
    pub static TLS_CLIENT_AUTH: Key<Choice<ClientAuth>> = Key::new(
        "spark.sealed.tls.client-auth",
        Choice::CLIENT_AUTH,
        Is("none"),
        Serve,
        "Whether the server asks TLS clients for a certificate: `want` serves those that have none, `need` does not; one that does not verify is refused by both. `needClientAuth` has no effect on Spark's own transport.",
    )
    .near("spark.ssl.rpc.needClientAuth")
    .reloads();

    /// Names of servers.
    pub static TLS_DANGER_SKIP_HOSTNAME: Key<Bool> = Key::new(
        "spark.sealed.tls.danger-skip-hostname-verification",
        Bool::REGISTRY,
        Is("false"),
        Client,
        "Whether the client takes any server whose certificate comes from a trusted authority, whatever host it is for: whoever has a certificate of that authority can pose as every server. Spark's clients do.",
    );
}
