//! `config list` and `config explain`.

use std::process::Output;

use serde_json::Value;

use super::outcome::{code, stderr, stdout};
use super::sealed_shuffle;

fn config(arguments: &[&str]) -> Output {
    sealed_shuffle(&["config"]).args(arguments).output().unwrap()
}

#[test]
fn list_shows_every_key_and_changed_only_what_somebody_set() {
    let all = stdout(&config(&["list"]));
    assert!(all.lines().count() > 100, "{all}");
    assert!(all.lines().any(|line| line.starts_with("spark.sealed.memory.budget ") && line.contains("256m")));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spark-defaults.conf");
    std::fs::write(&file, "spark.executor.memory 4g\nspark.sealed.memory.budget 1g\n").unwrap();
    let file = file.to_str().unwrap();
    let set = ["--properties-file", file, "--conf", "spark.authenticate.secret=a-secret-of-this-test"];
    let output = config(&[&["list", "--changed"][..], &set].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let lines: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("spark.sealed.memory.budget") && lines[0].contains(&format!("{file}:2")));
    assert!(lines[1].contains("(secret)") && !lines[1].contains("a-secret-of-this-test"), "{}", lines[1]);

    let json: Value =
        serde_json::from_str(&stdout(&config(&[&["list", "--changed", "--json"][..], &set].concat())))
            .unwrap();
    assert_eq!((&json["version"], &json["keys"][0]["value"]), (&1.into(), &"1g".into()));
    assert_eq!((&json["keys"][1]["value"], &json["keys"][1]["secret"]), (&Value::Null, &true.into()));
}

#[test]
fn list_names_what_cannot_be_used_and_lists_the_rest() {
    let output =
        config(&["list", "--conf", "spark.sealed.memory.budget=soon", "--conf", "spark.sealed.bnd=::1"]);
    assert_eq!(code(&output), 78);
    assert!(stdout(&output).lines().any(|line| line.contains("soon") && line.contains("cannot be used")));
    assert!(stdout(&output).contains("spark.sealed.bind"));
    assert!(stderr(&output).contains("did you mean spark.sealed.bind?"), "{}", stderr(&output));
}

#[test]
fn explain_says_what_a_key_means_and_what_it_is_here() {
    let text = stdout(&config(&[
        "explain",
        "spark.sealed.security.minimum",
        "--conf",
        "spark.sealed.security.minimum=tls",
    ]));
    for word in ["aes-gcm", "SIGHUP", "tls  (--conf)", "read by", "default"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = stdout(&config(&["explain", "spark.sealed.bind"]));
    assert!(text.contains("not set: all: `::`") && !text.contains("SIGHUP"), "{text}");
    let text = stdout(&config(&["explain", "spark.reducer.maxMbInFlight"]));
    assert!(text.starts_with("spark.reducer.maxSizeInFlight\n"), "an older name: {text}");
    let text = stdout(&config(&["explain", "spark.shuffle.service.enabled"]));
    assert!(text.contains("has no effect here"), "{text}");
    let output = config(&["explain", "spark.sealed.bnd"]);
    assert_eq!(code(&output), 66);
    assert!(stderr(&output).contains("did you mean spark.sealed.bind?"), "{}", stderr(&output));
}
