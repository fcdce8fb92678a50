//! Where the secret comes from.

use super::*;
use crate::{LoadedConfig, Origin, Reader, SecretSource};

const KEY: &str = "spark.authenticate.secret=from-conf";
const FILE: &str = "spark.sealed.auth.secret-file=/secret";

fn secret(settings: &[&str], environment: &FakeEnvironment) -> (SecretSource, String) {
    let secret = serve(settings, environment).unwrap().secret.unwrap();
    (secret.source, secret.text.as_str().to_owned())
}

#[test]
fn the_environment_then_the_key_then_the_file() {
    let environment = bare().with_file("/secret", "from-file");
    assert_eq!(secret(&[FILE], &environment), (SecretSource::File("/secret".into()), "from-file".into()));
    assert_eq!(secret(&[FILE, KEY], &environment), (SecretSource::Key(Origin::Conf), "from-conf".into()));
    let environment = environment.with_var("_SPARK_AUTH_SECRET", "from-env");
    assert_eq!(secret(&[FILE, KEY], &environment), (SecretSource::Environment, "from-env".into()));
    let config = serve(&[FILE, KEY], &environment).unwrap();
    assert_eq!(
        warnings(&config.report.notices).iter().filter(|text| text.contains("has no effect")).count(),
        2
    );
}

#[test]
fn the_secret_is_taken_literally() {
    let environment = bare()
        .with_var("SPARK_HOME", "/spark")
        .with_file(DEFAULTS_FILE, "spark.authenticate.secret  ${env:X}$y ");
    assert_eq!(secret(&[], &environment.with_var("X", "no")).1, "${env:X}$y");
}

#[test]
fn a_file_is_taken_as_it_stands_and_a_final_line_break_is_warned_about() {
    let environment = bare().with_file("/secret", " s\n");
    assert_eq!(secret(&[FILE], &environment).1, " s\n");
    let config = serve(&[FILE], &environment).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("ends in a line break"));
}

#[test]
fn a_dash_is_standard_input() {
    let environment = bare().with_stdin(b"typed");
    let settings = ["spark.sealed.auth.secret-file=-"];
    assert_eq!(secret(&settings, &environment), (SecretSource::StandardInput, "typed".into()));
}

#[test]
fn a_file_open_to_its_group_is_warned_about_and_one_open_to_all_refused() {
    let environment = bare().with_file("/secret", "s").with_mode("/secret", 0o644);
    assert_refused(serve(&[FILE], &environment), "spark.sealed.auth.secret-file", &["0644", "chmod 600"]);
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true)] {
        let environment = bare().with_file("/secret", "s").with_mode("/secret", mode);
        let config = serve(&[FILE], &environment).unwrap();
        assert_eq!(!warnings(&config.report.notices).is_empty(), warned, "{mode:o}");
    }
}

#[test]
fn a_secret_on_the_command_line_works_and_is_warned_about() {
    let config = serve(&[KEY], &bare()).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("command line"));
}

#[test]
fn secrets_that_cannot_be_used_are_refused_once() {
    assert_refused(serve(&[FILE], &bare()), "spark.sealed.auth.secret-file", &["/secret", "user 1000"]);
    let environment = bare().with_file("/secret", "");
    assert_refused(serve(&[FILE], &environment), "spark.sealed.auth.secret-file", &["empty"]);
    let environment = bare().with_file("/secret", b"\xff\xfe");
    assert_refused(serve(&[FILE], &environment), "spark.sealed.auth.secret-file", &["not UTF-8"]);
    assert_refused(serve(&["spark.authenticate.secret="], &bare()), "spark.authenticate.secret", &["empty"]);
    let environment = bare().with_var("_SPARK_AUTH_SECRET", "");
    assert_refused(serve(&[KEY], &environment), "_SPARK_AUTH_SECRET", &["set to nothing"]);
}

#[test]
fn the_secret_is_never_shown() {
    let environment =
        bare().with_var("SPARK_HOME", "/spark").with_file(DEFAULTS_FILE, "spark.authenticate.secret hunter2");
    let sources = conf(&["spark.authenticate.secret=hunter2"]);
    let loaded = LoadedConfig::from_sources(&sources, &environment, Reader::Serve);
    let config = ServerConfig::from_sources(&sources, &environment).unwrap();
    let failed =
        serve(&["spark.authenticate.secret=hunter2", "spark.sealed.log=?="], &environment).unwrap_err();
    let shown =
        [format!("{sources:?} {loaded:?} {config:?} {failed} {failed:?}"), config.describe().join("\n")];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(config.describe().iter().any(|line| line == "spark.authenticate.secret = (secret)  (--conf)"));
}

