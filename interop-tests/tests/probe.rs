//! The probe says of real Spark what is so: each service in the mode that it was started in, block managers and RPC
//! ports of a running application.

use sealed_shuffle_interop_tests::{
    applications::{Cluster, LiveApplication},
    fixture::{APP, Fixture, SECRET},
    modes::{Auth, Cipher, Mode, Service, Stores},
    ours,
};
use serde_json::Value;

/// The report and the exit code.
fn probe(f: &Fixture, more: &[&str]) -> (Value, i32) {
    ours::probe(&f.mode, f.address(), APP, SECRET, more)
}

/// `level handshake cipher` of everything that was accepted, in clear or in TLS.
fn accepted(report: &Value, in_tls: bool) -> Vec<String> {
    let modes = report["modes"].as_array().expect("a list of modes");
    let accepted = modes.iter().filter(|mode| mode["verdict"] == "accepted");
    let word = |mode: &Value, key: &str| mode[key].as_str().expect("a word").to_owned();
    accepted
        .filter(|mode| mode["tls"].is_string() == in_tls)
        .map(|mode| ["level", "handshake", "cipher"].map(|key| word(mode, key)).join(" "))
        .collect()
}

#[track_caller]
fn judged(report: &Value, code: i32, expected: (&str, i32)) {
    assert_eq!((report["judgement"].as_str(), code), (Some(expected.0), expected.1), "{report:#}");
}

#[test]
fn an_aes_mode_is_found_and_no_other() {
    for (mode, judgement) in
        [(Mode::newest(Cipher::Ctr, 1), ("weaker", 1)), (Mode::newest(Cipher::Gcm, 2), ("enough", 0))]
    {
        let f = Fixture::start(Service::Spark, mode);
        let (report, code) = probe(&f, &[]);
        judged(&report, code, judgement);
        assert_eq!(accepted(&report, false), [mode.labels().join(" ")], "{report:#}");
        assert_eq!(report["peer"], "spark-shuffle-service", "{report:#}");
        assert_eq!(report["wrong_secret"], "refused");
        assert_eq!(report["without_identity"]["clear"], "refused");
        assert_eq!(report["tls"], Value::Null);
        let (report, code) = probe(&f, &["--no-secret"]);
        judged(&report, code, ("cannot tell", 69));
        assert_eq!((report["peer"].as_str(), accepted(&report, false).len()), (Some("spark"), 0));
        let (report, code) = probe(&f, &["--no-secret", "--minimum", "aes-ctr"]);
        judged(&report, code, ("enough", 0));
    }
}

#[test]
fn the_fallback_to_sasl_is_found_beside_aes() {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let f = Fixture::start_with(Service::Spark, mode, &[("spark.network.crypto.saslFallback", "true")]);
    let (report, code) = probe(&f, &[]);
    judged(&report, code, ("weaker", 1));
    assert_eq!(report["weakest_accepted"], "plaintext");
    assert_eq!(
        accepted(&report, false).len(),
        7,
        "SASL without and with each cipher, and one of AES: {report:#}"
    );
}

#[test]
fn sasl_is_found_with_its_ciphers() {
    for version in ["4.3.0", "3.0.3"] {
        let mode = Mode::new(version, Auth::Sasl);
        let f = Fixture::start(Service::Spark, mode);
        let (report, code) = probe(&f, &["--minimum", "sasl-conf"]);
        judged(&report, code, ("weaker", 1));
        let found = accepted(&report, false);
        assert_eq!(found[0], "plaintext sasl-digest-md5 none", "{report:#}");
        assert!(found.contains(&"sasl-conf sasl-digest-md5 3des".to_owned()), "{report:#}");
        assert_eq!(report["wrong_secret"], "refused");
        assert_eq!(report["peer"], "spark-shuffle-service", "{report:#}");
    }
}

#[test]
fn the_older_handshake_is_found() {
    let mode = Mode::new("3.0.3", Auth::Legacy { bits: 128 });
    let f = Fixture::start(Service::Spark, mode);
    let (report, code) = probe(&f, &["--minimum", "aes-legacy"]);
    judged(&report, code, ("enough", 0));
    assert_eq!(accepted(&report, false), ["aes-legacy aes-pbkdf2 AES/CTR/NoPadding"], "{report:#}");
}

#[test]
fn a_service_without_authentication_is_found() {
    let mode = Mode::new("4.3.0", Auth::None);
    let f = Fixture::start(Service::Spark, mode);
    let (report, code) = probe(&f, &[]);
    judged(&report, code, ("weaker", 1));
    assert_eq!(accepted(&report, false), ["plaintext none none"], "{report:#}");
    assert_eq!(report["peer"], "spark-shuffle-service");
    assert_eq!(report["wrong_secret"], "not tested");
}

#[test]
fn tls_is_found_with_what_runs_inside() {
    for auth in [Auth::None, Auth::X25519 { cipher: Cipher::Gcm, engine: 2 }] {
        let mode = Mode::new("4.3.0", auth).inside_tls(Stores::Pkcs12);
        let f = Fixture::start(Service::Spark, mode);
        let (report, code) = probe(&f, &["--minimum", "tls"]);
        judged(&report, code, ("enough", 0));
        assert_eq!(accepted(&report, false), Vec::<String>::new(), "{report:#}");
        let found = accepted(&report, true);
        assert_eq!(found.len(), 1, "{report:#}");
        assert_eq!(report["tls"]["trust"]["verdict"], "verified", "{report:#}");
        assert_eq!(report["tls"]["versions"][0]["verdict"], "accepted");
        assert_eq!(report["tls"]["versions"][1]["verdict"], "not spoken", "Spark speaks 1.3 alone");
        let anybody = if auth == Auth::None { "accepted" } else { "refused" };
        assert_eq!(report["without_identity"]["tls"], anybody);
    }
}

#[test]
fn the_broken_gcm_of_spark_3_4_is_named() {
    let mode = Mode::aes("3.4.4", Cipher::Gcm, 1);
    let f = Fixture::start(Service::Spark, mode);
    let (report, _) = probe(&f, &[]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("Spark 3.4") && warnings.contains("3.5.9"), "{report:#}");
}

/// Starts whole applications and clusters.
#[test]
#[ignore = "slow and rarely red: make nightly"]
fn block_managers_and_rpc_ports_are_told_apart() {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let live = LiveApplication::start(&mode, SECRET);
    for address in live.executors.values().chain([&live.driver]) {
        let (report, code) = ours::probe(&mode, *address, &live.app, SECRET, &[]);
        judged(&report, code, ("enough", 0));
        assert_eq!(report["peer"], "spark-block-manager", "{report:#}");
    }
    drop(live);
    let f = Fixture::start(Service::Ours, mode);
    let cluster = Cluster::start(&mode, f.address().port(), SECRET, f.root());
    let master = cluster.url().strip_prefix("spark://").and_then(|url| url.parse().ok());
    let (report, _) = ours::probe(&mode, master.expect("an address"), APP, SECRET, &[]);
    assert_eq!(report["peer"], "spark-rpc", "{report:#}");
}
