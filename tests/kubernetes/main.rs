//! `hand-over kubernetes` between a small API server and a server, as processes of their own.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used)]

mod api;
#[path = "../outcome/mod.rs"]
mod outcome;
mod recorder;
#[path = "../serving/mod.rs"]
mod serving;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::api::Api;
use self::outcome::{code, stderr};
use self::recorder::Recorder;
use self::serving::{Serving, sealed_shuffle, serve};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "0123456789abcdef";

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn driver(app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{app}-driver"), "namespace": "ns", "uid": format!("{app}-driver-uid"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"spark-role": "driver", "spark-app-selector": app},
        },
        "spec": {"nodeName": "elsewhere", "containers": [{"name": "spark-kubernetes-driver"}]},
        "status": {"phase": "Running"},
    })
}

fn executor(app: &str, number: u32, variable: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{app}-exec-{number}"), "namespace": "ns", "uid": format!("{app}-exec-{number}-uid"),
            "creationTimestamp": "2026-01-01T00:01:00Z",
            "labels": {
                "spark-role": "executor", "spark-app-selector": app, "spark-exec-id": number.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "controller": true,
                "name": format!("{app}-driver"), "uid": format!("{app}-driver-uid"),
            }],
        },
        "spec": {"nodeName": "node-1", "containers": [{
            "name": "spark-kubernetes-executor",
            "env": [{"name": "SPARK_USER", "value": "someone"}, variable],
        }]},
        "status": {"phase": "Pending"},
    })
}

fn plain(secret: &str) -> Value {
    json!({"name": "_SPARK_AUTH_SECRET", "value": secret})
}

