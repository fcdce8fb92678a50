//! `apps`: shows the applications of a running server, their channels, and those that a higher minimum would refuse; and
//! ends applications.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};
use indicatif::HumanBytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sealed_shuffle_config::value::{Grammar as _, Time};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;

use super::admin::{RunningServer, ServerArgs};
use super::table::{cell, columns};
use super::{Exit, Failure};

/// Show the applications of a running server, their channels, and those that a higher minimum would refuse
///
/// Asks at the server's socket (spark.sealed.admin.socket, admin.sock in the state directory) where there is one, else at
/// its admin port (serve --admin). One line for each application and channel, last seen first. The last line counts those
/// that the target would refuse, by the channels that they use now: of the applications that run, and of all in the table.
/// With --end it ends applications instead.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Apps {
    /// End this application: the server forgets its executors, merged files, keys and secret; may be given many times
    #[arg(long, value_name = "ID", conflicts_with_all = ["target", "json"])]
    end: Vec<String>,

    /// Token for ending applications over TCP; without it, spark.sealed.admin.token-file
    #[arg(long, value_name = "FILE", requires = "end")]
    token_file: Option<PathBuf>,

    /// Show the applications that this minimum would refuse: sasl-conf, aes-legacy, aes-ctr, aes-gcm or tls
    #[arg(long, value_name = "LEVEL")]
    target: Option<String>,

    /// Show applications that run or were seen in this time, such as 24h, and count each channel that they used in it
    #[arg(long, value_name = "TIME", conflicts_with = "end")]
    since: Option<String>,

    /// Exit with 1 if the target would refuse an application that runs, or one that was seen in the time of --since
    #[arg(long, conflicts_with = "end")]
    fail: bool,

    /// Show it again every so many seconds [2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", conflicts_with_all = ["end", "fail"],
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

const HELP: &str = "Examples:
  sealed-shuffle apps --target tls --since 24h
  sealed-shuffle apps --target aes-gcm --fail    # in a script, before the minimum is raised

Exit codes:
  0 shown, 1 --fail and the target would refuse an application, 2 wrong usage, 66 --end and no such application,
  69 no server answers, 77 the server refuses, 78 wrong configuration";

impl Apps {
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let (server, token_file) = (std::mem::take(&mut self.server), self.token_file.take());
        match self.end.is_empty() {
            true => self.show(&server.find()?),
            false => end(&self.end, &server.find_to_change(token_file)?),
        }
    }

    fn show(&self, server: &RunningServer) -> Result<(), Failure> {
        let path = match &self.target {
            Some(level) if SecurityLevel::named(level).is_none() => {
                let text = format!("--target: {level:?} is no level of security");
                return Err(Failure::new(Exit::Usage, text));
            }
            Some(level) => format!("target={level}"),
            None => String::new(),
        };
        let since = match &self.since {
            Some(text) => format!("&since={}", since(text)?.as_secs()),
            None => String::new(),
        };
        let path = format!("/applications?{path}{since}");
        loop {
            let answer = self.answer(server, &path)?;
            let text = match self.json {
                true => format!("{answer:#}\n"),
                false => table(&answer, self.since.as_deref()),
            };
            let clear = if self.watch.is_some() && stdout().is_terminal() { CLEAR } else { "" };
            let mut out = stdout();
            let written = out.write_all(format!("{clear}{text}").as_bytes()).and_then(|()| out.flush());
            written.map_err(|error| Failure::new(Exit::Failed, error))?;
            match self.watch {
                Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
                None => return self.judge(&answer),
            }
        }
    }

    /// With `--fail`, fails where the target would refuse somebody who counts.
    fn judge(&self, answer: &Value) -> Result<(), Failure> {
        let whom = if self.since.is_some() { "all" } else { "running" };
        let below = answer["counts"][whom]["below_target"].as_u64().unwrap_or(0);
        match self.fail && below > 0 {
            true => {
                let text = format!("{below} applications would be refused at {}", cell(&answer["target"]));
                Err(Failure::new(Exit::Failed, text))
            }
            false => Ok(()),
        }
    }

    fn answer(&self, server: &RunningServer, path: &str) -> Result<Value, Failure> {
        let answer = server.ask(&Method::GET, path)?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused("is it the admin port of a server with `apps`?"));
        }
        answer.json()
    }
}

/// Ends one application after the other; the first that cannot be ended is the last.
pub(super) fn end(apps: &[String], server: &RunningServer) -> Result<(), Failure> {
    for app in apps {
        let path = format!("/applications/{}", utf8_percent_encode(app, NON_ALPHANUMERIC));
        let answer = server.ask(&Method::DELETE, &path)?;
        match answer.status {
            StatusCode::OK => {
                writeln!(stdout(), "{}: {}", Shown(app), Shown(&answer.text()))
                    .map_err(|error| Failure::new(Exit::Failed, error))?;
            }
            StatusCode::NOT_FOUND => {
                let text = format!("{} knows no application {app:?}: see sealed-shuffle apps", answer.place);
                return Err(Failure::new(Exit::Missing, text));
            }
            _ => return Err(answer.refused("the application was not ended")),
        }
    }
    Ok(())
}

/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// A time as `--since` takes it.
fn since(text: &str) -> Result<Duration, Failure> {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let parsed = Time::ours(Duration::ZERO, century).parse(text);
    parsed.map_err(|reject| Failure::new(Exit::Usage, format!("--since {text:?}: {reject}")))
}

const HEAD: [&str; 12] = [
    "APPLICATION",
    "USER",
    "EXECUTORS",
    "CHANNEL",
    "HANDSHAKE",
    "CIPHER",
    "SPARK",
    "OPEN",
    "SERVED",
    "ON DISK",
    "LAST USED",
    "REMARK",
];

