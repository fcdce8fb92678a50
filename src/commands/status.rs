//! `status`: how a running server is, on one screen.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};
use indicatif::{HumanBytes, HumanDuration};
use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;

use super::admin::ServerArgs;
use super::table::{cell, columns, counted};
use super::{Exit, Failure};

/// Behind the number of connections.
const FULL: &str =
    " (peers wait: raise spark.sealed.connections.max, or LimitNOFILE= of the unit where that is lower)";

/// Where lines of the log are lost.
const LOG: &str = "is the disk of the log full, or its reader gone?";

const HELP: &str = "Exit codes:
  0 ready, 1 not ready: it drains, or no local directory can be used, 69 no server answers, 77 the server refuses,
  78 wrong configuration";

/// Show how a running server is: disks, shares, applications, certificate, refusals, memory
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

impl Status {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let answer = self.server.find()?.ask(&Method::GET, "/status")?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused("is it the admin port of a server with `status`?"));
        }
        let status = answer.json()?;
        let text = if self.json { format!("{status:#}\n") } else { screen(&status) };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))?;
        match status["ready"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(Failure::new(Exit::Failed, "the server is not ready")),
        }
    }
}

/// For a person.
fn screen(status: &Value) -> String {
    let mut lines = vec![
        ["server".to_owned(), server(status)],
        ["policy".to_owned(), policy(&status["policy"])],
        ["applications".to_owned(), applications(&status["applications"])],
        ["served".to_owned(), served(status)],
        ["memory".to_owned(), memory(&status["memory"])],
    ];
    lines.extend(list(&status["disks"]).map(|disk| ["disk".to_owned(), disk_of(disk)]));
    let waiting = list(&status["shares"]).filter(|share| share["waiting"].as_u64().unwrap_or(0) > 0);
    lines.extend(waiting.map(|share| ["waited for".to_owned(), share_of(share)]));
    if !status["certificate"].is_null() {
        lines.push(["certificate".to_owned(), certificate(&status["certificate"])]);
    }
    lines.push(["recovery store".to_owned(), recovery_store(&status["recovery_store"])]);
    if !status["key_service"].is_null() {
        lines.push(["key service".to_owned(), key_service(&status["key_service"])]);
    }
    lines.push(["audit trail".to_owned(), audit_trail(&status["audit"])]);
    if !status["traces"].is_null() {
        lines.push(["traces".to_owned(), traces(&status["traces"])]);
    }
    if let Some(lost) = status["log_lines_lost"].as_u64().filter(|lost| *lost > 0) {
        lines
            .push(["log".to_owned(), format!("{lost} lines lost: standard error does not take them; {LOG}")]);
    }
    lines.push(["refused".to_owned(), refused(&status["refusals"])]);
    columns(&lines)
}

fn server(status: &Value) -> String {
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    format!(
        "{}, {ready}, release {}, since {}",
        cell(&status["state"]),
        cell(&status["release"]),
        cell(&status["started"])
    )
}

fn policy(policy: &Value) -> String {
    match policy["allow"].as_array() {
        Some(levels) => {
            let levels: Vec<_> = levels.iter().map(cell).collect();
            format!("serves {}, target {}", levels.join(", "), cell(&policy["target"]))
        }
        None => format!("minimum {}, target {}", cell(&policy["minimum"]), cell(&policy["target"])),
    }
}

fn applications(applications: &Value) -> String {
    let running = &applications["counts"]["running"];
    format!(
        "{} with {}; {} of {} that run would be refused at {}",
        cell(&applications["registered"]),
        counted(&applications["executors"], "executor"),
        cell(&running["below_target"]),
        cell(&running["applications"]),
        cell(&applications["target"])
    )
}

fn served(status: &Value) -> String {
    let over = list(&status["served"]).map(|one| {
        let bytes = HumanBytes(one["bytes"].as_u64().unwrap_or(0));
        format!("{} with {bytes} over {}", counted(&one["blocks"], "block"), cell(&one["channel"]))
    });
    let over: Vec<_> = over.collect();
    let over = if over.is_empty() { "nothing yet".to_owned() } else { over.join(", ") };
    format!(
        "{over}; {} of {} connections{}, {} chunks on their way",
        cell(&status["connections"]),
        cell(&status["connections_most"]),
        if status["connections_full"] == true { FULL } else { "" },
        cell(&status["chunks_in_transfer"])
    )
}

fn memory(memory: &Value) -> String {
    let bytes = |name: &str| HumanBytes(memory[name].as_u64().unwrap_or(0));
    format!(
        "{} of {} of the budget in use, {} resident",
        bytes("used_bytes"),
        bytes("budget_bytes"),
        bytes("anonymous_bytes")
    )
}

