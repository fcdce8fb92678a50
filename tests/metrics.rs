//! The metrics page, and `docs/metrics.md`, which is made from it.
//!
//! `UPDATE_DOCS=1 cargo test --test metrics` writes the list.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use running::{CTR, GCM, Running};

const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->";

/// One metric, as the page shows it.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The metrics of a page by name. Labels are those that a sample shows.
fn metrics(page: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((sample, labels)) = line.split_once('{') {
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            let labels: Vec<_> = labels.map(|(name, _)| name.trim_start_matches(',').to_owned()).collect();
            let owner = metrics.iter_mut().rev().find(|(name, _)| {
                sample
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            });
            owner.unwrap_or_else(|| panic!("{sample} has no TYPE")).1.labels.extend(labels);
        }
    }
    metrics
}

/// As Prometheus names it: a counter ends with `_total`, a histogram has `_sum` and `_count` beside this.
fn shown(name: &str, metric: &Metric) -> String {
    match metric.kind.as_str() {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        "histogram" => format!("{name}_bucket"),
        _ => name.to_owned(),
    }
}

#[test]
fn every_metric_has_a_help_text_and_stands_in_the_documentation() {
    // What is not everywhere: keys, quotas.
    let running = Running::start_with(|config| {
        config.recovery = true;
        config.quota.connections = Some(100);
    });
    // Labels that come with the first sample.
    drop(running.registered(GCM));
    drop(running.registered(CTR));
    let page = running.server.metrics_page().unwrap();
    assert!(page.ends_with("# EOF\n"), "{page}");
    let metrics = metrics(&page);
    assert!(metrics.len() > 60, "{}", metrics.len());
    let mut list = String::from("| metric | type | labels | what it shows |\n|---|---|---|---|\n");
    for (name, metric) in &metrics {
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}: {metric:?}");
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels) = (shown(name, metric), labels.join(", "));
        list += &format!("| `{name}` | {} | {labels} | {} |\n", metric.kind, metric.help);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{list}{END}{after}")).unwrap();
        return;
    }
    assert!(
        listed == list,
        "the list in docs/metrics.md is out of date: UPDATE_DOCS=1 writes it; it would be\n{list}"
    );
}

#[test]
fn process_and_build_have_the_names_that_all_exporters_use() {
    let running = Running::start();
    let page = running.server.metrics_page().unwrap();
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 3.0 && value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    let version = format!("sealed_shuffle_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&version), "{version} is not in\n{page}");
}
