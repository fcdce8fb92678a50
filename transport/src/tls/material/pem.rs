//! PEM (RFC 7468): blocks of base64 between a BEGIN line and an END line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use sealed_shuffle_config::{Password, TlsFile};
use zeroize::Zeroizing;

use super::MaterialError;

/// One block.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// A fault of a PEM text, and its remedy.
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) remedy: &'static str,
}

impl Fault {
    fn new(reason: impl Into<String>, remedy: &'static str) -> Self {
        Self { reason: reason.into(), remedy }
    }

    fn of(self, file: &TlsFile) -> MaterialError {
        MaterialError::of(file, self.reason, self.remedy)
    }
}

/// Every block of a text; text between blocks is skipped.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_pem())?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let Some(line) = lines.next() else {
                return Err(Fault::new(format!("its block {label} has no end"), "copy the whole file anew"));
            };
            if line.starts_with("-----END ") {
                break;
            }
            if line.contains(':') {
                return Err(Fault::new(
                    format!("its block {label} is encrypted in the manner of old OpenSSL versions"),
                    "convert the key with openssl pkcs8 -topk8 -v2 aes-256-cbc",
                ));
            }
            body.push_str(line);
        }
        let der = STANDARD.decode(body.as_bytes()).map_err(|_| {
            Fault::new(format!("its block {label} is not base64"), "copy the whole file anew")
        })?;
        blocks.push(Block { label: label.to_owned(), der: Zeroizing::new(der) });
    }
    if blocks.is_empty() { Err(not_pem()) } else { Ok(blocks) }
}

fn not_pem() -> Fault {
    Fault::new("it is not a PEM file: no line in it begins with -----BEGIN", "convert it with openssl")
}

/// The certificates among blocks.
pub(super) fn certificates_of(blocks: &[Block]) -> impl Iterator<Item = CertificateDer<'static>> {
    blocks
        .iter()
        .filter(|block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|block| CertificateDer::from(block.der.to_vec()))
}

/// The only private key among blocks.
pub(super) fn private_key_of(
    blocks: &[Block],
    password: Option<&Password>,
) -> Result<PrivateKeyDer<'static>, Fault> {
    let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = keys.next() else {
        return Err(Fault::new("there is no private key in it", "add it as PKCS#8 (openssl pkcs8 -topk8)"));
    };
    if keys.next().is_some() {
        return Err(Fault::new("there is more than one private key in it", "leave that of our certificate"));
    }
    let der = || block.der.to_vec();
    match block.label.as_str() {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der()).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der()).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der()).into()),
        "ENCRYPTED PRIVATE KEY" => decrypt(&block.der, password),
        other => Err(Fault::new(
            format!("its key is of the kind {other}, which is not read here"),
            "convert it with openssl pkcs8 -topk8",
        )),
    }
}

fn decrypt(der: &[u8], password: Option<&Password>) -> Result<PrivateKeyDer<'static>, Fault> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| {
        Fault::new(
            format!("its key is encrypted in a way that is not read here ({error})"),
            "convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc",
        )
    })?;
    if matches!(info.encryption_algorithm, EncryptionScheme::Pbes1(_)) {
        return Err(Fault::new(
            "its key is encrypted with PBES1 (as pbeWithMD5AndDES-CBC), which is broken and not read here, whatever the \
             password",
            "convert it: openssl pkcs8 -provider legacy -provider default -in OLD -out PLAIN, then openssl pkcs8 -topk8 \
             -v2 aes-256-cbc -in PLAIN -out NEW",
        ));
    }
    let Some(password) = password else {
        return Err(Fault::new(
            "its key is encrypted, and there is no password",
            "set spark.ssl.rpc.privateKeyPassword",
        ));
    };
    let plain = info.decrypt(password.expose()).map_err(|_| {
        Fault::new(
            "the password does not open its key",
            "set spark.ssl.rpc.privateKeyPassword to the one it was made with",
        )
    })?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}

/// A file of certificates.
pub(super) fn certificates(
    file: &TlsFile,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let blocks = blocks(bytes).map_err(|fault| fault.of(file))?;
    let certificates: Vec<_> = certificates_of(&blocks).collect();
    if certificates.is_empty() {
        return Err(MaterialError::of(
            file,
            "there is no certificate in it",
            "name a PEM file with certificates",
        ));
    }
    Ok(certificates)
}

/// A file with one private key.
pub(super) fn private_key(file: &TlsFile, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let blocks = blocks(bytes).map_err(|fault| fault.of(file))?;
    private_key_of(&blocks, file.password.as_ref()).map_err(|fault| fault.of(file))
}
