//! What protects blocks and who proves who it is: secrets, channels, certificates, keys, and what the process gives up.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_config::{ConfiguredSecret, KeySource, Origin, Policy, SecretSource, ServerConfig};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SOUND_GCM;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::tls::{CertificateSummary, LiveServerTls};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::finding::Finding;
use crate::audit::reading::{LastSeal, last_seal};
use crate::confinement::Confinement;
use crate::keys::envelope::{self, EnvelopeKeys, KeyCalls};

/// A secret below this many bytes can be guessed by trying, from one recorded handshake.
const SHORTEST_SECRET: usize = 16;

/// Days before the end of a certificate on which it is said.
const SOON: u64 = 30;

/// How long the key service is waited for.
const KEY_SERVICE: Duration = Duration::from_secs(30);

const DAY: u64 = 24 * 60 * 60;

pub(super) fn look(config: &ServerConfig) -> Vec<Finding> {
    let mut found: Vec<Finding> = config.secret.iter().flat_map(secret).collect();
    found.extend(channels(&config.policy));
    found.extend(certificate(config));
    found.extend(key_file(config));
    found.push(audit_trail(config));
    found.extend(Confinement::of(config).describe().into_iter().map(
        |line| match line.contains("not in force") {
            true => Finding::warning("confinement", line),
            false => Finding::good("confinement", line),
        },
    ));
    found
}

/// Whether who did what is written down, where, and how old the seal of its end is.
fn audit_trail(config: &ServerConfig) -> Finding {
    const ABOUT: &str = "audit trail";
    let Some(trail) = &config.audit else {
        return Finding::good(ABOUT, "off: nobody writes down who did what (spark.sealed.audit.enabled)");
    };
    let (dir, files, size) = (trail.dir.display(), trail.files, trail.file_size);
    let place = format!("in {dir}, at most {files} files of {size}");
    match last_seal(&OnLane::here(), &trail.dir) {
        Ok(None) => Finding::good(ABOUT, format!("{place}: there is none yet")),
        Ok(Some(LastSeal { record, at })) => {
            let at = OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default();
            Finding::good(ABOUT, format!("{place}: sealed up to record {record} at {at}"))
        }
        Err(error) => Finding::fault(ABOUT, format!("{place}: its end cannot be read: {error}")).hint(
            "run this as the server's user; sealed-shuffle audit verify says what is wrong with a trail",
        ),
    }
}

fn secret(secret: &ConfiguredSecret) -> Vec<Finding> {
    const ABOUT: &str = "secret";
    let mut found = Vec::new();
    let len = secret.text.len();
    let first = secret.text.bytes().next();
    if len < SHORTEST_SECRET || secret.text.bytes().all(|byte| Some(byte) == first) {
        let text = format!("the secret of {} can be guessed: it has {len} bytes", secret.source);
        found.push(
            Finding::warning(ABOUT, text).hint("make one with `openssl rand -hex 32`, and rotate to it"),
        );
    }
    let file = match &secret.source {
        SecretSource::Key(Origin::File { path, .. }) => Some(path),
        _ => None,
    };
    if let Some((path, mode)) = file.and_then(|path| Some((path, open_to_others(path)?))) {
        let text =
            format!("{} holds the secret, and its mode {mode:04o} lets every user read it", path.display());
        let hint = "name a file of mode 0600 in spark.sealed.auth.secret-file, or chmod 0640 with a group of the few";
        found.push(Finding::warning(ABOUT, text).hint(hint));
    }
    if found.is_empty() {
        found.push(Finding::good(ABOUT, format!("{}, {len} bytes", secret.source)));
    }
    found
}

/// The mode of a file that others may read.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o004 != 0).then_some(mode)
}

fn channels(policy: &Policy) -> Vec<Finding> {
    const ABOUT: &str = "channels";
    let mut found = Vec::new();
    if policy.serves(SecurityLevel::Plaintext) {
        found.push(
            Finding::warning(ABOUT, "plaintext is served: blocks cross the network in clear")
                .hint("spark.sealed.security.minimum=aes-gcm, when `sealed-shuffle apps` names nobody who would be refused"),
        );
    }
    if policy.serves(SecurityLevel::AesCtr) {
        found.push(
            Finding::warning(
                ABOUT,
                "AES-CTR is served, which Spark speaks unless told otherwise: nobody notices bytes that were changed on \
                 the way (CVE-2025-55039)",
            )
            .hint(format!(
                "applications: spark.network.crypto.cipher=AES/GCM/NoPadding (Spark {SOUND_GCM}); here, when all do: \
                 spark.sealed.security.minimum=aes-gcm"
            )),
        );
    }
    if found.is_empty() {
        found.push(Finding::good(ABOUT, format!("{policy}")));
    }
    found
}

