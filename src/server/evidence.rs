//! What an auditor asks for, as JSON: what is in force, which settings say so, and what protects what at rest.

use std::sync::OnceLock;

use arc_swap::ArcSwap;
use sealed_shuffle_config::{AtRest, OutagePolicy, ServerConfig};
use serde_json::{Map, Value, json};

use super::Server;
use crate::keys::envelope::EnvelopeKeys;
use crate::telemetry::features;

/// Keys that say how connections are protected begin so.
const PROTECTING: [&str; 4] =
    ["spark.authenticate", "spark.network.crypto.", "spark.network.sasl.", "spark.ssl."];
/// Those of ours, behind `spark.sealed.`.
const OURS_PROTECTING: [&str; 4] = ["auth.", "sasl.", "security.", "tls."];

/// What the configuration says of protection.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The keys in effect that protect connections, with their origin.
    settings: ArcSwap<Vec<Value>>,
    keys: Value,
    at_rest: Value,
    audit: Value,
    /// What the process has given up, as its program says.
    confinement: OnceLock<Vec<String>>,
}

impl Evidence {
    pub(super) fn of(config: &ServerConfig, keys: Option<&EnvelopeKeys>) -> Self {
        let (envelope, merging) = (&config.envelope, config.merging.as_ref());
        let outage = match envelope.outage {
            OutagePolicy::Refuse => "refuse".to_owned(),
            OutagePolicy::UseCached { ttl } => format!("use-cached for {} s", ttl.as_secs()),
        };
        let merged = merging.map(|merging| match (merging.at_rest, &merging.view_dir) {
            (AtRest::Sealed, None) => "sealed (AES-256-GCM, a data key for each application)",
            (AtRest::Sealed, Some(_)) => {
                "sealed (AES-256-GCM, a data key for each application), and opened for the application's user on this host"
            }
            (AtRest::Plain, _) => "plain, as Spark's own service keeps it",
        });
        Self {
            settings: ArcSwap::from_pointee(settings(config)),
            keys: match keys {
                Some(keys) => json!({
                    "provider": keys.provider().name(),
                    "cluster": envelope.cluster,
                    "node": envelope.node,
                    "on_unavailable": outage,
                }),
                None => Value::Null,
            },
            at_rest: json!({
                "merged": merged,
                "recovery_store": config.recovery.then_some("sealed (AES-256-GCM, a key for each record)"),
                "executors_files": "as the executors wrote them: spark.io.encryption, or an encrypted volume, is theirs",
            }),
            audit: config.audit.as_ref().map_or(Value::Null, |audit| {
                json!({
                    "directory": audit.dir.display().to_string(),
                    "files": audit.files,
                    "file_bytes": audit.file_size.as_u64(),
                })
            }),
            confinement: OnceLock::new(),
        }
    }

    /// A configuration was read again.
    pub(super) fn replace(&self, config: &ServerConfig) {
        self.settings.store(settings(config).into());
    }
}

fn settings(config: &ServerConfig) -> Vec<Value> {
    let is_protecting = |key: &str| match key.strip_prefix("spark.sealed.") {
        Some(ours) => OURS_PROTECTING.iter().any(|prefix| ours.starts_with(prefix)),
        None => PROTECTING.iter().any(|prefix| key.starts_with(prefix)),
    };
    let protecting = config.report.effective.iter().filter(|one| is_protecting(&one.key));
    protecting
        .map(|one| json!({"key": one.key, "value": one.value, "origin": one.origin.to_string()}))
        .collect()
}

impl Server {
    /// What the process has given up; once.
    pub(crate) fn is_confined(&self, lines: &[String]) {
        // There is one program.
        _ = self.shared.evidence.confinement.set(lines.to_vec());
    }

    /// All that an auditor asks for and this server knows.
    pub(crate) fn evidence(&self) -> Value {
        let shared = &self.shared;
        let Evidence { settings, keys, at_rest, audit, confinement } = &shared.evidence;
        let mut audit = audit.clone();
        if let (Value::Object(audit), Value::Object(figures)) = (&mut audit, shared.audit.figures()) {
            audit.extend(figures);
        }
        let mut keys = keys.clone();
        if let (Value::Object(keys), Some(ring)) = (&mut keys, &shared.keys) {
            // A rotation changes it.
            keys.insert("service".to_owned(), ring.provider().describe().into());
        }
        json!({
            "version": 1,
            "status": self.status(),
            "applications": self.applications(None, None),
            "settings": **settings.load(),
            "keys": keys,
            "keys_needed": self.keys_needed()["needed"],
            "at_rest": at_rest,
            "audit": audit,
            "confinement": confinement.get(),
            "build": build(),
        })
    }
}

/// What the program was built from.
fn build() -> Value {
    let mut build = Map::new();
    build.insert("release".to_owned(), env!("CARGO_PKG_VERSION").into());
    build.insert("architecture".to_owned(), std::env::consts::ARCH.into());
    build.extend(features().map(|(name, is_on)| (name.to_owned(), is_on.into())));
    Value::Object(build)
}
