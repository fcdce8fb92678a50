//! `apps`: shows the applications of a running server, their channels, and those that a higher minimum would refuse.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sealed_shuffle_config::{ByteCount, ProcessEnvironment, admin_address};
use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;
use tokio::net::TcpStream;

use super::table::columns;
use super::{ConfigArgs, Exit, Failure};

/// Time from connecting to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Length of the longest answer that is read.
const LONGEST: usize = 256 << 20;

/// Show the applications of a running server, their channels, and those that a higher minimum would refuse
///
/// Asks the server's admin port (serve --admin). One line for each application and channel, last seen first.
#[derive(Args, Debug)]
pub(crate) struct Apps {
    /// The server's admin port; without it, spark.sealed.admin.address
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,

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
    pub(crate) fn run(self) -> Result<(), Failure> {
        let address = match self.admin {
            Some(address) => address,
            None => match admin_address(&self.config.sources(), &ProcessEnvironment)? {
                Some(address) => address.to_string(),
                None => {
                    let text = "spark.sealed.admin.address is not set: name the server's admin port with --admin HOST:PORT";
                    return Err(Failure::new(Exit::Config, text));
                }
            },
        };
        let path = match &self.target {
            Some(level) => {
                if sealed_shuffle_protocol::channel::SecurityLevel::named(level).is_none() {
                    return Err(Failure::new(
                        Exit::Usage,
                        format!("--target: {level:?} is no level of security"),
                    ));
                }
                format!("/applications?target={level}")
            }
            None => "/applications".to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&address, &path)).await });
        let answer = asked.unwrap_or_else(|_| Err(unreachable(&address, "no answer in time")))?;
        let value: Value = serde_json::from_slice(&answer).map_err(|error| {
            Failure::new(Exit::Failed, format!("{address} answers something else: {error}"))
        })?;
        let text = match self.json {
            true => format!("{value:#}\n"),
            false => table(&value),
        };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
    }
}

async fn ask(address: &str, path: &str) -> Result<Bytes, Failure> {
    let failed = |error: &dyn std::fmt::Display| unreachable(address, error);
    let socket = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, address)
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::new(Exit::Usage, format!("--admin: {error}")))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(Failure::new(
            Exit::Failed,
            format!("{address} answers {status}: is it the admin port of a server with `apps`?"),
        ));
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| failed(&error))
}

fn unreachable(address: &str, error: impl std::fmt::Display) -> Failure {
    let text = format!("nobody answers at {address}: {error}; does the server run with --admin {address}?");
    Failure::new(Exit::Unreachable, text)
}

const HEAD: [&str; 10] = [
    "APPLICATION",
    "USER",
    "EXECUTORS",
    "CHANNEL",
    "CIPHER",
    "SPARK",
    "OPEN",
    "SERVED",
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

fn line(application: &Value, channel: &Value) -> [String; 10] {
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
        channel["bytes_served"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |bytes| ByteCount::new(bytes).to_string()),
        shown(&application["last_seen"]),
        remarks.join("; "),
    ]
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
