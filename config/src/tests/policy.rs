//! Who is served: `spark.authenticate`, the secret and the minimum together.

use sealed_shuffle_protocol::channel::SecurityLevel;

use super::*;
use crate::Authentication;

const PLAINTEXT: &str = "spark.sealed.security.minimum=plaintext";
const TRUE: &str = "spark.authenticate=true";
const FALSE: &str = "spark.authenticate=false";

fn with_secret() -> FakeEnvironment {
    bare().with_var("_SPARK_AUTH_SECRET", "hunter2")
}

#[test]
fn a_secret_alone_requires_proof_over_aes() {
    let config = serve(&[], &with_secret()).unwrap();
    assert_eq!(
        (config.authentication, config.policy.minimum),
        (Authentication::Required, SecurityLevel::AesCtr)
    );
    assert_eq!(warnings(&config.report.notices), Vec::<&str>::new());
}

#[test]
fn no_secret_refuses_the_start_and_says_what_to_set() {
    for settings in [&[][..], &[TRUE], &[FALSE], &["spark.sealed.security.minimum=aes-gcm"]] {
        assert_refused(
            serve(settings, &bare()),
            "spark.authenticate.secret",
            &["there is no secret", "_SPARK_AUTH_SECRET", "--secret-file", "--allow-plaintext"],
        );
    }
    assert_eq!(ConfigError::EXIT_CODE, 78);
}

#[test]
fn plaintext_without_a_secret_serves_everyone() {
    for settings in [&[PLAINTEXT][..], &[PLAINTEXT, FALSE]] {
        let config = serve(settings, &bare()).unwrap();
        assert_eq!(config.authentication, Authentication::Optional);
        assert!(warnings(&config.report.notices)[0].contains("anyone who reaches the port"));
    }
}

#[test]
fn authentication_without_a_secret_is_refused_over_plaintext_too() {
    assert_refused(
        serve(&[PLAINTEXT, TRUE], &bare()),
        "spark.authenticate.secret",
        &["spark.authenticate = true"],
    );
}

#[test]
fn plaintext_with_a_secret_still_requires_proof() {
    for settings in [&[PLAINTEXT][..], &[PLAINTEXT, TRUE]] {
        let config = serve(settings, &with_secret()).unwrap();
        assert_eq!(config.authentication, Authentication::Required);
        assert!(&config.report.notices.iter().any(|notice| notice.text().contains("changes nothing")));
    }
}

#[test]
fn only_false_in_so_many_words_makes_proof_optional() {
    let config = serve(&[PLAINTEXT, FALSE], &with_secret()).unwrap();
    assert_eq!(config.authentication, Authentication::Optional);
    assert!(config.secret.is_some());
    let config = serve(&[FALSE], &with_secret()).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("has no effect but over TLS"));
    let config = serve(&[FALSE, "spark.sealed.security.allow=aes-ctr"], &with_secret()).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("neither is served"));
    assert_refused(
        serve(&["spark.authenticate=no"], &with_secret()),
        "spark.authenticate",
        &["neither true nor false"],
    );
}

#[test]
fn peers_without_proof_may_come_in_tls() {
    let tls = "spark.sealed.security.minimum=tls";
    let config = serve(&[tls, FALSE], &with_secret()).unwrap();
    assert_eq!(config.authentication, Authentication::Optional);
    assert!(config.policy.anonymous);
    assert_eq!(warnings(&config.report.notices), Vec::<&str>::new());
    let config = serve(&[tls, FALSE], &bare()).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("anyone who gets a TLS connection"));
    assert_refused(serve(&[tls], &bare()), "spark.authenticate.secret", &["spark.authenticate=false", "TLS"]);
}

#[test]
fn a_raised_minimum_raises_the_target() {
    let config = serve(&["spark.sealed.security.minimum=tls"], &with_secret()).unwrap();
    assert_eq!(config.policy.target, SecurityLevel::Tls);
    assert_refused(
        serve(&["spark.sealed.security.minimum=tls", "spark.sealed.security.target=aes-gcm"], &with_secret()),
        "spark.sealed.security.target",
        &["below spark.sealed.security.minimum = tls"],
    );
}

#[test]
fn a_set_that_contradicts_the_minimum_is_refused() {
    let allow = "spark.sealed.security.allow=plaintext,tls";
    let config = serve(&[allow], &with_secret()).unwrap();
    assert!(config.policy.serves(SecurityLevel::Plaintext) && !config.policy.serves(SecurityLevel::AesGcm));
    assert_refused(
        serve(&[allow, "spark.sealed.security.minimum=aes-ctr"], &with_secret()),
        "spark.sealed.security.allow",
        &["plaintext lies below spark.sealed.security.minimum = aes-ctr", "remove"],
    );
    assert_refused(
        serve(&["spark.sealed.security.allow=aes-ctr", "spark.sealed.security.target=tls"], &with_secret()),
        "spark.sealed.security.allow",
        &["nobody could reach it"],
    );
    assert_refused(
        serve(&["spark.sealed.security.allow=aes-ctr,des"], &with_secret()),
        "spark.sealed.security.allow",
        &["is not one of plaintext"],
    );
}

#[test]
fn an_application_may_have_rules_of_its_own() {
    let config = serve(
        &[
            "spark.sealed.security.app.app-1.minimum=plaintext",
            "spark.sealed.security.app.a.b.allow=tls,aes-gcm",
        ],
        &with_secret(),
    )
    .unwrap();
    let apps: Vec<_> = config.policy.per_app.keys().map(ToString::to_string).collect();
    assert_eq!(apps, ["a.b", "app-1"]);
    let line = "spark.sealed.security.app.app-1.minimum = plaintext  (--conf)";
    assert!(config.describe().iter().any(|shown| shown == line));
    assert_refused(
        serve(&["spark.sealed.security.app.app-1.minimum=best"], &with_secret()),
        "spark.sealed.security.app.app-1.minimum",
        &["not one of plaintext"],
    );
    assert_refused(
        serve(&["spark.sealed.security.app.app-1.maximum=tls"], &with_secret()),
        "spark.sealed.security.app.app-1.maximum",
        &["unknown key"],
    );
}
