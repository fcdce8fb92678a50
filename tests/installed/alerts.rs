//! Alerts, dashboard and book name metrics that a server has, and each alert has its runbook.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use super::outcome::code;
use super::running::{PATIENCE, eventually};
use super::{documents, sealed_shuffle, text, tool, tree};

const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const TESTS: &str = "deploy/prometheus/alerts-test.yaml";
const DASHBOARD: &str = "deploy/grafana/dashboard.json";
const RUNBOOK: &str = "docs/alerts.md";
const PREFIX: &str = "sealed_shuffle_";

/// A program that serves one map output, with its operator's port; killed on drop.
struct Served {
    process: Child,
    server: String,
    admin: String,
    root: TempDir,
}

const SECRET: &str = "a secret of the alerts' test";

/// What an executor says that pushes: its application gets a key.
const MERGING: &str =
    r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager","attemptId":"-1"}"#;

impl Served {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        for (place, bytes) in [("b/0c/shuffle_0_0_0.data", &b"first"[..]), ("b/30/shuffle_0_0_0.index", &[])]
        {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let offsets = [0_u64, 5].map(u64::to_be_bytes).concat();
            fs::write(path, if bytes.is_empty() { &offsets } else { bytes }).unwrap();
        }
        let mut serve =
            sealed_shuffle(&["serve", "--bind", "127.0.0.1", "--port", "0", "--admin", "127.0.0.1:0"]);
        serve.args([
            "--conf",
            "spark.shuffle.push.server.mergedShuffleFileManagerImpl=RemoteBlockPushResolver",
        ]);
        serve.args(["--conf", "spark.sealed.quota.connections=100"]);
        serve.env("_SPARK_AUTH_SECRET", SECRET).env("SPARK_LOCAL_DIRS", root.path());
        serve.env("STATE_DIRECTORY", root.path().join("state")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (server, admin) =
            line.trim().strip_prefix("listening on ").unwrap().split_once(" admin on ").unwrap();
        Self { server: server.to_owned(), admin: admin.to_owned(), process, root }
    }

    fn client(&self, arguments: &[&str]) -> i32 {
        let mut client = sealed_shuffle(arguments);
        client.args(["--server", &self.server, "--app-id", "app-1", "--executor-id", "1"]);
        code(&client.env("_SPARK_AUTH_SECRET", SECRET).output().unwrap())
    }

    /// The answer to a scraper that sends `headers`, each with its end of line.
    fn page(&self, headers: &str) -> String {
        let mut socket = TcpStream::connect(&self.admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        page
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Every series that a server can have. What is counted by channel and by disk comes with the first of them, so this one has
/// served a block, and looked at its disk.
fn series() -> &'static BTreeSet<String> {
    static SERIES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let served = Served::start();
        let dir = served.root.path().join("b");
        let register = ["register", "--shuffle-manager", MERGING, "--local-dir", dir.to_str().unwrap()];
        assert_eq!(served.client(&register), 0);
        assert_eq!(served.client(&["fetch", "shuffle_0_0_0"]), 0);
        let mut names = BTreeSet::new();
        eventually("the server has looked at its disk", || {
            let page = served.page("");
            names = series_of(&page);
            page.contains("disk_free_bytes")
        });
        assert!(names.len() > 40, "{names:?}");
        names
    });
    &SERIES
}

/// Without it, an alert on an increase would miss the first count.
#[test]
fn counters_whose_labels_are_known_are_there_before_anything_is_counted() {
    let served = Served::start();
    let page = served.page("");
    for line in [
        r#"closes_total{reason="handshake_timeout"} 0"#,
        r#"closes_total{reason="starved"} 0"#,
        r#"block_failures_total{reason="absent"} 0"#,
        r#"block_failures_total{reason="mismatch"} 0"#,
        r#"block_failures_total{reason="merge_write"} 0"#,
        r#"forgotten_applications_total{reason="directories_gone"} 0"#,
        r#"handover_total{message="started",outcome="not_done"} 0"#,
        r#"reloads_total{reason="refused"} 0"#,
        r#"key_calls_total{provider="local-file",call="unwrap",outcome="unavailable"} 0"#,
        r#"key_call_seconds_count{provider="local-file",call="generate"} 0"#,
    ] {
        assert!(page.contains(&format!("\n{PREFIX}{line}\n")), "{line} is not in\n{page}");
    }
}

#[test]
fn who_asks_for_open_metrics_gets_it_and_others_the_older_text() {
    let served = Served::start();
    let prometheus = served.page("Accept: text/plain;q=0.2, application/openmetrics-text; version=1.0.0\r\n");
    assert!(prometheus.contains("content-type: application/openmetrics-text; version=1.0.0"), "{prometheus}");
    assert!(
        prometheus.contains("# TYPE sealed_shuffle_requests counter\n") && prometheus.ends_with("# EOF\n")
    );
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let plain = served.page(accept);
        assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{accept}: {plain}");
        assert!(plain.contains("# TYPE sealed_shuffle_requests_total counter\n") && !plain.contains("# EOF"));
    }
}

