//! PKCS12 stores (RFC 7292), as keytool and openssl write them.

use p12_keystore::error::Error;
use p12_keystore::{CertificateBag, Pkcs12Archive};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealed_shuffle_config::{Password, TlsFile};

use super::{Identity, LONGEST_CHAIN, MaterialError};

/// The private key, with the chain from its own certificate to an authority.
pub(super) fn identity(
    file: &TlsFile,
    bytes: &[u8],
    warnings: &mut Vec<String>,
) -> Result<Identity, MaterialError> {
    let archive = open(file, bytes)?;
    let Some(entry) = archive.keys.first() else {
        return Err(MaterialError::of(
            file,
            "there is no private key in it",
            "name the key store; a trust store goes to spark.ssl.rpc.trustStore",
        ));
    };
    if archive.keys.len() > 1 {
        let name = entry.friendly_name.as_deref().unwrap_or("without a name");
        warnings.push(format!(
            "{} has {} private keys: the first is used ({name})",
            file.path.display(),
            archive.keys.len()
        ));
    }
    let id = entry.local_key_id.as_ref().map(AsRef::<[u8]>::as_ref);
    let own = archive.certs.iter().find(|bag| id.is_some() && bag.local_key_id.as_deref() == id);
    // Without ids, only one certificate can be meant.
    let own = own.or(match archive.certs.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let Some(own) = own else {
        return Err(MaterialError::of(
            file,
            "no certificate in it belongs to its private key",
            "make it anew with both (openssl pkcs12 -export -inkey KEY -in CHAIN)",
        ));
    };
    let chain = chain(own, &archive.certs).into_iter().map(der).collect();
    let key = PrivatePkcs8KeyDer::from(entry.key.as_der().to_vec()).into();
    Ok(Identity { key, chain })
}

/// The trusted certificates: those that are marked so (keytool does), or all if none is marked (stores of openssl).
pub(super) fn trusted(file: &TlsFile, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let archive = open(file, bytes)?;
    let marked: Vec<_> = archive.certs.iter().filter(|bag| bag.trusted).map(der).collect();
    if marked.is_empty() { Ok(archive.certs.iter().map(der).collect()) } else { Ok(marked) }
}

fn open(file: &TlsFile, bytes: &[u8]) -> Result<Pkcs12Archive, MaterialError> {
    let password = file.password.as_ref().map_or("", Password::expose);
    Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => {
            MaterialError::wrong_password(file).caused_by(error)
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => MaterialError::of(
            file,
            format!("it is encrypted in a way that is not read here ({error})"),
            CONVERT,
        )
        .caused_by(error),
        other => MaterialError::of(file, format!("it is not a whole PKCS12 store ({other})"), CONVERT)
            .caused_by(other),
    })
}

const CONVERT: &str = "make it anew with keytool -importkeystore -deststoretype pkcs12";

/// The chain from a certificate to a self-issued one, as far as the certificates are there.
fn chain<'a>(own: &'a CertificateBag, all: &'a [CertificateBag]) -> Vec<&'a CertificateBag> {
    let mut chain = vec![own];
    let mut last = own;
    while chain.len() < LONGEST_CHAIN && last.cert.issuer() != last.cert.subject() {
        let Some(next) = all.iter().find(|bag| bag.cert.subject() == last.cert.issuer()) else { break };
        if chain.contains(&next) {
            break;
        }
        chain.push(next);
        last = next;
    }
    chain
}

fn der(bag: &CertificateBag) -> CertificateDer<'static> {
    CertificateDer::from(bag.cert.as_der().to_vec())
}
