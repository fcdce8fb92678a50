//! The writer, for `certs dev`.

use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::{Content, Entry, HASH, MAGIC, PRIVATE_KEY, PROTECTED, TRUSTED, apply_stream, integrity, utf16};

/// Writes a store of version 2. All entries have the same date.
pub(in crate::tls) fn write(entries: &[Entry], password: &str, date_ms: u64) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&2u32.to_be_bytes());
    put_len(&mut out, entries.len());
    for entry in entries {
        let tag = match entry.content {
            Content::Key { .. } => PRIVATE_KEY,
            Content::Trusted(_) => TRUSTED,
        };
        out.extend_from_slice(&tag.to_be_bytes());
        put_utf(&mut out, &entry.alias);
        out.extend_from_slice(&date_ms.to_be_bytes());
        match &entry.content {
            Content::Key { protected, chain } => {
                put_len(&mut out, protected.len());
                out.extend_from_slice(protected);
                put_len(&mut out, chain.len());
                for certificate in chain {
                    put_certificate(&mut out, certificate);
                }
            }
            Content::Trusted(certificate) => put_certificate(&mut out, certificate),
        }
    }
    let digest = integrity(password, &out);
    out.extend_from_slice(&digest);
    out
}

/// Protects a key (PKCS#8) as KeyProtector does. An attacker who has the file can try passwords at the speed of
/// SHA-1.
pub(in crate::tls) fn protect(key: &[u8], password: &str, salt: [u8; HASH]) -> Vec<u8> {
    let password = utf16(password);
    let check = Sha1::new().chain_update(&*password).chain_update(key).finalize();
    let mut octets = salt.to_vec();
    octets.extend_from_slice(&apply_stream(key, &salt, &password));
    octets.extend_from_slice(&check);

    let mut algorithm = tagged(0x06, PROTECTED.as_bytes());
    algorithm.extend_from_slice(&[0x05, 0x00]);
    let mut inner = tagged(0x30, &algorithm);
    inner.extend_from_slice(&tagged(0x04, &octets));
    tagged(0x30, &inner)
}

/// One DER value of up to 64 KiB.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("keys are shorter than 64 KiB");
    let [high, low] = len.to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("what is written here is small");
    out.extend_from_slice(&len.to_be_bytes());
}

fn put_utf(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("names here are short");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_certificate(out: &mut Vec<u8>, certificate: &CertificateDer<'_>) {
    put_utf(out, "X.509");
    put_len(out, certificate.len());
    out.extend_from_slice(certificate);
}
