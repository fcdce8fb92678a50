//! JKS, the old store of Java: the reader, and in `writer` what `certs dev` writes.
//!
//! No maintained crate reads it. The format is that of sun.security.provider.JavaKeyStore and KeyProtector (OpenJDK
//! 17):
//!
//! ```text
//! u32 FEEDFEED   u32 version (1, 2)   u32 entries
//!   u32 1  utf alias  u64 date  u32 len, protected key   u32 n, n × certificate      a private key
//!   u32 2  utf alias  u64 date  certificate                                          an authority
//!   certificate: (version 2) utf "X.509", u32 len, DER
//! 20 bytes: SHA-1 over password, two words of Homer, and everything before
//! ```
//!
//! A protected key is an EncryptedPrivateKeyInfo whose octets are salt (20), key XOR a stream of chained SHA-1, and
//! SHA-1 over password and key. All integers are big-endian, passwords UTF-16. Every length is checked against the
//! bytes that are left.

#[cfg(any(test, feature = "dev-certificates"))]
mod writer;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealed_shuffle_config::{Password, TlsFile};
use sha1::{Digest, Sha1};
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::der::{AnyRef, Decode, Reader as _, SliceReader};
use zeroize::Zeroizing;

#[cfg(any(test, feature = "dev-certificates"))]
pub(in crate::tls) use self::writer::{protect, write};

use super::{Identity, MaterialError};

const MAGIC: u32 = 0xfeed_feed;
const PRIVATE_KEY: u32 = 1;
const TRUSTED: u32 = 2;
const HASH: usize = 20;

/// Goes into the digest of a store, between password and content.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// The algorithm that KeyProtector names.
const PROTECTED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// The private key of a store, with its certificates.
pub(super) fn identity(
    file: &TlsFile,
    bytes: &[u8],
    key_password: Option<&Password>,
    warnings: &mut Vec<String>,
) -> Result<Identity, MaterialError> {
    let store = open(file, bytes)?;
    let mut keys = store.entries.into_iter().filter_map(|entry| match entry.content {
        Content::Key { protected, chain } => Some((entry.alias, protected, chain)),
        Content::Trusted(_) => None,
    });
    let Some((alias, protected, chain)) = keys.next() else {
        return Err(MaterialError::of(
            file,
            "there is no private key in it",
            "name the key store; a trust store goes to spark.ssl.rpc.trustStore",
        ));
    };
    let others = keys.count();
    if others > 0 {
        warnings.push(format!(
            "{} has {} private keys: the first is used ({alias})",
            file.path.display(),
            others + 1
        ));
    }
    let Some(password) = key_password.or(file.password.as_ref()) else {
        return Err(MaterialError::wrong_password(file));
    };
    let key = match unprotect(&protected, password.expose()) {
        Ok(key) => key,
        Err(Refused::Password) => {
            return Err(MaterialError::of(
                file,
                format!("the password does not open its key {alias}"),
                "set spark.ssl.rpc.keyPassword to the one that the key was made with",
            ));
        }
        Err(Refused::Format) => return Err(damaged(file)),
    };
    if chain.is_empty() {
        return Err(MaterialError::of(
            file,
            "its private key has no certificate",
            "import the certificate (keytool -importcert)",
        ));
    }
    Ok(Identity { key: PrivatePkcs8KeyDer::from(key.to_vec()).into(), chain })
}

/// The trusted certificates; as in Java, the own certificate of a private key is one.
pub(super) fn trusted(file: &TlsFile, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let store = open(file, bytes)?;
    Ok(store
        .entries
        .into_iter()
        .filter_map(|entry| match entry.content {
            Content::Trusted(certificate) => Some(certificate),
            Content::Key { chain, .. } => chain.into_iter().next(),
        })
        .collect())
}

fn open(file: &TlsFile, bytes: &[u8]) -> Result<Store, MaterialError> {
    parse(bytes, file.password.as_ref().map(Password::expose)).map_err(|refused| match refused {
        Refused::Password => MaterialError::wrong_password(file),
        Refused::Format => damaged(file),
    })
}

fn damaged(file: &TlsFile) -> MaterialError {
    MaterialError::of(
        file,
        "it is not a whole JKS store",
        "copy it anew, or convert it with keytool -importkeystore",
    )
}

/// Why a store was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tls) enum Refused {
    /// The digest does not fit: the password is wrong, or bytes were changed.
    Password,
    /// The bytes are no JKS store, or not a whole one.
    Format,
}

/// The entries of a store.
pub(in crate::tls) struct Store {
    pub(in crate::tls) entries: Vec<Entry>,
}

pub(in crate::tls) struct Entry {
    pub(in crate::tls) alias: String,
    pub(in crate::tls) content: Content,
}

