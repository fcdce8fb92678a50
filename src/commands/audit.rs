//! `audit`: the audit trail of a server: whether it is whole, and what it says.

use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use sealed_shuffle_config::value::{Grammar as _, Time};
use sealed_shuffle_config::{AuditConfig, EnvelopeConfig, KeySource, ProcessEnvironment};
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::columns;
use super::versioned::versioned;
use super::{ConfigArgs, Exit, Failure, complain};
use crate::audit::reading::each;
use crate::audit::verify::{Finding, Mark, Standing, Verdict, verify};
use crate::audit::{NODE_APP, audit_app};
use crate::keys::envelope::{KeyProvider, LocalKeyFile, open_provider};

/// Records that are shown at most: they are in memory.
const MOST: usize = 100_000;

/// A hundred years: `--since` takes a duration.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

const HELP: &str = "Exit codes of verify:
  0 the trail is whole, 65 something was changed: each place is named, 66 there is no trail, 69 nothing wrong was seen,
  but not all could be judged: a key could not be had, or a file could not be read, 78 wrong configuration

A trail that was put back whole, with its head, from an older copy is whole: note the last line of verify elsewhere now
and then, and give it to --expect.";

/// Read the audit trail of a server, and verify that nobody changed it
///
/// Reads the same configuration as `serve`: run it with the same properties file, as the same user. The server may run.
#[derive(Args, Debug)]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Verify(Verify),
    Show(Show),
}

/// Verify that no record was changed, removed, added or moved
#[derive(Args, Debug)]
#[command(after_help = HELP)]
struct Verify {
    /// The directory of the trail, or of a copy of it; without it, spark.sealed.audit.dir
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// A record that must be there, as an earlier verify named the last one
    #[arg(long, value_name = "NUMBER:HASH")]
    expect: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Show the records, oldest first
///
/// Nothing is verified: audit verify does that. Of very many, the last hundred thousand are shown.
#[derive(Args, Debug)]
struct Show {
    /// The directory of the trail, or of a copy of it; without it, spark.sealed.audit.dir
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Only records about this application
    #[arg(long, value_name = "ID")]
    app: Option<String>,

    /// Only records of this time, such as 24h, or since a moment, such as 2026-11-30T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Audit {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Verify(verify) => verify.run(),
            What::Show(show) => show.run(),
        }
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let expected = self.expect.as_deref().map(mark).transpose()?;
        let (configured, envelope) = AuditConfig::place(&self.config.sources(), &ProcessEnvironment)?;
        let dir = self.dir.unwrap_or(configured);
        let verdict = look(&dir, &envelope, expected)?;
        let text = match self.json {
            true => format!("{:#}\n", versioned(to_json(&dir, &verdict))),
            false => text(&dir, &verdict),
        };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))?;
        let shown = dir.display();
        match verdict.standing() {
            Standing::Whole => Ok(()),
            Standing::Missing => {
                let text = format!("there is no audit trail in {shown} (spark.sealed.audit.enabled, --dir)");
                Err(Failure::new(Exit::Missing, text))
            }
            Standing::Changed => {
                let count = verdict.findings.len() as u64 + verdict.more;
                Err(Failure::new(Exit::Corrupt, format!("the audit trail was changed, in {count} places")))
            }
            Standing::Unjudged => {
                let text = "nothing wrong was seen in the audit trail, and not all of it could be judged";
                Err(Failure::new(Exit::Unreachable, text))
            }
        }
    }
}

/// Judges the trail in `dir`, with the keys that its server has.
pub(super) fn look(
    dir: &Path,
    envelope: &EnvelopeConfig,
    expected: Option<Mark>,
) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let context = envelope.context(audit_app());
    let judged = runtime.block_on(async {
        let provider = provider_of(envelope).await;
        let provider = provider.as_ref().map(|provider| &**provider).map_err(Clone::clone);
        verify(dir, provider, &context, expected).await
    });
    judged.map_err(|error| {
        Failure::new(Exit::Unreachable, format!("{} cannot be read: {error} (--dir)", dir.display()))
    })
}