fn certificate(config: &ServerConfig) -> Option<Finding> {
    const ABOUT: &str = "certificate";
    let tls = match LiveServerTls::load(config.tls.clone()?) {
        Ok(tls) => tls,
        Err(error) => return Some(Finding::fault(ABOUT, error.to_string())),
    };
    Some(valid_for(&*tls.own()?, SystemTime::now()))
}

fn valid_for(own: &CertificateSummary, now: SystemTime) -> Finding {
    const ABOUT: &str = "certificate";
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = own.not_after.saturating_sub(since).as_secs() / DAY;
    let hint = "renew it; the server takes up new files by itself";
    match own.out_of_date(now) {
        Some(why) => Finding::fault(ABOUT, format!("{own}: {why}")).hint(hint),
        None if days < SOON => Finding::warning(ABOUT, format!("{own}: {days} days are left")).hint(hint),
        None => Finding::good(ABOUT, format!("{own}: {days} days are left")),
    }
}

fn key_file(config: &ServerConfig) -> Vec<Finding> {
    let warnings = envelope::warnings(&OnLane::here(), config);
    warnings.into_iter().map(|text| Finding::warning("keys", text)).collect()
}

/// Asks the key service for a key, where there is one; a local key file is not made by asking.
pub(super) async fn ask_key_service(config: &ServerConfig) -> Option<Finding> {
    const ABOUT: &str = "keys";
    if matches!(config.envelope.source, KeySource::LocalFile { .. }) {
        return None;
    }
    let asked = async {
        let keys = EnvelopeKeys::from_config(config, KeyCalls::default()).await?;
        let context = keys.context(&AppId::new("sealed-shuffle-check"));
        let (_, wrapped) = keys.provider().generate(&context).await?;
        keys.provider().unwrap(&wrapped, &context).await
    };
    Some(match tokio::time::timeout(KEY_SERVICE, asked).await {
        Ok(Ok(_)) => Finding::good(ABOUT, "the key service made a key and opened it again"),
        Ok(Err(error)) if error.kind().may_pass() => Finding::warning(ABOUT, error.to_string())
            .hint("the server starts, and serves what needs no key until the key service answers"),
        Ok(Err(error)) => Finding::fault(ABOUT, error.to_string()),
        Err(_) => Finding::warning(ABOUT, "the key service does not answer")
            .hint("the server starts, and serves what needs no key until the key service answers"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn secret_that_can_be_guessed_or_read_by_all_is_said() {
        let severities =
            |of: &ConfiguredSecret| secret(of).iter().map(|found| found.severity).collect::<Vec<_>>();
        let strong = "0123456789abcdef0123456789abcdef";
        assert_eq!(severities(&ConfiguredSecret::new(strong)), [Severity::Good]);
        assert_eq!(severities(&ConfiguredSecret::new("x")), [Severity::Warning]);
        assert_eq!(severities(&ConfiguredSecret::new("x".repeat(40))), [Severity::Warning]);

        let file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::Key(Origin::File { path: file.path().to_owned(), line: 1 });
        let in_file = ConfiguredSecret { source, ..ConfiguredSecret::new(strong) };
        for (mode, severity) in [(0o644, Severity::Warning), (0o640, Severity::Good)] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(severities(&in_file), [severity], "{mode:o}");
        }
    }

    #[test]
    fn each_channel_without_integrity_is_said() {
        let warnings = |policy: &Policy| {
            channels(policy).iter().filter(|finding| finding.severity == Severity::Warning).count()
        };
        assert_eq!(warnings(&Policy::at_least(SecurityLevel::Plaintext)), 2);
        assert_eq!(warnings(&Policy::at_least(SecurityLevel::AesCtr)), 1);
        assert_eq!(warnings(&Policy::at_least(SecurityLevel::AesGcm)), 0);
    }

    #[test]
    fn certificate_is_good_until_a_month_before_its_end() {
        let (day, now) = (Duration::from_secs(DAY), SystemTime::now());
        let today = now.duration_since(UNIX_EPOCH).unwrap();
        let ending = |left: Duration| CertificateSummary {
            subject: "CN=here".to_owned(),
            issuer: "CN=there".to_owned(),
            names: Vec::new(),
            not_before: today - 100 * day,
            not_after: today - 50 * day + left,
            fingerprint: String::new(),
            is_development: false,
        };
        let severity = |days: u32| valid_for(&ending(days * day), now).severity;
        assert_eq!(
            [severity(100), severity(60), severity(40)],
            [Severity::Good, Severity::Warning, Severity::Fault]
        );
    }
}