#[test]
fn promtool_finds_nothing_to_say_of_the_page_of_a_server_that_works() {
    let Some(promtool) = promtool() else { return };
    let served = Served::start();
    let dir = served.root.path().join("b");
    let register = ["register", "--shuffle-manager", MERGING, "--local-dir", dir.to_str().unwrap()];
    assert_eq!(served.client(&register), 0);
    assert_eq!(served.client(&["fetch", "shuffle_0_0_0"]), 0);
    let (_, page) =
        served.page("").split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(complaints(&promtool, &page), "");
    // The control.
    let unhelpful = page.replace("# HELP sealed_shuffle_executors Registered executors.\n", "");
    assert_ne!(page, unhelpful);
    assert!(complaints(&promtool, &unhelpful).contains("sealed_shuffle_executors"));
}

/// All that `promtool check metrics` says of a page.
fn complaints(promtool: &Path, page: &str) -> String {
    let mut check = std::process::Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said.into_owned()
}

/// `make alerts` wants it; elsewhere a machine may be without.
fn promtool() -> Option<PathBuf> {
    let found = tool("promtool", "package prometheus; `make alerts` installs it");
    let is_required = std::env::var_os("SEALED_SHUFFLE_ALERTS").is_some_and(|value| value == "required");
    assert!(found.is_some() || !is_required, "SEALED_SHUFFLE_ALERTS=required, and there is no promtool");
    found
}

fn series_of(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            // The older text has it in the name of the metric.
            "counter" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// Words that look like metrics of ours. A beginning of names (`sealed_shuffle_merge_`, or in a pattern after `^`) is none.
fn named(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(PREFIX) {
        let before = text[..at].chars().next_back();
        let word: String = text[at..].chars().take_while(|&c| is_word(c)).collect();
        let whole = !text[at + word.len()..].starts_with(['(', '*', ':']);
        if !before.is_some_and(|c| is_word(c) || c == '^')
            && whole
            && word.len() > PREFIX.len()
            && !word.ends_with('_')
        {
            found.insert(word);
        }
    }
    found
}

#[test]
fn alerts_dashboard_and_book_name_metrics_that_a_server_has() {
    let there = series();
    let packages = ["client", "config", "faulty_disk", "measure", "protocol", "transport"];
    let mut files: Vec<(String, String)> =
        [ALERTS, TESTS, DASHBOARD].iter().map(|path| ((*path).to_owned(), text(path))).collect();
    files.extend(documents().into_iter().map(|(path, text)| (path.display().to_string(), text)));
    for (path, text) in &files[..3] {
        assert!(named(text).len() > 10, "{path} names hardly a metric; does this test still look?");
    }
    let mut faults = Vec::new();
    for (path, text) in files {
        for name in named(&text) {
            let package = packages.iter().any(|package| name == format!("{PREFIX}{package}"));
            if !package && !there.contains(&name) {
                faults.push(format!("{path}: no server has {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The control of the test above.
#[test]
fn a_word_is_a_metric_and_a_beginning_of_words_is_none() {
    let text = "rate(sealed_shuffle_blocks_total[5m]) `sealed_shuffle_` sealed_shuffle_merge_*\n\
                ^sealed_shuffle_(block|closes) ^sealed_shuffle_block my_sealed_shuffle_x sealed_shuffle_config::keys sealed_shuffle_none";
    let found: Vec<_> = named(text).into_iter().collect();
    assert_eq!(found, ["sealed_shuffle_blocks_total", "sealed_shuffle_none"]);
    assert!(!series().contains("sealed_shuffle_none"));
}

fn alerts() -> Vec<String> {
    let text = text(ALERTS);
    let name = |line: &str| line.trim().strip_prefix("- alert: ").map(str::to_owned);
    text.lines().filter_map(name).collect()
}

#[test]
fn each_alert_has_its_section_and_its_test_and_each_section_its_alert() {
    let alerts = alerts();
    assert!(alerts.len() > 10, "{alerts:?}");
    let (rules, runbook, tests) = (text(ALERTS), text(RUNBOOK), text(TESTS));
    for alert in &alerts {
        let (_, section) = runbook
            .split_once(&format!("\n## {alert}\n"))
            .unwrap_or_else(|| panic!("{RUNBOOK} has no {alert}"));
        let section = section.split("\n## ").next().unwrap();
        for part in ["**Means.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "{alert}: its section has no {part}");
        }
        let anchor = format!("runbook: {RUNBOOK}#{}\n", alert.to_lowercase());
        assert_eq!(rules.matches(&anchor).count(), 1, "{alert}: its rule names its section");
        assert!(tests.contains(&format!("- name: {alert}\n")), "{TESTS} does not let {alert} fire");
        let silent = format!("alertname: {alert}\n        exp_alerts: []");
        assert!(tests.contains(&silent), "{TESTS} does not say when {alert} is silent");
    }
    let sections: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, alerts, "in the order of the rules");
}

#[test]
fn the_dashboard_asks_one_data_source_and_lets_no_panel_overlap() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let mut taken = BTreeSet::new();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked += 1;
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("instance=~\"$instance\""), "{}: {expression}", panel["title"]);
        }
    }
    assert!(asked > 30, "{asked}");
}

#[test]
fn promtool_takes_the_rules_and_each_fires_as_its_test_says() {
    let Some(promtool) = promtool() else { return };
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts-test.yaml"]] {
        let dir = tree().join("deploy/prometheus");
        let output = std::process::Command::new(&promtool).args(arguments).current_dir(dir).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}