pub(in crate::tls) enum Content {
    /// A private key, protected, and its certificates.
    Key { protected: Vec<u8>, chain: Vec<CertificateDer<'static>> },
    /// An authority's certificate.
    Trusted(CertificateDer<'static>),
}

/// Reads a store. Without a password its digest is not checked, as in Java.
pub(in crate::tls) fn parse(bytes: &[u8], password: Option<&str>) -> Result<Store, Refused> {
    let body = bytes.len().checked_sub(HASH).ok_or(Refused::Format)?;
    let (body, digest) = bytes.split_at(body);
    let mut from = Reader { rest: body };
    if from.u32()? != MAGIC {
        return Err(Refused::Format);
    }
    let version = from.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(Refused::Format);
    }
    let count = from.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let tag = from.u32()?;
        let alias = from.utf()?;
        from.take(8)?;
        let content = match tag {
            PRIVATE_KEY => {
                let len = from.length()?;
                let protected = from.take(len)?.to_vec();
                let certificates = from.u32()?;
                let mut chain = Vec::new();
                for _ in 0..certificates {
                    chain.push(from.certificate(version)?);
                }
                Content::Key { protected, chain }
            }
            TRUSTED => Content::Trusted(from.certificate(version)?),
            _ => return Err(Refused::Format),
        };
        entries.push(Entry { alias, content });
    }
    if !from.rest.is_empty() {
        return Err(Refused::Format);
    }
    match password {
        Some(password) if integrity(password, body)[..] != *digest => Err(Refused::Password),
        _ => Ok(Store { entries }),
    }
}

/// Opens a protected key. The result is PKCS#8.
pub(in crate::tls) fn unprotect(protected: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let octets = octets(protected).map_err(|_| Refused::Format)?;
    let inner = octets.len().checked_sub(2 * HASH).ok_or(Refused::Format)?;
    let (salt, rest) = octets.split_at(HASH);
    let (sealed, check) = rest.split_at(inner);
    let password = utf16(password);
    let key = apply_stream(sealed, salt, &password);
    let digest = Sha1::new().chain_update(&*password).chain_update(&*key).finalize();
    if digest[..] == *check { Ok(key) } else { Err(Refused::Password) }
}

fn octets(protected: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(protected)?;
    reader.sequence(|reader| {
        reader.sequence(|reader| {
            let algorithm = ObjectIdentifier::decode(reader)?;
            if algorithm != PROTECTED {
                return Err(x509_cert::der::Error::from(x509_cert::der::ErrorKind::OidUnknown {
                    oid: algorithm,
                }));
            }
            if !reader.is_finished() {
                AnyRef::decode(reader)?;
            }
            Ok(())
        })?;
        Ok(<&OctetStringRef>::decode(reader)?.as_bytes())
    })
}

fn apply_stream(content: &[u8], salt: &[u8], password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut word = Zeroizing::new(salt.to_vec());
    let mut done = Zeroizing::new(content.to_vec());
    for piece in done.chunks_mut(HASH) {
        let next = Sha1::new().chain_update(password).chain_update(&*word).finalize();
        word.copy_from_slice(&next);
        for (byte, key) in piece.iter_mut().zip(word.iter()) {
            *byte ^= key;
        }
    }
    done
}

fn integrity(password: &str, body: &[u8]) -> [u8; HASH] {
    let digest =
        Sha1::new().chain_update(&*utf16(password)).chain_update(WHITENER).chain_update(body).finalize();
    digest.into()
}

fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.encode_utf16().flat_map(u16::to_be_bytes).collect())
}

/// The rest of a store that has not been read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Refused> {
        let (piece, rest) = self.rest.split_at_checked(len).ok_or(Refused::Format)?;
        self.rest = rest;
        Ok(piece)
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn length(&mut self) -> Result<usize, Refused> {
        usize::try_from(self.u32()?).map_err(|_| Refused::Format)
    }

    /// Java's modified UTF-8 differs in two points from UTF-8; names rarely show them.
    fn utf(&mut self) -> Result<String, Refused> {
        let len = self.u16()?;
        Ok(String::from_utf8_lossy(self.take(usize::from(len))?).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, Refused> {
        if version == 2 {
            self.utf()?;
        }
        let len = self.length()?;
        Ok(CertificateDer::from(self.take(len)?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Zeroizing<Vec<u8>> {
        let key = protect(b"the key itself, longer than one hash", "changeit", [7; HASH]);
        let entries = [
            Entry {
                alias: "mine".into(),
                content: Content::Key { protected: key, chain: vec![CertificateDer::from(vec![1, 2, 3])] },
            },
            Entry { alias: "theirs".into(), content: Content::Trusted(CertificateDer::from(vec![4; 300])) },
        ];
        write(&entries, "changeit", 1)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let store = parse(&sample(), Some("changeit")).unwrap_or_else(|_| panic!("it was just written"));
        assert_eq!(store.entries.len(), 2);
        let Content::Key { protected, chain } = &store.entries[0].content else {
            panic!("a key comes first")
        };
        let key = unprotect(protected, "changeit").unwrap();
        assert_eq!(&key[..], b"the key itself, longer than one hash");
        assert_eq!(chain[0].as_ref(), [1, 2, 3]);
        assert_eq!(unprotect(protected, "other").unwrap_err(), Refused::Password);
    }

    #[test]
    fn rejects_a_wrong_password_and_changed_bytes() {
        let mut bytes = sample();
        assert_eq!(parse(&bytes, Some("other")).err(), Some(Refused::Password));
        assert!(parse(&bytes, None).is_ok(), "without a password nothing is checked, as in Java");
        let at = bytes.len() - HASH - 1;
        bytes[at] ^= 1;
        assert_eq!(parse(&bytes, Some("changeit")).err(), Some(Refused::Password));
    }

    #[test]
    fn rejects_every_truncation_and_every_length_beyond_the_end() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len], Some("changeit")).is_err(), "{len}");
        }
        let mut endless = bytes.to_vec();
        endless[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&endless, None).err(), Some(Refused::Format));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut store = MAGIC.to_be_bytes().to_vec();
            store.extend_from_slice(&bytes);
            drop(parse(&store, None));
            drop(unprotect(&bytes, "x"));
        }
    }
}
