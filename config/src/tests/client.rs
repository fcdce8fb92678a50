//! The typed configuration of a client.

use std::time::Duration;

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::SessionCipher;

use super::*;
use crate::ClientSecurity;

fn with_secret() -> FakeEnvironment {
    FakeEnvironment::default().with_var("_SPARK_AUTH_SECRET", "hunter2")
}

#[test]
fn defaults_are_sparks_but_for_encryption() {
    let config = client(&[], &with_secret()).unwrap();
    let ClientSecurity::Aes { engine, cipher, .. } = config.security else { panic!("AES expected") };
    assert_eq!((engine, cipher), (EngineVersion::V1, SessionCipher::Ctr));
    assert_eq!((config.max_retries, config.retry_wait), (3, Duration::from_secs(5)));
    assert_eq!(config.timeouts.registration, Duration::from_millis(5000));
    assert_eq!(config.timeouts.connect, Some(Duration::from_secs(120)));
    assert_eq!(config.timeouts.auth, Duration::from_secs(30));
    assert_eq!(
        (config.max_fetch_to_memory.to_string(), config.max_size_in_flight.to_string()),
        ("200m".into(), "48m".into())
    );
    assert_eq!(
        (config.max_block_to_push.to_string(), config.max_push_batch.to_string()),
        ("1m".into(), "3m".into())
    );
    assert_eq!((config.connections_per_peer, config.old_fetch_protocol), (1, false));
}

#[test]
fn cipher_and_engine_are_chosen_by_sparks_keys() {
    let settings =
        ["spark.network.crypto.cipher=AES/GCM/NoPadding", "spark.network.crypto.authEngineVersion=2"];
    let config = client(&settings, &with_secret()).unwrap();
    let ClientSecurity::Aes { engine, cipher, .. } = config.security else { panic!("AES expected") };
    assert_eq!((engine, cipher), (EngineVersion::V2, SessionCipher::Gcm));
}

#[test]
fn clear_text_is_spoken_only_when_asked_for() {
    let nothing = FakeEnvironment::default();
    for (settings, environment) in [
        (&["spark.authenticate=false"][..], &nothing),
        (&["spark.authenticate=false"], &with_secret()),
        (&["spark.sealed.security.minimum=plaintext"], &nothing),
    ] {
        let config = client(settings, environment).unwrap();
        assert!(matches!(config.security, ClientSecurity::Plaintext));
        assert!(warnings(config.notices())[0].contains("clear text"));
    }
    let config = client(&["spark.sealed.security.minimum=plaintext"], &with_secret()).unwrap();
    assert!(matches!(config.security, ClientSecurity::Aes { .. }));
}

#[test]
fn a_missing_secret_is_refused() {
    let nothing = FakeEnvironment::default();
    for settings in [
        &[][..],
        &["spark.authenticate=true"],
        &["spark.authenticate=true", "spark.sealed.security.minimum=plaintext"],
    ] {
        assert_refused(
            client(settings, &nothing),
            "spark.authenticate.secret",
            &["no secret", "spark.authenticate=false"],
        );
    }
}

#[test]
fn only_false_in_so_many_words_makes_a_client_speak_sasl() {
    let with_secret = with_secret();
    assert!(matches!(client(&[], &with_secret).unwrap().security, ClientSecurity::Aes { .. }));
    let off = "spark.network.crypto.enabled=false";
    let config = client(&[off], &with_secret).unwrap();
    assert!(matches!(config.security, ClientSecurity::Sasl { encrypt: false, .. }));
    assert!(warnings(config.notices())[0].contains("in clear text"));
    let config = client(&[off, "spark.authenticate.enableSaslEncryption=true"], &with_secret).unwrap();
    assert!(matches!(config.security, ClientSecurity::Sasl { encrypt: true, .. }));
    assert_refused(
        client(&[off, "spark.sealed.security.minimum=sasl-conf"], &with_secret),
        "spark.network.crypto.enabled",
        &["plaintext", "below"],
    );
}

#[test]
fn the_older_handshake_is_spoken_when_asked_for() {
    let legacy = "spark.sealed.client.handshake=legacy";
    let config = client(&[legacy, "spark.network.crypto.keyLength=256"], &with_secret()).unwrap();
    assert!(matches!(config.security, ClientSecurity::Legacy { iterations: 1024, key_bits: 256, .. }));
    assert_refused(
        client(&[legacy, "spark.sealed.security.minimum=aes-ctr"], &with_secret()),
        "spark.sealed.client.handshake",
        &["aes-legacy", "below"],
    );
}

#[test]
fn a_client_never_speaks_less_than_the_minimum() {
    let minimum = "spark.sealed.security.minimum=aes-gcm";
    assert_refused(
        client(&[minimum], &with_secret()),
        "spark.network.crypto.cipher",
        &["below", "AES/GCM/NoPadding"],
    );
    assert!(client(&[minimum, "spark.network.crypto.cipher=AES/GCM/NoPadding"], &with_secret()).is_ok());
    assert_refused(
        client(&[minimum, "spark.authenticate=false"], &with_secret()),
        "spark.authenticate",
        &["below"],
    );
}

#[test]
fn within_tls_every_mode_reaches_every_minimum() {
    let tls = [
        "spark.ssl.rpc.enabled=true",
        "spark.ssl.rpc.trustStore=/ca.p12",
        "spark.sealed.security.minimum=tls",
    ];
    for (inside, secret) in [
        ("spark.network.crypto.enabled=false", true),
        ("spark.network.crypto.cipher=AES/CTR/NoPadding", true),
        ("spark.authenticate=false", false),
    ] {
        let environment = if secret { with_secret() } else { bare() };
        let config = client(&[&tls[..], &[inside]].concat(), &environment).unwrap();
        assert!(config.tls.is_some(), "{inside}");
        assert_eq!(warnings(config.notices()), Vec::<&str>::new(), "{inside}");
    }
}

#[test]
fn a_client_needs_no_roots() {
    assert!(client(&["spark.local.dir="], &with_secret()).is_ok());
}
