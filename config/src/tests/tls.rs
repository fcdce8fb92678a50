//! TLS as configuration: which source wins, and what is refused before files are opened.

use super::*;
use crate::{ClientAuth, TlsSource, TlsVersions};

#[test]
fn tls_is_off_unless_its_own_switch_is_on() {
    let config = serve(&["spark.ssl.enabled=true", "spark.ssl.keyStore=/k"], &surroundings("")).unwrap();
    assert!(config.tls.is_none());
    let config = serve(&["spark.sealed.tls.bundle=/b"], &surroundings("")).unwrap();
    assert!(config.tls.is_none());
    assert!(warnings(&config.report.notices).iter().any(|text| text.contains("spark.ssl.rpc.enabled=true")));
}

#[test]
fn stores_fall_back_to_the_keys_for_all_uses_and_passwords_to_the_environment_first() {
    let surroundings = surroundings(
        "spark.ssl.rpc.enabled true\nspark.ssl.keyStore /all.jks\nspark.ssl.keyStorePassword of-all\n\
         spark.ssl.rpc.trustStore /rpc.p12\nspark.ssl.trustStore /all.p12\nspark.ssl.trustStorePassword of-trust\n\
         spark.ssl.rpc.protocol TLSv1.2\n",
    )
    .with_var("_SPARK_SSL_RPC_KEY_STORE_PASSWORD", "of-environment");
    let config = serve(&["spark.sealed.tls.client-auth=need"], &surroundings).unwrap();
    assert!(!format!("{:?} {:?}", config, config.describe()).contains("of-"), "a password is shown");
    let tls = config.tls.unwrap();
    assert_eq!((tls.versions, tls.client_auth), (Some(TlsVersions::V1_2), ClientAuth::Need));
    let TlsSource::Stores { key_store: Some(key_store), trust_store: Some(trust_store), .. } = tls.source
    else {
        panic!("{:?}", tls.source)
    };
    assert_eq!((key_store.path.to_str(), key_store.key), (Some("/all.jks"), "spark.ssl.keyStore"));
    assert_eq!(key_store.password.unwrap().expose(), "of-environment");
    assert_eq!(trust_store.path.to_str(), Some("/rpc.p12"));
    assert_eq!(trust_store.password.unwrap().expose(), "of-trust");
}

#[test]
fn a_pair_of_pem_files_comes_before_stores_and_half_a_pair_does_not() {
    let on = "spark.ssl.rpc.enabled=true";
    let pair = [on, "spark.ssl.rpc.keyStore=/k", "spark.ssl.rpc.privateKey=/p", "spark.ssl.rpc.certChain=/c"];
    let config = serve(&pair, &surroundings("")).unwrap();
    assert!(matches!(config.tls.unwrap().source, TlsSource::Pem { .. }));
    let config = serve(&pair[..3], &surroundings("")).unwrap();
    assert!(matches!(config.tls.unwrap().source, TlsSource::Stores { .. }));
}

#[test]
fn what_is_certain_to_be_too_little_is_refused_before_files_are_opened() {
    let on = "spark.ssl.rpc.enabled=true";
    for setting in ["spark.ssl.rpc.trustStore=/t", "spark.ssl.rpc.certChain=/c"] {
        let error = serve(&[on, setting], &surroundings("")).unwrap_err().to_string();
        assert!(error.contains("spark.ssl.rpc.keyStore") && error.contains("certs dev"), "{error}");
    }
    let both = [on, "spark.sealed.tls.bundle=/b", "spark.sealed.tls.command=print it"];
    let error = serve(&both, &surroundings("")).unwrap_err().to_string();
    assert!(error.contains("keep one of the two"), "{error}");
    let error = serve(&[on, "spark.ssl.rpc.protocol="], &surroundings("")).unwrap_err().to_string();
    assert!(error.contains("TLSv1.3"), "{error}");
}
