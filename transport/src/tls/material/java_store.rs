//! Java's stores of any kind: PKCS12 and JKS, and for authorities also a PEM file.

use rustls::pki_types::CertificateDer;
use sealed_shuffle_config::{Password, TlsFile};

use super::{Identity, LONGEST_CHAIN, MaterialError, jks, pem, pkcs12};

/// The kind of a store, by its first bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Jks,
    Jceks,
    Pkcs12,
    Pem,
    Unknown,
}

fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => Kind::Jks,
        [0xce, 0xce, 0xce, 0xce, ..] => Kind::Jceks,
        [0x30, 0x80..=0x84, ..] => Kind::Pkcs12,
        _ if bytes.windows(11).any(|window| window == b"-----BEGIN ") => Kind::Pem,
        _ => Kind::Unknown,
    }
}

/// The private key of a store, with its certificates.
pub(super) fn identity(
    file: &TlsFile,
    bytes: &[u8],
    key_password: Option<&Password>,
    warnings: &mut Vec<String>,
) -> Result<Identity, MaterialError> {
    let mut identity = match kind(bytes) {
        Kind::Jks => jks::identity(file, bytes, key_password, warnings)?,
        Kind::Pkcs12 => pkcs12::identity(file, bytes, warnings)?,
        Kind::Pem => {
            return Err(MaterialError::of(
                file,
                "it is a PEM file, and a key store is a PKCS12 or JKS file",
                "name the two PEM files with spark.ssl.rpc.privateKey and spark.ssl.rpc.certChain",
            ));
        }
        other => return Err(unknown(file, other)),
    };
    // A longer chain is not valid, and would not fit into the first message of a connection.
    identity.chain.truncate(LONGEST_CHAIN);
    Ok(identity)
}

/// The trusted certificates of a store.
pub(super) fn trusted(file: &TlsFile, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let trusted = match kind(bytes) {
        Kind::Jks => jks::trusted(file, bytes)?,
        Kind::Pkcs12 => pkcs12::trusted(file, bytes)?,
        Kind::Pem => pem::certificates(file, bytes)?,
        other => return Err(unknown(file, other)),
    };
    if trusted.is_empty() {
        return Err(MaterialError::of(
            file,
            "there is no certificate in it",
            "add the authority's (keytool -importcert -trustcacerts)",
        ));
    }
    Ok(trusted)
}

fn unknown(file: &TlsFile, kind: Kind) -> MaterialError {
    let reason = match kind {
        Kind::Jceks => "it is a JCEKS store, which is not read here",
        _ => "it is neither a PKCS12 nor a JKS store",
    };
    MaterialError::of(file, reason, "convert it with keytool -importkeystore -deststoretype pkcs12")
}