/// The key service, as it is there: nothing is made.
async fn provider_of(envelope: &EnvelopeConfig) -> Result<Arc<dyn KeyProvider>, String> {
    match &envelope.source {
        KeySource::LocalFile { path } => {
            let path = path.clone();
            let opened = Lane::new(1).run(move |on| LocalKeyFile::open(on, &path)).await;
            match opened {
                Ok(Ok(keys)) => Ok(Arc::new(keys)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
        KeySource::AwsKms { .. } | KeySource::HadoopKms { .. } | KeySource::Command { .. } => {
            open_provider(envelope).await.map_err(|error| error.to_string())
        }
    }
}

/// `NUMBER:HASH`.
fn mark(text: &str) -> Result<Mark, Failure> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| {
        let hash = hash.to_ascii_lowercase();
        let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        Some(Mark { seq: seq.parse().ok().filter(|_| is_hash)?, hash })
    });
    parsed.ok_or_else(|| {
        let text = format!("--expect {text:?}: give it as verify prints it, a number, a colon and 64 digits");
        Failure::new(Exit::Usage, text)
    })
}

fn text(dir: &Path, verdict: &Verdict) -> String {
    let mut lines = String::new();
    for Finding { file, line, what } in &verdict.findings {
        lines += &match line {
            0 => format!("{file}: {what}\n"),
            line => format!("{file}:{line}: {}\n", Shown(what)),
        };
    }
    if verdict.more > 0 {
        lines += &format!("and {} more\n", verdict.more);
    }
    for text in verdict.unjudged.iter().chain(&verdict.remarks) {
        lines += &format!("{}\n", Shown(text));
    }
    if verdict.standing() == Standing::Missing {
        return lines;
    }
    let (files, records) = (verdict.files, verdict.records);
    let standing = verdict.standing().name();
    lines += &format!("{}: {standing}; {records} records in {files} files\n", dir.display());
    if let Some(Mark { seq, hash }) = &verdict.last {
        lines += &format!("the last record is {seq}:{hash}\n");
    }
    lines
}

/// The verdict as JSON.
pub(super) fn to_json(dir: &Path, verdict: &Verdict) -> Value {
    let finding = |Finding { file, line, what }: &Finding| json!({"file": file, "line": line, "what": what});
    json!({
        "directory": dir.display().to_string(),
        "standing": verdict.standing().name(),
        "files": verdict.files,
        "records": verdict.records,
        "first_record": verdict.first,
        "last_record": verdict.last.as_ref().map(|last| last.seq),
        "last_hash": verdict.last.as_ref().map(|last| last.hash.as_str()),
        "changed": verdict.findings.iter().map(finding).collect::<Vec<_>>(),
        "changed_more": verdict.more,
        "unjudged": verdict.unjudged,
        "remarks": verdict.remarks,
    })
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let since = self.since.as_deref().map(since).transpose()?;
        let (configured, _) = AuditConfig::place(&self.config.sources(), &ProcessEnvironment)?;
        let dir = self.dir.unwrap_or(configured);
        let (mut records, mut left_out) = (VecDeque::new(), 0_u64);
        let others = each(&OnLane::here(), &dir, |record| {
            let is_about = self.app.as_ref().is_none_or(|app| record["app"] == app.as_str());
            // Times have one form, so their texts are in their order.
            let is_late = since
                .as_ref()
                .is_none_or(|since| record["time"].as_str().is_some_and(|time| time >= &**since));
            if is_about && is_late {
                if records.len() == MOST {
                    records.pop_front();
                    left_out += 1;
                }
                records.push_back(record);
            }
        });
        let failed = |error| {
            Failure::new(Exit::Unreachable, format!("{} cannot be read: {error} (--dir)", dir.display()))
        };
        let others = others.map_err(failed)?;
        if records.is_empty() && others == 0 && !dir.exists() {
            let text =
                format!("there is no audit trail in {} (spark.sealed.audit.enabled, --dir)", dir.display());
            return Err(Failure::new(Exit::Missing, text));
        }
        if others > 0 {
            complain(format_args!(
                "{others} lines are no records: sealed-shuffle audit verify says where and why"
            ));
        }
        if left_out > 0 {
            complain(format_args!("the oldest {left_out} are left out: --since and --app show fewer"));
        }
        let text = match self.json {
            true => format!("{:#}\n", versioned(json!({"records": records, "left_out": left_out}))),
            false => table(&records),
        };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
    }
}

/// The time since which records are shown, in their form.
fn since(text: &str) -> Result<String, Failure> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from);
    let moment = match moment {
        Some(moment) => moment,
        None => {
            let ago = Time::ours(Duration::ZERO, LONGEST).parse(text).map_err(|_| {
                let text = format!(
                    "--since {text:?}: give a duration, such as 24h, or a time, such as 2026-11-30T08:00:00Z"
                );
                Failure::new(Exit::Usage, text)
            })?;
            SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
        }
    };
    Ok(crate::audit::stamp(moment))
}

const HEAD: [&str; 6] = ["RECORD", "TIME", "WHAT", "APPLICATION", "WHO", "AND"];

/// Fields that have a column of their own, or are of the chain.
const SHOWN: [&str; 15] = [
    "seq",
    "time",
    "what",
    "app",
    "peer",
    "address",
    "user",
    "channel",
    "prev",
    "mac",
    "wrapped_key",
    "policy",
    "handshake",
    "cipher",
    "version",
];

fn table(records: &VecDeque<Value>) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for record in records {
        let cell = |name: &str| match &record[name] {
            Value::Null => None,
            Value::String(text) => Some(Shown(text).to_string()),
            other => Some(Shown(&other.to_string()).to_string()),
        };
        let user = cell("user").map(|user| format!("user {user}"));
        let peer = cell("peer").or_else(|| cell("address"));
        let who = [user, peer, cell("channel")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let others = record.as_object().into_iter().flatten();
        let others = others.filter(|(name, _)| !SHOWN.contains(&name.as_str()));
        let others: Vec<_> =
            others.filter_map(|(name, _)| Some(format!("{}={}", Shown(name), cell(name)?))).collect();
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        let app = cell("app").map(|app| if app == NODE_APP { "the trail itself".to_owned() } else { app });
        rows.push([
            or_dash(cell("seq")),
            or_dash(cell("time")),
            or_dash(cell("what")),
            or_dash(app),
            if who.is_empty() { "-".to_owned() } else { who },
            others.join(" "),
        ]);
    }
    columns(&rows)
}
