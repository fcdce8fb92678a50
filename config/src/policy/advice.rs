//! The texts for a peer or an operator whose channel is not good enough: the mode in use, the channels that are served,
//! and the key of Spark's that changes the mode.
//!
//! Which release knows which mode: GCM works in those of [`SOUND_GCM`] (GcmTransportCipher), `spark.ssl.rpc`
//! exists from 4.0 on (SSLFactory), the X25519 handshake from 3.1 on (AuthEngine).

use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::channel::{Channel, Handshake};
use sealed_shuffle_protocol::cipher::{BROKEN_GCM, SOUND_GCM};
use sealed_shuffle_protocol::ids::AppId;

use super::{Rules, ServedLevels, names};

const AES: &str = "spark.network.crypto.enabled=true";
const GCM: &str = "spark.network.crypto.cipher=AES/GCM/NoPadding";
const TLS: &str = "spark.ssl.rpc.enabled=true";

/// The text of a refusal. Begins with a Java class, as peers expect.
pub(super) fn refusal(rules: Rules<'_>, app: Option<&AppId>, channel: &Channel) -> String {
    let key = match app {
        Some(_) => "spark.sealed.security.minimum or one of spark.sealed.security.app.*",
        None => "spark.sealed.security.minimum",
    };
    let served = match rules.served {
        ServedLevels::AtLeast(minimum) => format!("nothing below {minimum} ({key})"),
        ServedLevels::Only(allow) => format!("only {} (spark.sealed.security.allow)", names(allow)),
    };
    format!(
        "java.lang.SecurityException: This connection uses {}, and this server serves {served}: {} in the application.",
        mode(channel),
        cure(channel, rules.lowest_above(channel.level)),
    )
}

/// The line of the table: what would happen at `target`, and what to set.
pub(super) fn would_be_refused(channel: &Channel, target: SecurityLevel) -> String {
    format!("would be refused at {target}; {} in the application", cure(channel, target))
}

/// The same, where the policy does not serve it now.
pub(super) fn is_refused(rules: Rules<'_>, channel: &Channel) -> String {
    let served = match rules.served {
        ServedLevels::AtLeast(minimum) => format!("below the minimum {minimum}"),
        ServedLevels::Only(allow) => format!("not {}", names(allow)),
    };
    format!("is refused: {served}; {} in the application", cure(channel, rules.lowest_above(channel.level)))
}

/// The change that lifts `channel` to `wanted`, as an imperative.
pub(super) fn cure(channel: &Channel, wanted: SecurityLevel) -> String {
    use SecurityLevel::{AesCtr, AesGcm, AesLegacy, Plaintext, SaslConf, Tls};

    let from = channel.level;
    if wanted < from {
        return format!("this server wants {wanted} and no other; configure that mode");
    }
    match (wanted, from) {
        (Tls, _) => format!("set {TLS} (Spark 4.0 and later)"),
        (AesGcm, AesCtr) => {
            format!(
                "set {GCM} (Spark {SOUND_GCM}; that of {BROKEN_GCM} loses messages, and older ones have none)"
            )
        }
        (AesGcm | AesCtr, AesLegacy) => "move to Spark 3.1 or later, whose handshake is another,".to_owned(),
        (AesGcm, _) => format!("{} and {GCM} (Spark {SOUND_GCM})", crypto(channel)),
        (AesCtr | AesLegacy, _) => crypto(channel),
        (SaslConf, _) => match channel.handshake {
            Handshake::None => format!("set spark.authenticate=true and {AES}"),
            _ => format!("set {AES} (or spark.authenticate.enableSaslEncryption=true)"),
        },
        (Plaintext, _) => "switch encryption off".to_owned(),
    }
}

/// How a peer that uses no AES gets there.
fn crypto(channel: &Channel) -> String {
    match channel.handshake {
        Handshake::None => format!("set spark.authenticate=true and {AES}"),
        _ => format!("set {AES}"),
    }
}