fn disk_of(disk: &Value) -> String {
    let bytes = |name: &str| HumanBytes(disk[name].as_u64().unwrap_or(0));
    let is = match disk["why"].as_str().unwrap_or("") {
        "" => cell(&disk["health"]),
        why => format!("{}: {}", cell(&disk["health"]), Shown(why)),
    };
    let remedy = match disk["health"] == "ok" {
        true => String::new(),
        false => format!("; {}", cell(&disk["remedy"])),
    };
    let (free, total) = (bytes("free_bytes"), bytes("total_bytes"));
    format!("{} {is}, {free} free of {total}{remedy}", cell(&disk["root"]))
}

fn share_of(share: &Value) -> String {
    format!(
        "{}: {} wait; {} of {} in use, {} of it by one",
        cell(&share["name"]),
        cell(&share["waiting"]),
        cell(&share["used"]),
        cell(&share["total"]),
        cell(&share["largest"])
    )
}

fn certificate(certificate: &Value) -> String {
    let (subject, from) = (cell(&certificate["subject"]), cell(&certificate["not_before"]));
    let (until, left) = (cell(&certificate["not_after"]), certificate["seconds_left"].as_u64().unwrap_or(0));
    match left {
        0 => format!("{subject}, EXPIRED on {until}: peers refuse it; renew it"),
        _ if certificate["valid"] == false => {
            format!(
                "{subject}, NOT VALID before {from}: peers refuse it; is the clock of this machine right?"
            )
        }
        left => format!("{subject}, until {until}: {} days", left / 86_400),
    }
}

fn key_service(service: &Value) -> String {
    let count = |name: &str| service[name].as_u64().unwrap_or(0);
    let (provider, calls, failed) = (cell(&service["provider"]), count("calls"), count("failed"));
    match (failed, service["last"].as_str()) {
        (0, _) => format!("{provider}, {calls} calls, none failed"),
        (_, Some("ok")) => format!("{provider}, answers again; {failed} of {calls} calls failed"),
        (_, last) => format!(
            "{provider}, FAILS: {}; {failed} of {calls} calls failed; `sealed-shuffle keys check` makes one",
            Shown(last.unwrap_or("-"))
        ),
    }
}

fn recovery_store(store: &Value) -> String {
    let unwritten = store["unwritten"].as_u64().unwrap_or(0);
    match () {
        () if store["waits_for_key"] == true => {
            "waits for its key: what was registered before the start is not known".to_owned()
        }
        () if store["exists"] != true => "none: a restart forgets".to_owned(),
        () if unwritten > 0 => format!("{unwritten} records are not written yet"),
        () => "holds everything".to_owned(),
    }
}

fn audit_trail(trail: &Value) -> String {
    if trail.is_null() {
        return "off (spark.sealed.audit.enabled)".to_owned();
    }
    let number = |name: &str| trail[name].as_u64().unwrap_or(0);
    let (dir, written) = (cell(&trail["directory"]), number("written"));
    let sealed = match trail["seconds_since_sealed"].as_u64() {
        _ if number("waiting") > 0 && number("write_failures") > 0 => {
            format!("CANNOT BE WRITTEN: {} records wait", number("waiting"))
        }
        None => "NOT WRITTEN YET: its directory, its lock or its key is not to be had; the log says why"
            .to_owned(),
        Some(seconds) => format!(
            "{written} records since the start, the last ones sealed {} ago",
            HumanDuration(Duration::from_secs(seconds))
        ),
    };
    match number("lost") {
        0 => format!("in {dir}: {sealed}"),
        lost => format!("in {dir}: {sealed}; {lost} records LOST"),
    }
}

fn traces(traces: &Value) -> String {
    let number = |name: &str| traces[name].as_u64().unwrap_or(0);
    let percent = traces["sample_rate"].as_f64().unwrap_or(0.0) * 100.0;
    let (endpoint, sent) = (cell(&traces["endpoint"]), number("spans_sent"));
    let lost = match number("spans_lost") {
        0 => "none lost".to_owned(),
        lost => format!("{lost} LOST"),
    };
    format!("of {percent} % of requests, to {endpoint}: {sent} spans sent, {lost}")
}

fn refused(refusals: &Value) -> String {
    let counts = refusals.as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64() != Some(0));
    let counts: Vec<_> = counts.map(|(reason, count)| format!("{count} {}", Shown(reason))).collect();
    if counts.is_empty() { "nothing since the start".to_owned() } else { counts.join(", ") }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
