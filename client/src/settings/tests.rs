//! A client as Spark's keys have it.

use std::time::Duration;

use sealed_shuffle_config::fake::{FakeEnvironment, assert_refused, bare, conf, warnings};
use sealed_shuffle_config::{ConfigError, DefaultValue, Reader};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::sasl::Demand;

use super::*;

fn client(settings: &[&str], environment: &FakeEnvironment) -> Result<ClientConfig, ConfigError> {
    ClientConfig::from_sources(&conf(settings), environment)
}

fn with_secret() -> FakeEnvironment {
    FakeEnvironment::default().with_var("_SPARK_AUTH_SECRET", "hunter2")
}

#[test]
fn defaults_are_sparks_but_for_encryption() {
    let Settings {
        security: Security::Aes { mode, .. },
        connect_timeout,
        handshake_timeout,
        registration_timeout,
        max_retries,
        retry_wait,
        connections_per_peer,
        max_fetch_to_memory,
        max_size_in_flight,
        max_block_to_push,
        max_push_batch,
        old_fetch_protocol,
        ..
    } = client(&[], &with_secret()).unwrap().settings
    else {
        panic!("AES expected")
    };
    assert_eq!(mode, SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr });
    assert_eq!((max_retries, retry_wait), (3, Duration::from_secs(5)));
    assert_eq!(registration_timeout, Duration::from_millis(5000));
    assert_eq!(connect_timeout, Duration::from_secs(120));
    assert_eq!(handshake_timeout, Duration::from_secs(30));
    assert_eq!((max_fetch_to_memory, max_size_in_flight), (200 << 20, 48 << 20));
    assert_eq!((max_block_to_push, max_push_batch), (1 << 20, 3 << 20));
    assert_eq!((connections_per_peer, old_fetch_protocol), (1, false));
}

#[test]
fn who_configures_nothing_has_the_defaults_of_the_keys() {
    let configured = client(&["spark.authenticate=false"], &bare()).unwrap().settings;
    assert_eq!(format!("{:?}", Settings::new(Security::Plaintext)), format!("{configured:?}"));
}

#[test]
fn a_deadline_of_zero_is_none() {
    let config = client(&["spark.shuffle.io.connectionTimeout=0"], &with_secret()).unwrap();
    assert_eq!((config.settings.answer_timeout, config.settings.connect_timeout), (NEVER, NEVER));
}

#[test]
fn cipher_and_engine_are_chosen_by_sparks_keys() {
    let settings =
        ["spark.network.crypto.cipher=AES/GCM/NoPadding", "spark.network.crypto.authEngineVersion=2"];
    let config = client(&settings, &with_secret()).unwrap();
    let Security::Aes { mode, .. } = config.settings.security else { panic!("AES expected") };
    assert_eq!(mode, SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm });
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
        assert!(matches!(config.settings.security, Security::Plaintext));
        assert!(warnings(&config.report.notices)[0].contains("clear text"));
    }
    let config = client(&["spark.sealed.security.minimum=plaintext"], &with_secret()).unwrap();
    assert!(matches!(config.settings.security, Security::Aes { .. }));
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
    assert!(matches!(client(&[], &with_secret).unwrap().settings.security, Security::Aes { .. }));
    let off = "spark.network.crypto.enabled=false";
    let config = client(&[off], &with_secret).unwrap();
    assert!(matches!(config.settings.security, Security::Sasl { wanted: Demand::Auth, .. }));
    assert!(warnings(&config.report.notices)[0].contains("in clear text"));
    let config = client(&[off, "spark.authenticate.enableSaslEncryption=true"], &with_secret).unwrap();
    assert!(matches!(config.settings.security, Security::Sasl { wanted: Demand::Conf(_), .. }));
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
    let Security::Legacy { settings, .. } = config.settings.security else { panic!("PBKDF2 expected") };
    assert_eq!((settings.iterations, settings.key_bits), (1024, 256));
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
        assert_eq!(warnings(&config.report.notices), Vec::<&str>::new(), "{inside}");
    }
}

#[test]
fn a_client_needs_no_roots() {
    assert!(client(&["spark.local.dir="], &with_secret()).is_ok());
}

#[test]
fn a_client_that_trusts_nobody_is_refused() {
    let settings = ["spark.ssl.rpc.enabled=true", "spark.ssl.rpc.keyStore=/k"];
    let error = client(&settings, &with_secret()).unwrap_err().to_string();
    assert!(error.contains("spark.ssl.rpc.trustStore"), "{error}");
}

#[test]
fn a_client_does_not_look_at_jvm_options() {
    let environment = with_secret().with_var("SPARK_SHUFFLE_OPTS", "-Dspark.shuffle.service.port=3");
    assert_eq!(client(&[], &environment).unwrap().service_port, 7337);
}

#[test]
fn old_names_count_when_the_new_one_is_not_set() {
    let environment = with_secret();
    let old = "spark.reducer.maxMbInFlight=10";
    let config = client(&[old], &environment).unwrap();
    assert_eq!(config.settings.max_size_in_flight, 10 << 20);
    assert!(warnings(&config.report.notices)[0].contains("use spark.reducer.maxSizeInFlight"));
    let both = client(&[old, "spark.reducer.maxSizeInFlight=20m"], &environment).unwrap();
    assert_eq!(both.settings.max_size_in_flight, 20 << 20);
    let two = ["spark.maxRemoteBlockSizeFetchToMem=1m", "spark.reducer.maxReqSizeShuffleToMem=2m"];
    assert_eq!(client(&two, &environment).unwrap().settings.max_fetch_to_memory, 2 << 20);
}

/// The bounds have a default in the protocol crate, for those who embed it, and one in the table.
#[test]
fn default_limits_are_those_of_the_protocol() {
    let config = client(&[], &with_secret()).unwrap();
    assert_eq!(format!("{:?}", config.settings.limits), format!("{:?}", Limits::default()));
}

/// A key of the table that no configuration reads would be documented and without effect.
#[test]
fn every_key_of_a_client_with_a_default_is_read() {
    let effective = client(&[], &with_secret()).unwrap().report.effective;
    let indirect = ["spark.network.timeout", "spark.sealed.security.minimum"];
    for key in keys::all().filter(|key| key.reader().includes(Reader::Client)) {
        let is_read = effective.iter().any(|one| one.key == key.name());
        let needs_no_reading =
            matches!(key.default(), DefaultValue::Unset(_)) || indirect.contains(&key.name());
        assert!(is_read || needs_no_reading, "{} is not read by clients", key.name());
    }
}

#[test]
fn the_secret_is_never_shown() {
    let config = client(&["spark.authenticate.secret=hunter2"], &bare()).unwrap();
    let shown = format!("{config:?} {:?}", config.settings().unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}
