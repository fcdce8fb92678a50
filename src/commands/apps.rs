//! `apps`: shows the applications of a running server, their channels, and those that a higher minimum would refuse; and
//! ends applications.

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use clap::Args;
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sealed_shuffle_config::{AdminPlaces, AdminToken, ByteCount, ProcessEnvironment};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;

use super::admin::{Answer, Place, ask};
use super::table::columns;
use super::{ConfigArgs, Exit, Failure};

/// Show the applications of a running server, their channels, and those that a higher minimum would refuse
///
/// Asks at the server's socket (spark.sealed.admin.socket, admin.sock in the state directory) where there is one, else at
/// its admin port (serve --admin). One line for each application and channel, last seen first. With --end it ends
/// applications instead.
#[derive(Args, Debug)]
pub(crate) struct Apps {
    /// The server's admin port; without it, the socket, and then spark.sealed.admin.address
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,

    /// The server's socket; without it, spark.sealed.admin.socket
    #[arg(long, value_name = "PATH", conflicts_with = "admin")]
    socket: Option<PathBuf>,

    /// End this application: the server forgets its executors, merged files, keys and secret; may be given many times
    #[arg(long, value_name = "ID", conflicts_with_all = ["target", "json"])]
    end: Vec<String>,

    /// Token for ending applications over TCP; without it, spark.sealed.admin.token-file
    #[arg(long, value_name = "FILE", requires = "end")]
    token_file: Option<PathBuf>,

    /// Show the applications that this minimum would refuse: sasl-conf, aes-legacy, aes-ctr, aes-gcm or tls
    #[arg(long, value_name = "LEVEL")]
    target: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Apps {
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let config = std::mem::take(&mut self.config);
        let configured = match (&self.admin, &self.socket) {
            // A place that was named needs no configuration, unless it may hold the token.
            (None, None) => Some(AdminPlaces::from_sources(&config.sources(), &ProcessEnvironment)?),
            _ if self.end.is_empty() || self.token_file.is_some() => None,
            _ => Some(AdminPlaces::from_sources(&config.sources(), &ProcessEnvironment)?),
        };
        let places = self.places(configured.as_ref())?;
        match self.end.is_empty() {
            true => self.show(&places),
            false => self.end(&places, configured.and_then(|configured| configured.token_file)),
        }
    }

    fn places(&self, configured: Option<&AdminPlaces>) -> Result<Vec<Place>, Failure> {
        match (&self.socket, &self.admin, configured) {
            (Some(path), ..) => Ok(vec![Place::Socket(path.clone())]),
            (_, Some(address), _) => Ok(vec![Place::Tcp(address.clone())]),
            (_, _, configured) => of_configuration(configured),
        }
    }

    fn show(&self, places: &[Place]) -> Result<(), Failure> {
        let path = match &self.target {
            Some(level) if SecurityLevel::named(level).is_none() => {
                let text = format!("--target: {level:?} is no level of security");
                return Err(Failure::new(Exit::Usage, text));
            }
            Some(level) => format!("/applications?target={level}"),
            None => "/applications".to_owned(),
        };
        let answer = ask(places, &Method::GET, &path, None)?;
        if answer.status != StatusCode::OK {
            return Err(refused(&answer, "is it the admin port of a server with `apps`?"));
        }
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::new(Exit::Failed, format!("{} answers something else: {error}", answer.place))
        })?;
        let text = match self.json {
            true => format!("{value:#}\n"),
            false => table(&value),
        };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
    }

    /// Ends one application after the other; the first that cannot be ended is the last.
    fn end(&self, places: &[Place], configured: Option<PathBuf>) -> Result<(), Failure> {
        let token = match self.token_file.clone().or(configured) {
            Some(file) => match AdminToken::read(&ProcessEnvironment, &file) {
                Ok(token) => Some(token),
                // The socket wants no token, and the file may be the server's alone.
                Err(_) if matches!(places, [Place::Socket(_), ..]) => None,
                Err(reason) => {
                    let text =
                        format!("{} (--token-file, spark.sealed.admin.token-file): {reason}", file.display());
                    return Err(Failure::new(Exit::Config, text));
                }
            },
            None => None,
        };
        for app in &self.end {
            let path = format!("/applications/{}", utf8_percent_encode(app, NON_ALPHANUMERIC));
            let answer = ask(places, &Method::DELETE, &path, token.as_ref())?;
            match answer.status {
                StatusCode::OK => {
                    writeln!(stdout(), "{}: {}", Shown(app), Shown(&answer.text()))
                        .map_err(|error| Failure::new(Exit::Failed, error))?;
                }
                StatusCode::NOT_FOUND => {
                    let text =
                        format!("{} knows no application {app:?}: see sealed-shuffle apps", answer.place);
                    return Err(Failure::new(Exit::Missing, text));
                }
                _ => return Err(refused(&answer, "the application was not ended")),
            }
        }
        Ok(())
    }
}