/// The answer as aligned columns, with a summary line.
fn table(answer: &Value, since: Option<&str>) -> String {
    let none = Vec::new();
    let applications = answer["applications"].as_array().unwrap_or(&none);
    let mut lines = vec![HEAD.map(str::to_owned)];
    for application in applications {
        let channels = application["channels"].as_array().unwrap_or(&none);
        // What to change is said once, at the first channel that counts.
        let counting =
            channels.iter().position(|channel| channel["advice"].is_string() && channel["counts"] == true);
        if channels.is_empty() {
            lines.push(line(application, &Value::Null, true, false));
        }
        let each = channels.iter().enumerate();
        lines.extend(each.map(|(n, channel)| line(application, channel, n == 0, counting == Some(n))));
    }
    columns(&lines) + "\n" + &summary(answer, since)
}

/// Who would be refused: of those that run, and of all that are remembered.
fn summary(answer: &Value, since: Option<&str>) -> String {
    let count = |whom: &str, what: &str| answer["counts"][whom][what].as_u64().unwrap_or(0);
    let target = cell(&answer["target"]);
    let running = format!(
        "{} of {} applications that run would be refused at {target}",
        count("running", "below_target"),
        count("running", "applications")
    );
    let within = since.map_or_else(|| "in the table".to_owned(), |since| format!("seen in {since}"));
    let all = format!("{} of {} {within}", count("all", "below_target"), count("all", "applications"));
    let unheard = match count("running", "unheard") {
        0 => String::new(),
        unheard => format!("; {unheard} more are registered, and how they speak is not known yet"),
    };
    format!("{running}, {all}{unheard}\n")
}

fn line(application: &Value, channel: &Value, is_first: bool, is_advised: bool) -> [String; 12] {
    let cipher = match (channel["tls"].as_str(), channel["cipher"].as_str()) {
        (Some(tls), Some("none")) => tls.to_owned(),
        (Some(tls), Some(cipher)) => format!("{tls}+{cipher}"),
        _ => cell(&channel["cipher"]),
    };
    let mut remarks = Vec::new();
    if let Some(advice) = channel["advice"].as_str().filter(|_| is_advised) {
        remarks.push(Shown(advice).to_string());
    }
    let refused = application["refused"].as_u64().unwrap_or(0);
    if refused > 0 && is_first {
        let reason = cell(&application["last_refusal"]["reason"]);
        remarks.push(match refused {
            1 => format!("refused once: {reason}"),
            _ => format!("refused {refused} times, last: {reason}"),
        });
    }
    if application["running"] == false && is_first && !channel.is_null() {
        remarks.push("does not run".to_owned());
    }
    if application["proven"] == false && is_first {
        remarks.push("not proven".to_owned());
    }
    let last = if channel.is_null() { &application["last_seen"] } else { &channel["last_used"] };
    [
        cell(&application["app"]),
        cell(&application["user"]),
        cell(&application["executors"]),
        cell(&channel["channel"]),
        cell(&channel["handshake"]),
        Shown(&cipher).to_string(),
        cell(&channel["spark"]),
        cell(&channel["connections_open"]),
        bytes(&channel["bytes_served"]),
        bytes(&application["disk_bytes"]),
        cell(last),
        remarks.join("; "),
    ]
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| HumanBytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_channel_and_counts_whom_the_target_refuses() {
        let answer = json!({
            "target": "aes-gcm",
            "counts": {
                "running": {"applications": 1, "below_target": 1, "unheard": 0},
                "all": {"applications": 2, "below_target": 1, "unheard": 0},
            },
            "applications": [
                {"app": "app-1", "user": "spark", "executors": 2, "proven": true, "last_seen": "2026-11-22T05:22:36Z",
                 "running": true, "refused": 0, "below_target": true, "channels": [
                    {"channel": "aes-ctr", "cipher": "AES/CTR/NoPadding", "handshake": "x25519-v1", "counts": true,
                     "connections_open": 1, "bytes_served": 87241523200_u64, "advice": "would be refused at aes-gcm; set X"},
                    {"channel": "aes-ctr", "cipher": "AES/CTR/NoPadding", "handshake": "x25519-v2", "counts": true,
                     "connections_open": 1, "bytes_served": 2048, "advice": "would be refused at aes-gcm; set X"},
                    {"channel": "tls", "tls": "TLSv1.3", "cipher": "none", "connections_open": 0, "bytes_served": 0,
                     "last_used": "2026-11-22T05:22:37Z"}]},
                {"app": "evil\u{1b}[2J", "executors": 0, "proven": false, "refused": 3, "below_target": false,
                 "running": false, "last_refusal": {"reason": "wrong secret"}, "channels": []},
            ],
        });
        let text = table(&answer, None);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert!(lines[0].starts_with("APPLICATION") && lines[0].ends_with("REMARK"));
        assert!(lines[1].contains("81.25 GiB") && lines[1].contains("x25519-v1"), "{text}");
        assert!(lines[1].ends_with("would be refused at aes-gcm; set X"), "{text}");
        assert!(lines[2].contains("2.00 KiB") && !lines[2].contains("set X"), "said twice: {text}");
        assert!(lines[3].contains("TLSv1.3") && lines[3].contains("2026-11-22T05:22:37Z"));
        assert!(
            lines[4].contains("evil\\u{1b}[2J") && lines[4].contains("refused 3 times, last: wrong secret")
        );
        assert_eq!(lines[6], "1 of 1 applications that run would be refused at aes-gcm, 1 of 2 in the table");
        let column = |line: &str, word: &str| line.find(word);
        assert_eq!(column(lines[0], "CHANNEL"), column(lines[1], "aes-ctr"));
        let since = summary(&answer, Some("24h"));
        assert!(since.ends_with("1 of 2 seen in 24h\n"), "{since}");
    }
}
