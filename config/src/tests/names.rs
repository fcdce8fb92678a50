//! Unknown names, names without effect.

use super::*;

#[test]
fn an_unknown_key_of_ours_refuses_the_start() {
    let environment = surroundings("spark.sealed.disk.thread 3");
    let words = ["spark-defaults.conf:1", "did you mean spark.sealed.disk.threads?"];
    assert_refused(serve(&[], &environment), "spark.sealed.disk.thread", &words);
}

#[test]
fn an_unknown_key_of_ours_is_a_warning_when_asked_for() {
    let environment = surroundings("spark.sealed.future.thing 3\nspark.sealed.config.unknown warn\n");
    let config = serve(&[], &environment).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("spark.sealed.future.thing"));
}

#[test]
fn a_bad_choice_about_unknown_keys_is_refused_with_them() {
    let error =
        serve(&["spark.sealed.config.unknown=ignore", "spark.sealed.x=1"], &surroundings("")).unwrap_err();
    let subjects: Vec<_> = error.issues.iter().map(|issue| issue.subject.as_str()).collect();
    assert_eq!(subjects, ["spark.sealed.x", "spark.sealed.config.unknown"]);
}

#[test]
fn a_mistyped_key_of_sparks_is_a_warning_that_names_the_nearest() {
    for (typed, meant) in [
        ("spark.authenticate.secrets", "spark.authenticate.secret"),
        ("spark.network.crypto.ciper", "spark.network.crypto.cipher"),
        ("spark.ssl.rpc.keystore", "spark.ssl.rpc.keyStore"),
        ("spark.shuffle.service.prot", "spark.shuffle.service.port"),
        (
            "spark.shuffle.push.server.mergedShuffleFileManager",
            "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
        ),
    ] {
        let config = serve(&[], &surroundings(&format!("{typed} x"))).unwrap();
        let warnings = warnings(&config.report.notices);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains(typed) && warnings[0].contains(&format!("did you mean {meant}?")),
            "{warnings:?}"
        );
    }
}

#[test]
fn keys_that_only_spark_reads_are_not_warned_about() {
    let settings = "spark.network.crypto.saslFallback false\nspark.network.crypto.config.cipher.classes X\n\
                    spark.shuffle.service.enabled true\nspark.ssl.rpc.keyStoreType JKS\nspark.shuffle.service.name n\n\
                    spark.shuffle.service.db.backend X\nspark.master yarn\nspark.executor.memory 1g\n\
                    spark.network.crypto.enabled nonsense\n";
    let config = serve(&[], &surroundings(settings)).unwrap();
    assert_eq!(warnings(&config.report.notices), Vec::<&str>::new());
    assert_eq!(config.report.ignored.len(), 6);
    assert!(
        config
            .describe()
            .iter()
            .any(|line| line.contains("spark.ssl.rpc.keyStoreType has no effect: stores"))
    );
}

#[test]
fn a_key_without_effect_is_warned_about_where_somebody_would_count_on_it() {
    let config = serve(&["spark.ssl.rpc.needClientAuth=TRUE"], &surroundings("")).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("spark.sealed.tls.client-auth"));
    let config = serve(&["spark.ssl.rpc.needClientAuth=false"], &surroundings("")).unwrap();
    assert!(warnings(&config.report.notices).is_empty());
}

#[test]
fn lines_that_are_not_sparks_are_ignored_with_a_notice() {
    let config = serve(&[], &surroundings("other.x 1\nSpark.T 1\n")).unwrap();
    let warnings = warnings(&config.report.notices);
    assert!(warnings[0].contains("other.x") && warnings[1].contains("Spark.T"), "{warnings:?}");
}

#[test]
fn a_foreign_key_on_the_command_line_is_warned_about() {
    let config = serve(&["spark.shufle.service.port=1"], &surroundings("")).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("did you mean spark.shuffle.service.port?"));
}
