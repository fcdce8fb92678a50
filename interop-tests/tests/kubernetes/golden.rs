//! The pods that Spark's own builders make of our keys and templates (`KubernetesDriverBuilder`, `KubernetesExecutorBuilder`), kept as
//! files. They need no cluster. `UPDATE_DOCS=1` writes them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sealed_shuffle_interop_tests::spark::Spark;
use serde_json::{Map, Value};

use crate::shared::{NEWEST, OLDER};

const PATTERNS: [&str; 3] = ["daemonset", "hand-over", "sidecar"];
/// Of which each run makes other ones: names of configuration maps, and directories.
const SHORTEST_HASH: usize = 12;
/// A variable with an option of Java, before its number.
const JAVA_OPTION: &str = "SPARK_JAVA_OPT_";

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The driver's pod and an executor's.
fn pods(version: &str, pattern: &str) -> Map<String, Value> {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let secret = dir.path().join("bytes");
    fs::write(&secret, "only for this test, and long enough").expect("it is writable");
    let spark = Spark::release(version);
    let mut java: Command = spark.java();
    java.current_dir(tree())
        .arg("-XX:TieredStopAtLevel=1")
        .arg("interop-tests/kubernetes/Pods.java")
        .arg(format!("deploy/kubernetes/{pattern}/application.conf"))
        .arg(&secret);
    let told = java.output().unwrap_or_else(|e| panic!("{java:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{out}\n{err}");
    // Its place is another one each time.
    let out = out.replace(&secret.display().to_string(), "/etc/sealed-shuffle/secret/bytes");
    let found = out.lines().filter_map(|line| line.strip_prefix("POD "));
    let mut found = found.map(|pod| steady(serde_json::from_str(pod).expect("it is JSON")));
    let mut pods = Map::new();
    for role in ["driver", "executor"] {
        pods.insert(role.to_owned(), found.next().unwrap_or_else(|| panic!("no {role}: {out}\n{err}")));
    }
    pods
}

/// Without what differs from run to run.
fn steady(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(name, field)| (name, steady(field))).collect(),
        Value::Array(entries) => in_order(entries.into_iter().map(steady).collect()),
        Value::String(text) => Value::String(without_hashes(&text)),
        other => other,
    }
}

/// Spark numbers the options of Java as they come out of a table, in another order each time: they stand last, by their values.
fn in_order(entries: Vec<Value>) -> Value {
    let is_option = |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with(JAVA_OPTION));
    let (mut options, mut others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_option);
    options.iter_mut().for_each(|option| option["name"] = format!("{JAVA_OPTION}N").into());
    options.sort_by_key(|option| option["value"].as_str().map(str::to_owned));
    others.extend(options);
    others.into()
}

fn without_hashes(text: &str) -> String {
    let part = |part: &str| {
        let is_hash = part.len() >= SHORTEST_HASH && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash { "HASH".to_owned() } else { part.to_owned() }
    };
    let is_uuid = |parts: &[&str]| {
        parts
            .iter()
            .zip([8, 4, 4, 4, 12])
            .all(|(part, length)| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let (mut steady, mut at) = (Vec::new(), 0);
    while at < parts.len() {
        match parts.get(at..at + 5) {
            Some(five) if is_uuid(five) => {
                steady.push("UUID".to_owned());
                at += 5;
            }
            _ => {
                steady.push(part(parts[at]));
                at += 1;
            }
        }
    }
    steady.join("-")
}

/// The first container, or else init container, of a name.
fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    let all = pod["spec"][list].as_array().unwrap_or_else(|| panic!("no {list} in {pod}"));
    all.iter().find(|container| container["name"] == name).unwrap_or_else(|| panic!("no {name} in {pod}"))
}

fn variable<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let env = container(pod, "containers", "executor")["env"].as_array().expect("variables");
    env.iter().find(|variable| variable["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn pods_of_sparks_own_builders_are_as_they_were() {
    let mut differ = Vec::new();
    for version in [NEWEST, OLDER] {
        for pattern in PATTERNS {
            let made = pods(version, pattern);
            let executor = &made["executor"];
            // What a pattern stands or falls with, whatever the file says.
            assert_eq!(variable(executor, "SPARK_LOCAL_DIRS")["value"], "/mnt/spark", "{executor}");
            let secret = variable(executor, "_SPARK_AUTH_SECRET");
            match pattern {
                "hand-over" => assert_eq!(secret["value"], "the secret that Spark made", "{executor}"),
                _ => assert_eq!(secret["valueFrom"]["secretKeyRef"]["key"], "base64", "{executor}"),
            }
            match pattern {
                "sidecar" => {
                    let server = container(executor, "initContainers", "sealed-shuffle");
                    assert_eq!(server["restartPolicy"], "Always", "{executor}");
                }
                _ => assert_eq!(executor["spec"]["hostNetwork"], true, "{executor}"),
            }
            let text =
                serde_json::to_string_pretty(&Value::Object(made)).expect("JSON can be written") + "\n";
            let path = tree().join(format!("interop-tests/tests/kubernetes/golden/{pattern}-{version}.json"));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                fs::write(&path, &text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            if kept != text {
                let lines = kept.lines().zip(text.lines()).find(|(kept, made)| kept != made);
                differ.push(format!("{}: {lines:?}", path.display()));
            }
        }
    }
    assert!(differ.is_empty(), "UPDATE_DOCS=1 writes them anew: {differ:#?}");
}

#[test]
fn hashes_of_names_are_left_out_and_words_stay() {
    assert_eq!(without_hashes("spark-exec-0a1b2c3d4e5f6a7b-conf-map"), "spark-exec-HASH-conf-map");
    let path = "/var/data/spark-01234567-89ab-cdef-0123-456789abcdef";
    assert_eq!(without_hashes(path), "/var/data/spark-UUID");
    assert_eq!(without_hashes("spark-local-dir-1"), "spark-local-dir-1");
}
