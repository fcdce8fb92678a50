//! Who is served: `spark.authenticate`, the secret and the minimum together.

use super::*;
use crate::config::{Authentication, SecurityLevel};

const PLAINTEXT: &str = "spark.sealed.security.minimum=plaintext";
const TRUE: &str = "spark.authenticate=true";
const FALSE: &str = "spark.authenticate=false";

fn with_secret() -> FakeEnvironment {
    bare().with_var("_SPARK_AUTH_SECRET", "hunter2")
}

#[test]
fn a_secret_alone_requires_proof_over_aes() {
    let config = serve(&[], &with_secret()).unwrap();
    assert_eq!((config.authentication, config.minimum), (Authentication::Required, SecurityLevel::AesCtr));
    assert_eq!(warnings(config.notices()), Vec::<&str>::new());
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
        assert!(warnings(config.notices())[0].contains("anyone who reaches the port"));
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
        assert!(config.notices().iter().any(|notice| notice.text().contains("changes nothing")));
    }
}

#[test]
fn only_false_in_so_many_words_makes_proof_optional() {
    let config = serve(&[PLAINTEXT, FALSE], &with_secret()).unwrap();
    assert_eq!(config.authentication, Authentication::Optional);
    assert!(config.secret.is_some());
    let config = serve(&[FALSE], &with_secret()).unwrap();
    assert!(warnings(config.notices())[0].contains("has no effect"));
    assert_refused(
        serve(&["spark.authenticate=no"], &with_secret()),
        "spark.authenticate",
        &["neither true nor false"],
    );
}
