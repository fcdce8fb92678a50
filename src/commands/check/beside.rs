//! What other files of the cluster say, and where that contradicts the server's configuration: the
//! `spark-defaults.conf` of applications, and the `yarn-site.xml` of a NodeManager.

use std::collections::BTreeMap;
use std::path::Path;

use sealed_shuffle_config::{Authentication, ServerConfig, SparkRelease, properties};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SOUND_GCM;

use super::finding::Finding;

/// The port of Spark's own service (`spark.shuffle.service.port`).
const PORT: &str = "7337";

/// Keys and values of a file; the last one wins.
#[derive(Debug, Default)]
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Spark's boolean; anything but `true` is false.
    fn is_true(&self, key: &str, default: bool) -> bool {
        self.get(key).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }
}

/// The configuration of applications.
pub(super) fn applications(
    config: &ServerConfig,
    spark: Option<&SparkRelease>,
    path: &Path,
    text: &str,
) -> Vec<Finding> {
    let about = "applications";
    match properties::parse(text) {
        Ok(all) => {
            let keys = Keys(all.iter().map(|one| (one.key.clone(), one.value.to_string())).collect());
            let mut found = judge_applications(config, &keys);
            found.extend(spark.and_then(|spark| broken_gcm(spark, &keys)));
            judged(about, path, found)
        }
        Err(error) => vec![Finding::fault(about, format!("{}: {error}", path.display()))],
    }
}

/// The configuration of a NodeManager.
pub(super) fn node_manager(config: &ServerConfig, path: &Path, text: &str) -> Vec<Finding> {
    let about = "NodeManager";
    match roxmltree::Document::parse(text) {
        Ok(document) => judged(about, path, judge_node_manager(config, &hadoop(&document))),
        Err(error) => vec![Finding::fault(about, format!("{}: {error}", path.display()))],
    }
}

/// `<property><name>…</name><value>…</value></property>`, as Hadoop writes it.
fn hadoop(document: &roxmltree::Document<'_>) -> Keys {
    let child = |of: roxmltree::Node<'_, '_>, name: &str| {
        let found = of.children().find(|child| child.has_tag_name(name))?;
        Some(found.text().unwrap_or_default().trim().to_owned())
    };
    let properties = document.descendants().filter(|node| node.has_tag_name("property"));
    Keys(properties.filter_map(|one| Some((child(one, "name")?, child(one, "value")?))).collect())
}

/// A contradiction, and what to do.
struct Contradiction {
    /// Applications would fail for it.
    is_fault: bool,
    text: String,
    hint: String,
}

fn fault(text: impl Into<String>, hint: impl Into<String>) -> Contradiction {
    Contradiction { is_fault: true, text: text.into(), hint: hint.into() }
}

fn odd(text: impl Into<String>, hint: impl Into<String>) -> Contradiction {
    Contradiction { is_fault: false, ..fault(text, hint) }
}

fn judged(about: &'static str, path: &Path, found: Vec<Contradiction>) -> Vec<Finding> {
    let path = path.display();
    if found.is_empty() {
        return vec![Finding::good(about, format!("{path} agrees with this configuration"))];
    }
    let finding = |one: Contradiction| {
        let text = format!("{path}: {}", one.text);
        let finding = if one.is_fault { Finding::fault(about, text) } else { Finding::warning(about, text) };
        finding.hint(one.hint)
    };
    found.into_iter().map(finding).collect()
}

/// The channel that Spark's executors speak with these keys (TransportContext, AuthClientBootstrap and
/// SaslClientBootstrap, Spark 4.3.0).
fn channel(keys: &Keys) -> SecurityLevel {
    let proves = keys.is_true("spark.authenticate", false);
    match keys.get("spark.network.crypto.cipher") {
        _ if keys.is_true("spark.ssl.rpc.enabled", keys.is_true("spark.ssl.enabled", false)) => {
            SecurityLevel::Tls
        }
        _ if !proves => SecurityLevel::Plaintext,
        cipher if keys.is_true("spark.network.crypto.enabled", false) => match cipher {
            Some(cipher) if cipher.starts_with("AES/GCM") => SecurityLevel::AesGcm,
            _ => SecurityLevel::AesCtr,
        },
        _ if keys.is_true("spark.authenticate.enableSaslEncryption", false) => SecurityLevel::SaslConf,
        _ => SecurityLevel::Plaintext,
    }
}