fn on_node(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// A place for sockets and files, and the API server.
struct Place {
    api: Api,
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { api: Api::start(), dir: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("handover.sock")
    }

    fn recorder(&self, held: &[&str]) -> Recorder {
        Recorder::start(&self.socket(), held)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = sealed_shuffle();
        command
            .args(["hand-over", "kubernetes", "--interval", "1", "--socket"])
            .arg(self.socket())
            .args(arguments)
            .env("KUBECONFIG", self.api.kubeconfig(self.dir.path()));
        command
    }

    fn start(&self, arguments: &[&str]) -> HandOver {
        let log = self.dir.path().join("hand-over.log");
        let to = fs::File::options().create(true).append(true).open(&log).unwrap();
        HandOver { process: self.command(arguments).stderr(to).spawn().unwrap(), log }
    }
}

/// The process, which is killed on drop.
struct HandOver {
    process: Child,
    log: PathBuf,
}

impl HandOver {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        eventually(&format!("{words:?} in the log"), || {
            let log = self.log();
            words.iter().all(|word| log.contains(word))
        });
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[track_caller]
fn told(recorder: &Recorder, all: &[&str]) {
    eventually(&format!("{all:?}; it is {:?}", recorder.told()), || recorder.told().len() >= all.len());
    assert_eq!(recorder.told(), all);
}

/// Among processes of its own, as in a container: there the server's process has no number. `None` where this machine allows none.
fn in_a_container(command: &Command) -> Option<Command> {
    let spaces = [
        &["--pid", "--fork", "--kill-child"][..],
        &["--user", "--map-current-user", "--pid", "--fork", "--kill-child"],
    ];
    let can = |spaces: &&[&str]| {
        Command::new("unshare").args(*spaces).arg("true").output().is_ok_and(|told| told.status.success())
    };
    let mut inside = Command::new("unshare");
    inside.args(spaces.into_iter().find(can)?).arg(command.get_program()).args(command.get_args());
    inside.env_clear().stdin(Stdio::null());
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(inside)
}

#[test]
fn a_server_in_another_container_of_the_pod_is_told() {
    let place = Place::new();
    let recorder = place.recorder(&[]);
    place.api.put(driver("spark-a"));
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    let Some(mut command) = in_a_container(&place.command(&["--once"])) else {
        eprintln!("skipped: no space of process ids can be made here");
        return;
    };
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    told(&recorder, &[&format!("started spark-a {SECRET}")]);
}

#[test]
fn a_secret_is_handed_over_before_the_executor_runs_and_ends_follow() {
    let place = Place::new();
    let recorder = place.recorder(&[]);
    place.api.put(driver("spark-a"));
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    place.api.put(on_node("node-2", executor("spark-b", 1, &plain("of node 2"))));
    let _hand_over = place.start(&["--node", "node-1"]);
    let begun = format!("started spark-a {SECRET}");
    told(&recorder, &[&begun]);
    // A pod that no node has yet is not this node's; then it is.
    let mut waiting = executor("spark-c", 7, &plain("of c"));
    waiting["spec"].as_object_mut().unwrap().remove("nodeName");
    place.api.put(driver("spark-c"));
    place.api.put(waiting);
    place.api.put(executor("spark-c", 7, &plain("of c")));
    told(&recorder, &[&begun, "started spark-c of c"]);
    place.api.phase("spark-c-exec-7", "Running");
    place.api.delete("spark-c-exec-7");
    told(&recorder, &[&begun, "started spark-c of c", "executor-ended spark-c 7"]);
    place.api.phase("spark-c-driver", "Succeeded");
    told(&recorder, &[&begun, "started spark-c of c", "executor-ended spark-c 7", "ended spark-c"]);
    // An end waits for the executors that run here.
    place.api.delete("spark-a-driver");
    place.api.phase("spark-a-exec-1", "Failed");
    eventually("the end", || recorder.told().last().is_some_and(|last| last == "ended spark-a"));
    assert!(recorder.told().iter().all(|line| !line.contains("spark-b")), "{:?}", recorder.told());
}

#[test]
fn a_watch_that_is_cut_loses_nothing() {
    for forgets in [false, true] {
        let place = Place::new();
        let recorder = place.recorder(&[]);
        for app in ["spark-a", "spark-b"] {
            place.api.put(driver(app));
            place.api.put(executor(app, 1, &plain(app)));
        }
        let hand_over = place.start(&["--namespace", "ns"]);
        told(&recorder, &["started spark-a spark-a", "started spark-b spark-b"]);
        place.api.cut(forgets);
        place.api.delete("spark-a-exec-1");
        place.api.delete("spark-a-driver");
        place.api.phase("spark-b-exec-1", "Running");
        place.api.put(driver("spark-c"));
        place.api.put(executor("spark-c", 1, &plain("spark-c")));
        eventually(&format!("all of it (forgets: {forgets})\n{}", hand_over.log()), || {
            let told = recorder.told();
            ["ended spark-a", "started spark-c spark-c"].iter().all(|line| told.contains(&line.to_string()))
        });
        assert!(!recorder.told().contains(&"ended spark-b".to_owned()));
        let is_namespaced = |asked: &String| asked.starts_with("/api/v1/namespaces/ns/pods");
        assert!(place.api.asked().iter().all(is_namespaced), "{:?}", place.api.asked());
    }
}

#[test]
fn nothing_ends_while_the_api_server_does_not_let_us_list() {
    let place = Place::new();
    let recorder = place.recorder(&["spark-a"]);
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    place.api.put(driver("spark-b"));
    place.api.put(executor("spark-b", 1, &plain("of b")));
    place.api.forbid("pods", true);
    let hand_over = place.start(&[]);
    hand_over.says(&[
        "watching the drivers in all namespaces",
        "refuses it",
        "`watch` of pods",
        "deploy/kubernetes/hand-over",
    ]);
    assert!(recorder.told().is_empty());
    place.api.forbid("pods", false);
    // The owner of the first one is not there. What the server held is not handed over again.
    eventually("the other one", || !recorder.told().is_empty());
    hand_over.says(&["no longer: watching the drivers"]);
    place.api.delete("spark-a-exec-1");
    eventually("its end", || recorder.told().contains(&"ended spark-a".to_owned()));
    assert!(recorder.told().contains(&"started spark-b of b".to_owned()), "{:?}", recorder.told());
    assert!(!recorder.told().iter().any(|line| line.starts_with("started spark-a")));
}

#[test]
fn a_restart_of_either_side_tells_what_was_missed() {
    let place = Place::new();
    for app in ["spark-a", "spark-b"] {
        place.api.put(driver(app));
        place.api.put(executor(app, 1, &plain(app)));
    }
    let first = place.recorder(&[]);
    let hand_over = place.start(&[]);
    told(&first, &["started spark-a spark-a", "started spark-b spark-b"]);
    // The server comes back without its records.
    drop(first);
    let second = place.recorder(&[]);
    told(&second, &["started spark-a spark-a", "started spark-b spark-b"]);
    // We are away while an application ends.
    drop(hand_over);
    place.api.delete("spark-a-exec-1");
    place.api.phase("spark-a-driver", "Failed");
    drop(second);
    let third = place.recorder(&["spark-a", "spark-b"]);
    let _hand_over = place.start(&[]);
    told(&third, &["ended spark-a"]);
}

#[test]
fn a_named_secret_is_read_where_that_is_allowed_and_the_rule_is_named_where_it_is_not() {
    let place = Place::new();
    let recorder = place.recorder(&[]);
    place.api.forbid("secrets", true);
    place.api.secret("of-spark", "base64", "MDEyMzQ1Njc4OWFiY2RlZg==");
    place.api.put(driver("spark-a"));
    let from = json!({
        "name": "_SPARK_AUTH_SECRET", "valueFrom": {"secretKeyRef": {"name": "of-spark", "key": "base64"}},
    });
    place.api.put(executor("spark-a", 1, &from));
    let hand_over = place.start(&[]);
    hand_over.says(&[
        "application spark-a",
        "may not read Secret ns/of-spark",
        "resourceNames: [\"of-spark\"]",
        "verbs: [\"get\"]",
    ]);
    assert!(recorder.told().is_empty());
    place.api.forbid("secrets", false);
    told(&recorder, &[&format!("started spark-a {SECRET}")]);
    assert!(!hand_over.log().contains(SECRET), "{}", hand_over.log());
}

#[test]
fn the_end_of_a_notebooks_pod_ends_the_applications_of_its_executors() {
    let place = Place::new();
    let recorder = place.recorder(&[]);
    let mut notebook = driver("spark-a");
    notebook["metadata"]["labels"] = json!({"app": "notebook"});
    place.api.put(notebook);
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    let _hand_over = place.start(&[]);
    let begun = format!("started spark-a {SECRET}");
    told(&recorder, &[&begun]);
    place.api.delete("spark-a-exec-1");
    told(&recorder, &[&begun, "executor-ended spark-a 1"]);
    let asks = |what: &str| place.api.asked().iter().filter(|asked| asked.contains(what)).count();
    eventually("it asks for both, twice", || {
        asks("/namespaces/ns/pods/spark-a-driver") > 1 && asks("limit=1&") + asks("limit=1") > 1
    });
    assert_eq!(recorder.told().len(), 2, "the notebook lives");
    place.api.phase("spark-a-driver", "Succeeded");
    told(&recorder, &[&begun, "executor-ended spark-a 1", "ended spark-a"]);
}

#[test]
fn an_application_without_a_drivers_pod_ends_when_none_of_its_executors_is_left_for_a_time() {
    let place = Place::new();
    let recorder = place.recorder(&["spark-c"]);
    let lonely = |app: &str, number, node| {
        let mut pod = on_node(node, executor(app, number, &plain(app)));
        pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        pod
    };
    place.api.put(lonely("spark-a", 1, "node-1"));
    place.api.put(lonely("spark-b", 1, "node-1"));
    place.api.put(lonely("spark-b", 2, "node-2"));
    let _hand_over = place.start(&["--node", "node-1", "--gone-after", "2"]);
    // Of the third one nothing but its secret at the server is left.
    eventually("the end of c", || recorder.told().contains(&"ended spark-c".to_owned()));
    place.api.delete("spark-a-exec-1");
    place.api.delete("spark-b-exec-1");
    eventually("the end of a", || recorder.told().contains(&"ended spark-a".to_owned()));
    assert!(!recorder.told().contains(&"ended spark-b".to_owned()), "it runs on another node");
    place.api.delete("spark-b-exec-2");
    eventually("the end of b", || recorder.told().contains(&"ended spark-b".to_owned()));
}

#[test]
fn an_answer_that_cannot_be_read_is_not_quoted() {
    let place = Place::new();
    let _recorder = place.recorder(&[]);
    let mut odd = executor("spark-a", 1, &plain(SECRET));
    odd["spec"]["containers"][0]["name"] = json!("c");
    odd["status"]["phase"] = json!(["no", "text"]);
    place.api.put(odd);
    let hand_over = place.start(&[]);
    hand_over.says(&["watching the executors", "cannot be read"]);
    assert!(!hand_over.log().contains(SECRET), "{}", hand_over.log());
}

fn output(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn once_tells_what_there_is_and_fails_where_nobody_answers() {
    let place = Place::new();
    place.api.put(driver("spark-a"));
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    let nobody = output(place.command(&["--once"]));
    assert_eq!(code(&nobody), 69, "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("handover.sock"), "{}", stderr(&nobody));
    let recorder = place.recorder(&[]);
    let done = output(place.command(&["--once"]));
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(recorder.told(), [format!("started spark-a {SECRET}")]);
    place.api.forbid("pods", true);
    let forbidden = output(place.command(&["--once"]));
    assert_eq!(code(&forbidden), 69, "{}", stderr(&forbidden));
    let mut lost = place.command(&["--once"]);
    lost.env("KUBECONFIG", place.dir.path().join("nowhere"));
    let lost = output(lost);
    assert_eq!(code(&lost), 78, "{}", stderr(&lost));
    assert!(stderr(&lost).contains("no way to the API server is known"), "{}", stderr(&lost));
}

/// Registers an executor as Spark's does, with a secret. Says whether that was taken.
fn register(server: &Serving, app: &str, secret: &str, dir: &Path) -> Output {
    let mut command = sealed_shuffle();
    command
        .args(["register", "--server", &server.address.to_string(), "--app-id", app, "--executor-id", "1"])
        .arg("--local-dir")
        .arg(dir)
        .env("_SPARK_AUTH_SECRET", secret);
    output(command)
}

#[test]
fn directories_registrations_and_secrets_of_an_application_go_with_it() {
    let place = Place::new();
    let base = place.dir.path().canonicalize().unwrap();
    let root = base.join("root");
    let dir = root.join("blockmgr-2f1d5a3e-8c7b-4f6a-9d0e-1a2b3c4d5e6f");
    fs::create_dir_all(dir.join("0c")).unwrap();
    fs::create_dir(base.join("state")).unwrap();
    fs::write(dir.join("0c/shuffle_0_0_0.data"), "data").unwrap();
    let mut command = serve(&base);
    for conf in [
        format!("spark.local.dir={}", root.display()),
        format!("spark.sealed.handover.socket={}", place.socket().display()),
        "spark.sealed.auth.secret-wait=0s".to_owned(),
        "spark.sealed.cleanup.applications=on".to_owned(),
        // The path of a directory names no application here.
        "spark.shuffle.service.requireAppScopedLocalDirs=false".to_owned(),
    ] {
        command.args(["--conf", &conf]);
    }
    let server = Serving::start(command, &base.join("serve.log"));
    let refused = register(&server, "spark-a", SECRET, &dir);
    assert_eq!(code(&refused), 77, "nothing was handed over: {}", stderr(&refused));

    place.api.put(driver("spark-a"));
    place.api.put(executor("spark-a", 1, &plain(SECRET)));
    let _hand_over = place.start(&["--node", "node-1"]);
    eventually("the secret", || server.log().contains("an application was handed over"));
    let done = register(&server, "spark-a", SECRET, &dir);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(code(&register(&server, "spark-a", "another", &dir)), 77);

    // Its executors go to zero, and what they wrote stays.
    place.api.delete("spark-a-exec-1");
    eventually("the end of the executor", || {
        fs::read_dir(&dir).is_ok() && server.log().contains("spark-a") && place.api.asked().len() > 1
    });
    assert!(dir.join("0c/shuffle_0_0_0.data").exists());
    place.api.phase("spark-a-driver", "Succeeded");
    eventually(&format!("its directory goes\n{}", server.log()), || !dir.exists());
    let gone = register(&server, "spark-a", SECRET, &dir);
    assert_eq!(code(&gone), 77, "its secret is gone: {}", stderr(&gone));
    assert!(server.log().contains("forgot an application"), "{}", server.log());
    assert!(!server.log().contains(SECRET));
}