const DIR: &str = "spark.sealed.auth.secret-dir=/secrets";
const PREVIOUS: &str = "spark.sealed.auth.previous-secret-file=/old";

#[test]
fn a_directory_of_secrets_stands_in_the_place_of_one() {
    let environment = bare().with_dir("/secrets");
    let config = serve(&[DIR], &environment).unwrap();
    assert!(config.secret.is_none());
    assert_eq!(config.secret_directory.unwrap().wait, std::time::Duration::from_secs(10));
    let config = serve(&[DIR], &environment.with_var("_SPARK_AUTH_SECRET", "s")).unwrap();
    assert!(config.secret_directory.is_none());
    assert!(warnings(&config.report.notices)[0].contains("has no effect"));
    assert_refused(serve(&[DIR], &bare()), "spark.sealed.auth.secret-dir", &["cannot look at it"]);
}

#[test]
fn a_late_file_is_not_waited_for_longer_than_a_handshake_may_last() {
    assert_refused(
        serve(&[DIR, "spark.sealed.auth.secret-wait=30s"], &bare().with_dir("/secrets")),
        "spark.sealed.auth.secret-wait",
        &["spark.sealed.handshake.timeout"],
    );
}

#[test]
fn the_secret_before_needs_one_after_it() {
    let environment = bare().with_file("/secret", "new").with_file("/old", "old");
    let config = serve(&[FILE, PREVIOUS], &environment).unwrap();
    assert_eq!(config.previous_secret.unwrap().text.as_str(), "old");
    let error = serve(&[PREVIOUS], &environment).unwrap_err();
    assert_eq!(error.issues[0].subject, "spark.sealed.auth.previous-secret-file");
}

const BYTES: &str = "spark.authenticate.secret.file=/bytes";
const EXECUTORS: &str = "spark.authenticate.secret.executor.file=/executors";

#[test]
fn bytes_of_a_file_are_the_secret_in_base64_as_on_kubernetes() {
    let environment = bare().with_file("/bytes", b"\xff\x00\n").with_file("/executors", "of executors");
    let of_all = (SecretSource::Bytes("/bytes".into()), "/wAK".to_owned());
    assert_eq!(secret(&[BYTES], &environment), of_all);
    let of_executors = (SecretSource::Bytes("/executors".into()), "b2YgZXhlY3V0b3Jz".to_owned());
    assert_eq!(secret(&[BYTES, EXECUTORS], &environment), of_executors);
    // What is ours comes before it, and says so.
    let environment = environment.with_file("/secret", "text");
    assert_eq!(secret(&[BYTES, FILE], &environment).1, "text");
    let config = serve(&[BYTES, FILE], &environment).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("spark.authenticate.secret.file has no effect"));
}

#[test]
fn a_mounted_secret_is_taken_from_root_through_its_group_and_not_from_everybody() {
    for (owner, mode, warned) in [(0, 0o440, false), (0, 0o460, true), (1000, 0o440, true), (7, 0o440, true)]
    {
        let environment =
            bare().with_file("/bytes", "s").with_mode("/bytes", mode).with_owner("/bytes", owner);
        let config = serve(&[BYTES], &environment).unwrap();
        assert_eq!(!warnings(&config.report.notices).is_empty(), warned, "{owner} {mode:o}");
    }
}

#[test]
fn the_mode_of_a_mounted_secret_is_answered_in_words_of_kubernetes() {
    let of = |mode| bare().with_file("/m/s", "s").with_mode("/m/s", mode).with_owner("/m/s", 0);
    let words = ["0644", "in the container", "defaultMode: 0440", "fsGroup"];
    for (key, setting) in [
        ("spark.authenticate.secret.file", "spark.authenticate.secret.file=/m/s"),
        ("spark.sealed.auth.secret-file", "spark.sealed.auth.secret-file=/m/s"),
    ] {
        let mounted = of(0o644).with_secret_mount("/m");
        assert_refused(serve(&[setting], &mounted), key, &words);
        let error = serve(&[setting], &mounted).unwrap_err().to_string();
        assert!(!error.contains("chmod"), "{error}");
        assert_refused(serve(&[setting], &of(0o644)), key, &["of the machine", "chmod 600"]);
        assert!(!serve(&[setting], &of(0o644)).unwrap_err().to_string().contains("fsGroup"));
        // One that is not root's is warned about in the same words.
        let ours = of(0o460).with_secret_mount("/m");
        let config = serve(&[setting], &ours).unwrap();
        assert!(warnings(&config.report.notices)[0].contains("defaultMode: 0440"));
    }
}