fn judge_applications(config: &ServerConfig, keys: &Keys) -> Vec<Contradiction> {
    let mut found = Vec::new();
    if !keys.is_true("spark.shuffle.service.enabled", false) {
        let text = "spark.shuffle.service.enabled is not true: applications use no shuffle service";
        found.push(odd(text, "spark.shuffle.service.enabled=true"));
    }
    let (theirs, ours) = (keys.get("spark.shuffle.service.port").unwrap_or(PORT), config.listen.port());
    if theirs.parse() != Ok(ours) {
        let text = format!("applications ask at port {theirs}, and the server listens on {ours}");
        found.push(fault(text, format!("spark.shuffle.service.port={ours}")));
    }
    let proves = keys.is_true("spark.authenticate", false);
    let channel = channel(keys);
    if config.authentication == Authentication::Required && !proves {
        let text = "spark.authenticate is not true, and the server wants every application proven";
        found.push(fault(text, "spark.authenticate=true and spark.network.crypto.enabled=true"));
    } else if !config.policy.serves(channel) {
        let text = format!("applications speak {channel}, and the server serves {}", config.policy);
        found.push(fault(text, cure(channel)));
    }
    if channel == SecurityLevel::AesCtr {
        let text = "applications speak AES-CTR, which has no integrity (CVE-2025-55039)";
        let hint = format!("spark.network.crypto.cipher=AES/GCM/NoPadding (Spark {SOUND_GCM})");
        found.push(odd(text, hint));
    }
    if channel == SecurityLevel::Tls && config.tls.is_none() {
        let text = "applications speak TLS, and the server has no certificate";
        found.push(fault(text, "spark.ssl.rpc.enabled=true and a key here"));
    }
    let secret = (keys.get("spark.authenticate.secret"), &config.secret);
    if let (true, (Some(theirs), Some(ours))) = (proves, secret)
        && theirs != ours.text.as_str()
    {
        let text = format!("spark.authenticate.secret is not the secret of {}", ours.source);
        found.push(fault(text, "give both the same"));
    }
    if keys.is_true("spark.shuffle.push.enabled", false) {
        if config.merging.is_none() {
            let text = "spark.shuffle.push.enabled is true, and the server merges nothing";
            let hint =
                "spark.shuffle.push.server.mergedShuffleFileManagerImpl of Spark's here, or push off there";
            found.push(odd(text, hint));
        }
        if keys.is_true("spark.io.encryption.enabled", false) {
            let text = "spark.io.encryption.enabled switches push-based shuffle off in Spark";
            found.push(odd(
                text,
                "one of the two; with at-rest sealing here, merged data is sealed without it",
            ));
        }
    }
    found.extend(outside(config, keys, "spark.local.dir"));
    found
}

/// AES-GCM asked of a Spark that has it and loses messages in it. Within TLS as without: the cipher lies within the records.
fn broken_gcm(spark: &SparkRelease, keys: &Keys) -> Option<Contradiction> {
    let asks = keys.is_true("spark.network.crypto.enabled", false)
        && keys.get("spark.network.crypto.cipher").is_some_and(|cipher| cipher.starts_with("AES/GCM"));
    if !asks || !spark.has_broken_gcm() {
        return None;
    }
    let text = format!(
        "the AES-GCM of Spark {} loses every message of a connection but the first: jobs hang",
        spark.as_str()
    );
    let hint = format!("Spark {SOUND_GCM}, or spark.network.crypto.cipher=AES/CTR/NoPadding until then");
    Some(match spark.is_vendors() {
        true => odd(text, format!("{hint}, unless its vendor has mended it")),
        false => fault(text, hint),
    })
}

/// What lifts a channel to one that a server with the default policy serves.
fn cure(channel: SecurityLevel) -> &'static str {
    match channel {
        SecurityLevel::Plaintext | SecurityLevel::SaslConf => {
            "spark.authenticate=true, spark.network.crypto.enabled=true, spark.network.crypto.cipher=AES/GCM/NoPadding"
        }
        _ => "spark.network.crypto.cipher=AES/GCM/NoPadding, or another spark.sealed.security.minimum here",
    }
}

fn judge_node_manager(config: &ServerConfig, keys: &Keys) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let services = keys.get("yarn.nodemanager.aux-services").unwrap_or_default();
    let ours = |name: &&str| {
        let class = keys.get(&format!("yarn.nodemanager.aux-services.{name}.class"));
        class == Some("sealedshuffle.yarn.HandOverService")
    };
    let names = || services.split(',').map(str::trim).filter(|name| !name.is_empty());
    for name in names() {
        let class = keys.get(&format!("yarn.nodemanager.aux-services.{name}.class"));
        if class == Some("org.apache.spark.network.yarn.YarnShuffleService") {
            let port = keys.get("spark.shuffle.service.port").unwrap_or(PORT);
            if port.parse() == Ok(config.listen.port()) {
                let text = format!(
                    "Spark's own service runs in the NodeManager as {name}, and wants port {port}, too"
                );
                let hint =
                    format!("yarn.nodemanager.aux-services.{name}.class=sealedshuffle.yarn.HandOverService");
                found.push(fault(text, hint));
            }
        }
    }
    match (names().find(ours), &config.handover) {
        (Some(_), None) => found.push(fault(
            "the NodeManager hands applications over, and the server has no socket for that",
            "spark.sealed.handover.socket here",
        )),
        (None, Some(_)) => found.push(fault(
            "the server waits for applications to be handed over, and no aux service of this NodeManager does it",
            "yarn.nodemanager.aux-services.spark_shuffle.class=sealedshuffle.yarn.HandOverService",
        )),
        (Some(_), Some(handover)) => {
            let theirs = keys.get("spark.sealed.handover.socket").map(Path::new);
            if theirs != Some(&handover.socket) {
                let theirs = theirs.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string());
                let ours = handover.socket.display();
                let text = format!("spark.sealed.handover.socket is {theirs}, and here it is {ours}");
                found.push(fault(text, "give both the same path"));
            }
        }
        (None, None) => {}
    }
    found.extend(outside(config, keys, "yarn.nodemanager.local-dirs"));
    found
}

