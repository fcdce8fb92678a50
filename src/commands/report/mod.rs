//! `report`: the evidence that an auditor asks for, from a server that runs, as one HTML and one JSON file.

mod page;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use hyper::{Method, StatusCode};
use sealed_shuffle_config::{AuditConfig, EnvelopeConfig, KeySource, ProcessEnvironment};
use sealed_shuffle_protocol::stored::sealed::Header;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::admin::{Place, ServerArgs};
use super::inspect::data_keys::Keys;
use super::inspect::scan::findings;
use super::versioned::versioned;
use super::{Exit, Failure, audit};
use crate::audit::verify::keys_of;
use crate::keys::envelope::LocalKeyFile;

const HELP: &str = "Examples:
  sealed-shuffle report --out report.html --json report.json
  sealed-shuffle report --scan --json -

Exit codes:
  0 written, 1 failed, 2 wrong usage, 69 no server answers, 77 the server refuses, 78 wrong configuration";

/// Write what an auditor asks for: what a running server encrypted how, policy, keys, certificates, audit trail
///
/// Asks at the server's socket. Run it on the machine of the server, with the same configuration, as the same user: then
/// it names the keys of a local key file with their ages, and verifies the audit trail.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Report {
    /// Write one HTML file, which needs nothing beside it
    #[arg(long, value_name = "FILE.html", required_unless_present = "json")]
    out: Option<PathBuf>,

    /// Write JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Look at everything beneath the server's roots, as inspect --scan does
    #[arg(long)]
    scan: bool,

    /// Token for asking over TCP; without it, spark.sealed.admin.token-file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Report {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.server.config();
        let answer = self.server.find_to_change(self.token_file)?.ask(&Method::GET, "/evidence")?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused("is it a server with `report`?"));
        }
        let evidence = answer.json()?;
        let place = AuditConfig::place(&config.clone().sources(), &ProcessEnvironment);
        let (wrapping, trail) = match &place {
            Ok((_, envelope)) => (wrapping_keys(envelope), trail(&evidence, envelope)),
            Err(error) => (json!({"why": error.to_string()}), json!({"why": error.to_string()})),
        };
        let scanned = if self.scan { scan(&evidence, Keys::of(config, false)?)? } else { Value::Null };
        let report = versioned(compose(&evidence, &answer.place, wrapping, trail, scanned)?);
        if let Some(path) = &self.out {
            write(path, &page::page(&report))?;
        }
        match &self.json {
            Some(path) if path.as_os_str() == "-" => {
                let text = format!("{report:#}\n");
                stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
            }
            Some(path) => write(path, &format!("{report:#}\n")),
            None => Ok(()),
        }
    }
}

fn compose(
    evidence: &Value,
    place: &Place,
    wrapping: Value,
    trail: Value,
    scanned: Value,
) -> Result<Value, Failure> {
    let made = time::OffsetDateTime::from(SystemTime::now());
    let made = made.replace_nanosecond(0).unwrap_or(made);
    let made = made.format(&Rfc3339).map_err(|error| Failure::new(Exit::Failed, error))?;
    let (status, applications) = (&evidence["status"], &evidence["applications"]);
    Ok(json!({
        "made": made,
        "host": host(place),
        "kernel": line_of("/proc/sys/kernel/osrelease"),
        "asked_at": place.to_string(),
        "server": {
            "release": status["release"],
            "build": evidence["build"],
            "started": status["started"],
            "state": status["state"],
            "ready": status["ready"],
        },
        "policy": status["policy"],
        "settings": evidence["settings"],
        "transit": {
            "served": status["served"],
            "counts": applications["counts"],
            "target": applications["target"],
            "applications": applications["applications"],
            "refusals": status["refusals"],
            "traces": status["traces"],
        },
        "certificate": status["certificate"],
        "at_rest": evidence["at_rest"],
        "recovery_store": status["recovery_store"],
        "keys": {
            "of": evidence["keys"],
            "needed": needed(evidence),
            "wrapping": wrapping,
        },
        "scan": scanned,
        "audit": {"of": evidence["audit"], "trail": trail},
        "confinement": evidence["confinement"],
        "disks": status["disks"],
    }))
}

/// The machine of the server: ours where its socket is, else as it was named.
fn host(place: &Place) -> Option<String> {
    match place {
        Place::Socket(_) => line_of("/proc/sys/kernel/hostname"),
        Place::Tcp(address) => Some(address.clone()),
    }
}

/// The only line of a file of the kernel's.
fn line_of(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The keys of a local key file with their ages; for another key service, where they are to be looked at.
fn wrapping_keys(envelope: &EnvelopeConfig) -> Value {
    let KeySource::LocalFile { path } = &envelope.source else {
        return json!({"why": "the key service has them, and says how old they are"});
    };
    let on = OnLane::here();
    let listed = LocalKeyFile::open(&on, path).and_then(|keys| keys.list(&on));
    match listed {
        Ok(keys) => {
            let now = time::OffsetDateTime::from(SystemTime::now());
            let key = |key: &crate::keys::envelope::KeyInFile| {
                json!({
                    "name": key.name,
                    "made": key.made.format(&Rfc3339).ok(),
                    "age_seconds": (now - key.made).whole_seconds(),
                    "wraps": key.wraps,
                })
            };
            json!({"file": path.display().to_string(), "keys": keys.iter().map(key).collect::<Vec<_>>()})
        }
        Err(error) => json!({"why": error.to_string()}),
    }
}

/// What needs the wrapping keys: the server says it of what it holds, and the files of the trail of themselves.
fn needed(evidence: &Value) -> Vec<Value> {
    let mut needed: Vec<Value> = evidence["keys_needed"].as_array().into_iter().flatten().cloned().collect();
    if let Some(dir) = evidence["audit"]["directory"].as_str() {
        // Where they cannot be read, the trail says so.
        let keys = keys_of(&OnLane::here(), Path::new(dir)).unwrap_or_default();
        let names: BTreeSet<String> = keys.into_iter().map(|key| key.key_id).collect();
        needed.extend(names.into_iter().map(|key| json!({"key": key, "by": "the audit trail"})));
    }
    needed
}

/// Whether the audit trail is whole; null where the server keeps none.
fn trail(evidence: &Value, envelope: &EnvelopeConfig) -> Value {
    let Some(dir) = evidence["audit"]["directory"].as_str() else { return Value::Null };
    match audit::look(Path::new(dir), envelope, None) {
        Ok(verdict) => audit::to_json(Path::new(dir), &verdict),
        Err(failure) => json!({"why": failure.to_string()}),
    }
}

fn scan(evidence: &Value, mut keys: Keys) -> Result<Value, Failure> {
    let roots = evidence["status"]["disks"].as_array().into_iter().flatten();
    let roots: Vec<_> = roots.filter_map(|disk| disk["root"].as_str()).map(PathBuf::from).collect();
    findings(&roots, &mut |header: &Header| keys.key(header))
}

/// Whoever may read it is for the auditor to say: it is ours alone at first.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error: io::Error| Failure::new(Exit::Failed, format!("{}: {error}", path.display())))
}
