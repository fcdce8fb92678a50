//! Loads keys and certificates from the place that the configuration names.
//!
//! [`load`] opens the files, or runs the command, and returns DER; it blocks. Every read has a bound. An error has
//! the key that named the material, the file, the reason and the remedy. Java's stores are told apart by their first
//! bytes, as Java does.

mod bundle;
mod command;
mod error;
mod java_store;
pub(super) mod jks;
mod pem;
mod pkcs12;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealed_shuffle_config::{TlsConfig, TlsFile, TlsSource};
use zeroize::Zeroizing;

pub use self::error::MaterialError;
use super::certificate::CertificateSummary;

/// Longest file, and longest output of a command. A store of every public authority has a tenth of it.
const LARGEST: u64 = 4 << 20;

/// Most certificates in our chain: it must fit into the first message of a connection.
const LONGEST_CHAIN: usize = 10;

/// Our key and certificate, and the authorities that we trust.
#[derive(Debug, Default)]
pub struct Material {
    /// Our identity; a client may have none.
    pub identity: Option<Identity>,
    /// The trusted authorities.
    pub trusted: Vec<CertificateDer<'static>>,
    /// Warnings for the operator. The material can be used all the same.
    pub warnings: Vec<String>,
}

/// Our key, and the certificates that prove that it is ours.
pub struct Identity {
    /// The private key; wiped when dropped.
    pub(super) key: PrivateKeyDer<'static>,
    /// Our certificate first, then those that lead to an authority.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Identity {
    /// The summary of our certificate.
    pub fn summary(&self) -> Option<CertificateSummary> {
        CertificateSummary::of(self.chain.first()?)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// Opens everything that the configuration names.
pub fn load(config: &TlsConfig) -> Result<Material, MaterialError> {
    let mut material = Material::default();
    match &config.source {
        TlsSource::Stores { key_store, key_password, trust_store } => {
            if let Some(file) = key_store {
                let bytes = read(file, &mut material, true)?;
                let identity =
                    java_store::identity(file, &bytes, key_password.as_ref(), &mut material.warnings)?;
                material.identity = Some(identity);
            }
            if let Some(file) = trust_store {
                let bytes = read(file, &mut material, false)?;
                material.trusted = java_store::trusted(file, &bytes)?;
            }
        }
        TlsSource::Pem { private_key, chain, trust_store } => {
            let key = pem::private_key(private_key, &read(private_key, &mut material, true)?)?;
            let chain_file = chain;
            let chain = pem::certificates(chain, &read(chain, &mut material, false)?)?;
            material.trusted.clone_from(&chain);
            if let Some(file) = trust_store {
                let bytes = read(file, &mut material, false)?;
                material.trusted.extend(java_store::trusted(file, &bytes)?);
            }
            if chain.len() > LONGEST_CHAIN {
                return Err(MaterialError::of(
                    chain_file,
                    format!("it has {} certificates, and at most {LONGEST_CHAIN} can be sent", chain.len()),
                    "leave our certificate and those between it and its authority, and put others into a trust store",
                ));
            }
            material.identity = Some(Identity { key, chain });
        }
        TlsSource::Bundle(file) => {
            let bytes = read(file, &mut material, true)?;
            bundle::unpack(file, &bytes, &mut material)?;
        }
        TlsSource::Command { argv, origin } => {
            let output = command::run(argv, origin)?;
            command::take_apart(argv, origin, &output, &mut material)?;
        }
    }
    Ok(material)
}

/// Every file that the material was made of. If one changes, the material has to be loaded again.
pub(super) fn files(config: &TlsConfig) -> Vec<&Path> {
    let files: Vec<Option<&TlsFile>> = match &config.source {
        TlsSource::Stores { key_store, trust_store, .. } => vec![key_store.as_ref(), trust_store.as_ref()],
        TlsSource::Pem { private_key, chain, trust_store } => {
            vec![Some(private_key), Some(chain), trust_store.as_ref()]
        }
        TlsSource::Bundle(file) => vec![Some(file)],
        TlsSource::Command { .. } => Vec::new(),
    };
    files.into_iter().flatten().map(|file| file.path.as_path()).collect()
}

/// Reads a whole file; warns if other users can read a private key in it.
fn read(
    file: &TlsFile,
    material: &mut Material,
    is_secret: bool,
) -> Result<Zeroizing<Vec<u8>>, MaterialError> {
    let open = || -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
        let opened = File::open(&file.path)?;
        let metadata = opened.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((read_bounded(opened, metadata.len())?, metadata.mode() & 0o7777))
    };
    let (bytes, mode) = open().map_err(|error| MaterialError::unreadable(file, error))?;
    if is_secret && mode & 0o077 != 0 {
        material.warnings.push(format!(
            "file {} with the private key is open to other users (mode {mode:04o}): chmod 600",
            file.path.display()
        ));
    }
    Ok(bytes)
}

/// Reads to the end, into one buffer that never moves, so that no copy of a key stays behind.
fn read_bounded(from: impl Read, expected: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    if expected > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 4 MiB"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1));
    let mut from = from.take(LARGEST + 1);
    from.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 4 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