/// The mode in words: SASL without encryption is a clear channel, and says so.
fn mode(channel: &Channel) -> String {
    match (channel.level, channel.handshake) {
        (SecurityLevel::Plaintext, Handshake::Sasl) => "plaintext (SASL without encryption)".to_owned(),
        (level, Handshake::Sasl) if level == SecurityLevel::SaslConf => {
            format!("{level} ({})", channel.cipher)
        }
        (level, _) => level.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sealed_shuffle_protocol::auth::EngineVersion;
    use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};

    use super::super::Policy;
    use super::*;

    fn sasl(level: SecurityLevel, cipher: &'static str) -> Channel {
        Channel { level, handshake: Handshake::Sasl, cipher, tls: None }
    }

    #[test]
    fn a_refusal_names_the_mode_the_minimum_and_the_key_to_change() {
        use SecurityLevel::{AesCtr, AesGcm, AesLegacy, Plaintext, SaslConf, Tls};

        let version = EngineVersion::V1;
        let legacy = Channel {
            level: AesLegacy,
            handshake: Handshake::Pbkdf2,
            cipher: "AES/CTR/NoPadding",
            tls: None,
        };
        let ctr = Channel::aes(SessionMode { version, cipher: SessionCipher::Ctr });
        let gcm = Channel::aes(SessionMode { version, cipher: SessionCipher::Gcm });
        for (channel, minimum, words) in [
            (
                Channel::PLAINTEXT,
                AesCtr,
                &["spark.authenticate=true", "spark.network.crypto.enabled=true"][..],
            ),
            (sasl(Plaintext, "none"), SaslConf, &["SASL without encryption", "enableSaslEncryption=true"]),
            (sasl(SaslConf, "3des"), AesCtr, &["sasl-conf (3des)", "spark.network.crypto.enabled=true"]),
            (sasl(SaslConf, "rc4"), AesGcm, &["spark.network.crypto.cipher=AES/GCM/NoPadding", "3.5.9"]),
            (legacy, AesCtr, &["aes-legacy", "Spark 3.1"]),
            (ctr, AesGcm, &["spark.network.crypto.cipher=AES/GCM/NoPadding", SOUND_GCM, "3.5.8"]),
            (ctr, Tls, &["spark.ssl.rpc.enabled=true", "4.0"]),
            (gcm, Tls, &["spark.ssl.rpc.enabled=true"]),
        ] {
            let text = Policy::at_least(minimum).refusal(None, &channel);
            assert!(text.starts_with("java.lang.SecurityException: "), "{text}");
            for word in words.iter().copied().chain([channel.level.name(), minimum.name()]) {
                assert!(text.contains(word), "{word:?} is not in {text:?}");
            }
        }
    }

    #[test]
    fn a_set_is_named_instead_of_the_minimum() {
        let allow = Some(BTreeSet::from([SecurityLevel::AesGcm, SecurityLevel::Tls]));
        let policy = Policy { allow, ..Policy::at_least(SecurityLevel::AesGcm) };
        let text = policy.refusal(None, &Channel::PLAINTEXT);
        assert!(text.contains("only aes-gcm, tls (spark.sealed.security.allow)"), "{text}");
    }

    #[test]
    fn who_stands_above_the_set_is_told_so() {
        let allow = Some(BTreeSet::from([SecurityLevel::AesCtr]));
        let policy = Policy { allow, ..Policy::at_least(SecurityLevel::AesCtr) };
        let gcm = Channel::aes(SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Gcm });
        assert!(policy.refusal(None, &gcm).contains("wants aes-ctr and no other"));
    }

    #[test]
    fn advice_exists_below_the_target_alone() {
        let policy = Policy::at_least(SecurityLevel::AesCtr);
        let ctr = Channel::aes(SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr });
        let advice = policy.advice(None, &ctr).expect("CTR is below GCM");
        assert!(
            advice.starts_with("would be refused at aes-gcm; set spark.network.crypto.cipher="),
            "{advice}"
        );
        let gcm = Channel::aes(SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Gcm });
        assert_eq!(policy.advice(None, &gcm), None);
    }
}