/// The directories of a key that lie beneath no root.
fn outside(config: &ServerConfig, keys: &Keys, key: &str) -> Vec<Contradiction> {
    let dirs = keys.get(key).into_iter().flat_map(|dirs| dirs.split(','));
    let dirs = dirs.map(|dir| dir.trim().trim_start_matches("file://")).filter(|dir| dir.starts_with('/'));
    let roots = &config.roots.paths;
    dirs.filter(|dir| !roots.iter().any(|root| Path::new(dir).starts_with(root)))
        .map(|dir| {
            let text = format!("{key} has {dir}, which lies beneath no local directory of the server");
            fault(text, "name it in spark.local.dir here, too")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_config::{ConfiguredSecret, Policy};

    use super::super::finding::Severity;
    use super::*;

    const AGREES: &str = "\
        spark.shuffle.service.enabled true\n\
        spark.authenticate true\n\
        spark.authenticate.secret 0123456789abcdef\n\
        spark.network.crypto.enabled true\n\
        spark.network.crypto.cipher AES/GCM/NoPadding\n\
        spark.local.dir /data/1/spark\n";

    fn config() -> ServerConfig {
        let mut config = ServerConfig::new(["/data".into()], "/state");
        config.secret = Some(ConfiguredSecret::new("0123456789abcdef"));
        config.policy = Policy::at_least(SecurityLevel::AesGcm);
        config
    }

    /// The severities, the worst first.
    fn severities(findings: &[Finding]) -> Vec<Severity> {
        let mut all: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
        all.sort_by(|a, b| b.cmp(a));
        all
    }

    fn of_applications(more: &str) -> Vec<Severity> {
        severities(&applications(&config(), None, Path::new("conf"), &format!("{AGREES}{more}\n")))
    }

    #[test]
    fn applications_that_agree_are_good() {
        assert_eq!(of_applications(""), [Severity::Good]);
    }

    #[test]
    fn each_contradiction_with_applications_is_said() {
        use Severity::{Fault, Warning};
        let contradictions: [(&str, &[Severity]); 9] = [
            ("spark.shuffle.service.enabled false", &[Warning]),
            ("spark.shuffle.service.port 7447", &[Fault]),
            ("spark.authenticate false", &[Fault]),
            ("spark.authenticate.secret another", &[Fault]),
            ("spark.network.crypto.enabled false", &[Fault]),
            ("spark.network.crypto.cipher AES/CTR/NoPadding", &[Fault, Warning]),
            ("spark.ssl.rpc.enabled true", &[Fault]),
            ("spark.shuffle.push.enabled true", &[Warning]),
            ("spark.local.dir /data/1/spark,/elsewhere", &[Fault]),
        ];
        for (line, expected) in contradictions {
            assert_eq!(of_applications(line), expected, "{line}");
        }
    }

    fn of_yarn(properties: &[(&str, &str)]) -> Vec<Severity> {
        let property = |(name, value): &(&str, &str)| {
            format!("<property><name>{name}</name><value>{value}</value></property>")
        };
        let text: String = properties.iter().map(property).collect();
        let text = format!("<?xml version=\"1.0\"?><configuration>{text}</configuration>");
        severities(&node_manager(&config(), Path::new("yarn-site.xml"), &text))
    }

    #[test]
    fn service_of_sparks_beside_ours_and_directories_outside_are_said() {
        const CLASS: &str = "yarn.nodemanager.aux-services.spark_shuffle.class";
        let services = ("yarn.nodemanager.aux-services", "mapreduce_shuffle, spark_shuffle");
        let dirs = ("yarn.nodemanager.local-dirs", "/data/yarn,file:///data/2");
        assert_eq!(of_yarn(&[dirs]), [Severity::Good]);
        let sparks = (CLASS, "org.apache.spark.network.yarn.YarnShuffleService");
        assert_eq!(of_yarn(&[services, sparks]), [Severity::Fault]);
        assert_eq!(of_yarn(&[services, sparks, ("spark.shuffle.service.port", "7447")]), [Severity::Good]);
        assert_eq!(of_yarn(&[services, (CLASS, "sealedshuffle.yarn.HandOverService")]), [Severity::Fault]);
        assert_eq!(of_yarn(&[("yarn.nodemanager.local-dirs", "/mnt/yarn")]), [Severity::Fault]);
        assert_eq!(severities(&node_manager(&config(), Path::new("x"), "no XML")), [Severity::Fault]);
    }
}
