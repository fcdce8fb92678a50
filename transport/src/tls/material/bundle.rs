//! A zip file with key, certificates and authorities: one file that is replaced in one go.

use std::io::{Cursor, Read};

use rustls::pki_types::CertificateDer;
use sealed_shuffle_config::TlsFile;
use zeroize::Zeroizing;
use zip::ZipArchive;
use zip::result::ZipError;

use super::{Identity, LONGEST_CHAIN, Material, MaterialError, pem};

/// Our private key.
pub(in crate::tls) const PRIVATE_KEY: &str = "privateKey.pem";
/// Our certificate, and those between it and its authority.
pub(in crate::tls) const CHAIN: &str = "certificateChain.pem";
/// Authorities.
pub(in crate::tls) const TRUSTED: &str = "trustedCertificates.pem";

/// Longest unpacked size of one of the three.
const LARGEST_MEMBER: u64 = 2 << 20;

/// Takes the entries that are there into the material. The side decides which of them are required.
pub(super) fn unpack(file: &TlsFile, bytes: &[u8], material: &mut Material) -> Result<(), MaterialError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        MaterialError::of(
            file,
            format!("it is not a zip file ({error})"),
            format!("make it with zip, of {PRIVATE_KEY}, {CHAIN} and {TRUSTED}"),
        )
        .caused_by(error)
    })?;
    let key = member(file, &mut archive, PRIVATE_KEY)?;
    let chain = member(file, &mut archive, CHAIN)?;
    let trusted = member(file, &mut archive, TRUSTED)?;
    match (key, chain) {
        (Some(key), Some(chain)) => {
            let key = read(
                file,
                PRIVATE_KEY,
                pem::blocks(&key).and_then(|blocks| pem::private_key_of(&blocks, None)),
            )?;
            let chain = certificates(file, CHAIN, &chain)?;
            if chain.len() > LONGEST_CHAIN {
                let reason = format!(
                    "{CHAIN} has {} certificates, and at most {LONGEST_CHAIN} can be sent",
                    chain.len()
                );
                return Err(MaterialError::of(file, reason, format!("put authorities into {TRUSTED}")));
            }
            material.identity = Some(Identity { key, chain });
        }
        (None, None) => {}
        (key, _) => {
            let missing = if key.is_some() { CHAIN } else { PRIVATE_KEY };
            return Err(MaterialError::of(
                file,
                format!("there is no {missing} in it"),
                "add it: the two go together",
            ));
        }
    }
    if let Some(trusted) = trusted {
        material.trusted = certificates(file, TRUSTED, &trusted)?;
    }
    Ok(())
}

fn certificates(
    file: &TlsFile,
    name: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let blocks = read(file, name, pem::blocks(text))?;
    let certificates: Vec<_> = pem::certificates_of(&blocks).collect();
    if certificates.is_empty() {
        return Err(MaterialError::of(
            file,
            format!("there is no certificate in {name}"),
            "add one, or leave the file out",
        ));
    }
    Ok(certificates)
}

fn read<T>(file: &TlsFile, name: &str, read: Result<T, pem::Fault>) -> Result<T, MaterialError> {
    read.map_err(|fault| MaterialError::of(file, format!("{name}: {}", fault.reason), fault.remedy))
}

fn member(
    file: &TlsFile,
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, MaterialError> {
    let refuse = |reason: String| {
        MaterialError::of(file, format!("{name} cannot be unpacked: {reason}"), "make the zip file anew")
    };
    let member = match archive.by_name(name) {
        Ok(member) => member,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(refuse(error.to_string()).caused_by(error)),
    };
    let expected = usize::try_from(member.size().min(LARGEST_MEMBER)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    member.take(LARGEST_MEMBER + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_MEMBER {
        return Err(refuse("it is longer than 2 MiB".into()));
    }
    Ok(Some(bytes))
}