/// The socket where there is one, and then the address.
fn of_configuration(configured: Option<&AdminPlaces>) -> Result<Vec<Place>, Failure> {
    let socket = configured.and_then(|configured| configured.socket.as_ref());
    let address = configured.and_then(|configured| configured.address);
    let is_missing =
        |path: &PathBuf| path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let there = socket.filter(|path| !is_missing(path)).cloned().map(Place::Socket);
    let places: Vec<_> = there.into_iter().chain(address.map(Place::from)).collect();
    if !places.is_empty() {
        return Ok(places);
    }
    let socket = match socket {
        Some(path) => format!(
            "there is no socket at {} (spark.sealed.admin.socket, spark.sealed.state.dir)",
            path.display()
        ),
        None => "spark.sealed.admin.socket is off".to_owned(),
    };
    let text = format!(
        "{socket}, and spark.sealed.admin.address is not set: name the server's with --socket PATH or --admin HOST:PORT"
    );
    Err(Failure::new(Exit::Config, text))
}

fn refused(answer: &Answer, question: &str) -> Failure {
    let Answer { place, status, .. } = answer;
    match *status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            Failure::new(Exit::Refused, format!("{place} refuses: {}", Shown(&answer.text())))
        }
        _ => Failure::new(Exit::Failed, format!("{place} answers {status}: {question}")),
    }
}

const HEAD: [&str; 11] = [
    "APPLICATION",
    "USER",
    "EXECUTORS",
    "CHANNEL",
    "CIPHER",
    "SPARK",
    "OPEN",
    "SERVED",
    "ON DISK",
    "LAST SEEN",
    "REMARK",
];

/// The answer as aligned columns, with a summary line.
fn table(answer: &Value) -> String {
    let none = Vec::new();
    let applications = answer["applications"].as_array().unwrap_or(&none);
    let mut lines = vec![HEAD.map(str::to_owned)];
    for application in applications {
        let channels = application["channels"].as_array().unwrap_or(&none);
        if channels.is_empty() {
            lines.push(line(application, &Value::Null));
        }
        lines.extend(channels.iter().map(|channel| line(application, channel)));
    }
    let mut text = columns(&lines);
    let below = applications.iter().filter(|application| application["below_target"] == true).count();
    let target = shown(&answer["target"]);
    text += &format!("\n{below} of {} applications would be refused at {target}\n", applications.len());
    text
}

fn line(application: &Value, channel: &Value) -> [String; 11] {
    let cipher = match (channel["tls"].as_str(), channel["cipher"].as_str()) {
        (Some(tls), Some("none")) => tls.to_owned(),
        (Some(tls), Some(cipher)) => format!("{tls}+{cipher}"),
        _ => shown(&channel["cipher"]),
    };
    let mut remarks = Vec::new();
    if let Some(advice) = channel["advice"].as_str() {
        remarks.push(Shown(advice).to_string());
    }
    let refused = application["refused"].as_u64().unwrap_or(0);
    if refused > 0 {
        remarks.push(format!(
            "refused {refused} times, last: {}",
            shown(&application["last_refusal"]["reason"])
        ));
    }
    if application["proven"] == false {
        remarks.push("not proven".to_owned());
    }
    [
        shown(&application["app"]),
        shown(&application["user"]),
        shown(&application["executors"]),
        shown(&channel["channel"]),
        Shown(&cipher).to_string(),
        shown(&channel["spark"]),
        shown(&channel["connections_open"]),
        bytes(&channel["bytes_served"]),
        bytes(&application["disk_bytes"]),
        shown(&application["last_seen"]),
        remarks.join("; "),
    ]
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| ByteCount::new(bytes).to_string())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Shown(text).to_string(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_channel_and_counts_whom_the_target_refuses() {
        let answer = json!({
            "target": "aes-gcm",
            "applications": [
                {"app": "app-1", "user": "spark", "executors": 2, "proven": true, "last_seen": "2026-11-22T05:22:36Z",
                 "refused": 0, "below_target": true, "channels": [
                    {"channel": "aes-ctr", "cipher": "AES/CTR/NoPadding", "spark": "3.1 or later",
                     "connections_open": 1, "bytes_served": 2048, "advice": "would be refused at aes-gcm; set X"},
                    {"channel": "tls", "tls": "TLSv1.3", "cipher": "none", "connections_open": 0, "bytes_served": 0}]},
                {"app": "evil\u{1b}[2J", "executors": 0, "proven": false, "refused": 3, "below_target": false,
                 "last_refusal": {"reason": "wrong secret"}, "channels": []},
            ],
        });
        let text = table(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("APPLICATION") && lines[0].ends_with("REMARK"));
        assert!(
            lines[1].contains("2k") && lines[1].ends_with("would be refused at aes-gcm; set X"),
            "{text}"
        );
        assert!(lines[2].contains("TLSv1.3"));
        assert!(
            lines[3].contains("evil\\u{1b}[2J") && lines[3].contains("refused 3 times, last: wrong secret")
        );
        assert_eq!(lines[5], "1 of 2 applications would be refused at aes-gcm");
        let column = |line: &str, word: &str| line.find(word);
        assert_eq!(column(lines[0], "CHANNEL"), column(lines[1], "aes-ctr"));
    }
}
