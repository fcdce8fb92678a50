//! Which source wins, and what substitution reaches.

use super::*;
use crate::{Origin, keys};

fn port(sources: &Sources, environment: &FakeEnvironment) -> (u16, Origin) {
    let config = ServerConfig::from_sources(sources, environment).unwrap();
    let effective = config.report.effective.iter().find(|e| e.key == "spark.shuffle.service.port").unwrap();
    (config.listen.port(), effective.origin.clone())
}

#[test]
fn each_source_beats_the_one_before() {
    let mut sources = Sources::default();
    let mut environment = bare().with_var("_SPARK_AUTH_SECRET", "hunter2");
    assert_eq!(port(&sources, &environment), (7337, Origin::Default));

    environment = environment
        .with_var("SPARK_HOME", "/spark")
        .with_file(DEFAULTS_FILE, "# ports\nspark.shuffle.service.port 1\n");
    let file = Origin::File { path: DEFAULTS_FILE.into(), line: 2 };
    assert_eq!(port(&sources, &environment), (1, file));

    environment = environment.with_var("SPARK_DAEMON_JAVA_OPTS", "-Xmx1g -Dspark.shuffle.service.port=2");
    let daemon = Origin::Environment { variable: "SPARK_DAEMON_JAVA_OPTS".into() };
    assert_eq!(port(&sources, &environment), (2, daemon));

    environment = environment.with_var("SPARK_SHUFFLE_OPTS", "-Dspark.shuffle.service.port='3'");
    let shuffle = Origin::Environment { variable: "SPARK_SHUFFLE_OPTS".into() };
    assert_eq!(port(&sources, &environment), (3, shuffle));

    sources.conf = vec!["spark.shuffle.service.port=9".into(), "spark.shuffle.service.port=4".into()];
    assert_eq!(port(&sources, &environment), (4, Origin::Conf));

    sources.push_flag("--port", &keys::SERVICE_PORT, "5");
    assert_eq!(port(&sources, &environment), (5, Origin::Flag { name: "--port".into() }));
}

#[test]
fn the_last_entry_of_a_file_wins() {
    let environment = surroundings("spark.shuffle.service.port 1\nspark.shuffle.service.port 2\n");
    assert_eq!(port(&Sources::default(), &environment).0, 2);
}

#[test]
fn spark_conf_dir_comes_before_spark_home() {
    let environment = surroundings("spark.shuffle.service.port 1")
        .with_var("SPARK_CONF_DIR", "/etc/spark")
        .with_file("/etc/spark/spark-defaults.conf", "spark.shuffle.service.port 2");
    assert_eq!(port(&Sources::default(), &environment).0, 2);
}

#[test]
fn a_named_file_replaces_the_defaults() {
    let environment = surroundings("spark.shuffle.service.port 1\nspark.sealed.disk.threads 3")
        .with_file("/my.conf", "spark.sealed.log warn");
    let sources = Sources { properties_file: Some("/my.conf".into()), ..Sources::default() };
    let config = ServerConfig::from_sources(&sources, &environment).unwrap();
    assert_eq!((config.listen.port(), config.disk_threads, config.log.as_str()), (7337, 8, "warn"));
}

#[test]
fn a_named_file_must_exist_and_a_default_one_need_not() {
    let environment = bare().with_var("_SPARK_AUTH_SECRET", "hunter2").with_var("SPARK_HOME", "/nowhere");
    assert!(serve(&[], &environment).is_ok());
    let sources = Sources { properties_file: Some("/none.conf".into()), ..Sources::default() };
    assert_refused(
        ServerConfig::from_sources(&sources, &environment),
        "/none.conf",
        &["user 1000", "--properties-file"],
    );
}

#[test]
fn a_malformed_file_is_refused_with_its_line() {
    let environment = surroundings("spark.sealed.log info\nspark.shuffle.service.port \\u12\n");
    assert_refused(serve(&[], &environment), "/spark/conf/spark-defaults.conf:2", &["hexadecimal"]);
}

#[test]
fn what_is_not_utf8_is_replaced_and_warned_about() {
    let environment = surroundings("").with_file(DEFAULTS_FILE, b"# caf\xe9\nspark.shuffle.service.port 1\n");
    let config = serve(&[], &environment).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert!(warnings(&config.report.notices)[0].contains("not UTF-8"));
}

#[test]
fn jvm_options_with_an_open_quote_are_refused() {
    let environment = surroundings("").with_var("SPARK_SHUFFLE_OPTS", "-Dspark.x='1");
    assert_refused(serve(&[], &environment), "SPARK_SHUFFLE_OPTS", &["a quote is not closed"]);
}

#[test]
fn conf_splits_at_the_first_equals_sign_untrimmed() {
    let environment = surroundings("");
    assert_eq!(serve(&["spark.sealed.log=a=debug"], &environment).unwrap().log, "a=debug");
    assert_refused(
        serve(&["spark.sealed.log"], &environment),
        "--conf",
        &["\"spark.sealed.log\" has no value"],
    );
    assert_refused(serve(&["=x"], &environment), "--conf", &["KEY=VALUE"]);
}

/// What follows `--conf` without an equals sign may be a secret whose key was forgotten.
#[test]
fn conf_without_a_key_is_not_echoed() {
    let error = serve(&["hunter3"], &surroundings("")).unwrap_err();
    assert!(!error.to_string().contains("hunter3"));
}

#[test]
fn registry_keys_are_substituted() {
    let environment =
        surroundings("spark.my.port 70\nspark.shuffle.service.port ${spark.my.port}${env:DIGITS}\n")
            .with_var("DIGITS", "07");
    assert_eq!(port(&Sources::default(), &environment).0, 7007);
}

#[test]
fn an_unset_key_gives_its_default_and_a_system_property_comes_from_jvm_options() {
    let environment = surroundings("").with_var("SPARK_DAEMON_JAVA_OPTS", "-Dmy.level=warn");
    let config = serve(
        &[
            "spark.sealed.drain.timeout=${spark.shuffle.io.connectionTimeout}",
            "spark.sealed.log=${system:my.level}",
        ],
        &environment,
    )
    .unwrap();
    assert_eq!((config.timeouts.drain.as_secs(), config.log.as_str()), (120, "warn"));
}

#[test]
fn transport_keys_are_literal() {
    let environment = surroundings("");
    let settings = ["spark.shuffle.io.connectionTimeout=${spark.network.timeout}"];
    assert_refused(serve(&settings, &environment), "spark.shuffle.io.connectionTimeout", &["not a time"]);
}

#[test]
fn a_circle_of_references_is_refused() {
    let settings = ["spark.sealed.log=${spark.a}", "spark.a=${spark.sealed.log}"];
    assert_refused(
        serve(&settings, &surroundings("")),
        "spark.sealed.log",
        &["leads back to itself", "--conf"],
    );
}
