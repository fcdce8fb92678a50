//! The source of the keys under which the server seals its files. This module reads the settings alone. The room `keys`
//! of the server opens the files and asks the services that they name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::Context;

use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::hadoop_kms::HadoopKmsUri;
use super::key::{AnyKey, Key, Reader};
use super::keys;
use super::load::Sources;
use super::origin::Origin;
use super::value::{Choice, KeySourceName, OnUnavailable, Text};
use super::values::{Values, read_sources};

/// Everything about envelope keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvelopeConfig {
    /// The provider that wraps data keys (`spark.sealed.keys.provider`). A key file in the state directory.
    pub source: KeySource,
    /// The cluster that keys are bound to; empty for none (`spark.sealed.cluster.name`).
    pub cluster: String,
    /// The node that keys are bound to (`spark.sealed.node.id`). None.
    pub node: Option<String>,
    /// Time for one call (`spark.sealed.keys.timeout`). 10 s.
    pub timeout: Duration,
    /// The policy for an outage (`spark.sealed.keys.on-unavailable`, `spark.sealed.keys.cache-ttl`). Refuse.
    pub outage: OutagePolicy,
    /// The directory of the files that outlive the server (`spark.sealed.state.dir`).
    pub state_dir: PathBuf,
}

/// The provider that wraps data keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// A key file of this machine.
    LocalFile {
        /// The file (`spark.sealed.keys.file`).
        path: PathBuf,
    },
    /// AWS KMS.
    AwsKms {
        /// Id, ARN or alias (`spark.sealed.keys.kms.key-id`).
        key_id: String,
        /// An endpoint in the place of the region's (`spark.sealed.keys.kms.endpoint`).
        endpoint: Option<String>,
        /// The region; `None` leaves it to the SDK (`spark.sealed.keys.kms.region`).
        region: Option<String>,
    },
    /// Hadoop KMS.
    HadoopKms {
        /// Where it is (`spark.sealed.keys.hadoop-kms.uri`).
        uri: HadoopKmsUri,
        /// The name of the key (`spark.sealed.keys.hadoop-kms.key-name`).
        key_name: String,
        /// The user that it is told (`spark.sealed.keys.hadoop-kms.user`).
        user: String,
        /// Authorities that may vouch for it; `None` are those of the machine (`spark.sealed.keys.hadoop-kms.ca-file`).
        ca_file: Option<PathBuf>,
    },
    /// A program.
    Command {
        /// The program, and its arguments; never empty (`spark.sealed.keys.command`).
        argv: Vec<String>,
    },
}

/// The policy for an outage of the key service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutagePolicy {
    /// An application without a key is refused. A key in memory is good until its application ends.
    Refuse,
    /// A key in memory is good for a time after the service last confirmed it.
    UseCached {
        /// The time.
        ttl: Duration,
    },
}

impl OutagePolicy {
    /// Whether the service must be asked again about a key of this age. A key's age is the time since the service
    /// confirmed it.
    pub fn wants_confirmation(self, age: Duration) -> bool {
        matches!(self, Self::UseCached { ttl } if age >= ttl / 2)
    }

    /// Whether a key of this age must not be used any more.
    pub fn is_over(self, age: Duration) -> bool {
        matches!(self, Self::UseCached { ttl } if age >= ttl)
    }
}

impl fmt::Display for EnvelopeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            KeySource::LocalFile { path } => write!(f, "local file {}", path.display())?,
            KeySource::AwsKms { key_id, endpoint, region } => {
                write!(f, "AWS KMS, key {key_id}")?;
                if let Some(region) = region {
                    write!(f, " in {region}")?;
                }
                if let Some(endpoint) = endpoint {
                    write!(f, " at {endpoint}")?;
                }
            }
            KeySource::HadoopKms { uri, key_name, user, .. } => {
                write!(f, "Hadoop KMS at {uri}, key {key_name}, as {user}")?;
            }
            // The arguments may hold a secret.
            KeySource::Command { argv } => write!(f, "program {}", argv.first().map_or("", String::as_str))?,
        }
        if !self.cluster.is_empty() {
            write!(f, ", bound to cluster {}", self.cluster)?;
        }
        if let Some(node) = &self.node {
            write!(f, ", bound to node {node}")?;
        }
        match self.outage {
            OutagePolicy::Refuse => f.write_str("; an outage refuses new applications"),
            OutagePolicy::UseCached { ttl } => write!(f, "; keys in memory outlast an outage for {ttl:?}"),
        }
    }
}

impl EnvelopeConfig {
    /// The defaults of all keys. The files that outlive the server lie in this directory, its key file among them.
    pub fn in_dir(state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        let source = KeySource::LocalFile { path: state_dir.join(KEY_FILE) };
        Self { source, state_dir, ..read(&mut Values::defaults()) }
    }

    /// Reads the envelope keys of a server with these sources, and none of its other keys.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        Ok(read_sources(sources, environment, Reader::Serve, read)?.0)
    }

    /// The context that a data key of `app` is bound to.
    pub fn context(&self, app: AppId) -> Context {
        let mut context = Context::of(app);
        context.cluster.clone_from(&self.cluster);
        context.node.clone_from(&self.node);
        context
    }
}

/// The key file of the provider `local-file`, in the state directory.
const KEY_FILE: &str = "keys";

/// Reads the settings of envelope keys.
pub(crate) fn read(values: &mut Values<'_>) -> EnvelopeConfig {
    let state_dir = state_dir(values);
    let cluster = name(values, &keys::CLUSTER_NAME).unwrap_or_default();
    let node = name(values, &keys::NODE_ID);
    let timeout = values.value(&keys::KEYS_TIMEOUT);
    let ttl = values.value(&keys::KEYS_CACHE_TTL);
    let outage = match values.value(&keys::KEYS_ON_UNAVAILABLE) {
        OnUnavailable::Refuse => OutagePolicy::Refuse,
        OnUnavailable::UseCached => OutagePolicy::UseCached { ttl },
    };
    let source = source(values, &state_dir);
    EnvelopeConfig { source, cluster, node, timeout, outage, state_dir }
}

fn source(values: &mut Values<'_>, state_dir: &Path) -> KeySource {
    let provider = values.value(&keys::KEYS_PROVIDER);
    let file = given(values, &keys::KEYS_FILE);
    let command = given(values, &keys::KEYS_COMMAND);
    let key_id = given(values, &keys::KEYS_KMS_KEY_ID);
    let endpoint = given(values, &keys::KEYS_KMS_ENDPOINT);
    let region = given(values, &keys::KEYS_KMS_REGION);
    let uri = given(values, &keys::KEYS_HADOOP_KMS_URI);
    let key_name = given(values, &keys::KEYS_HADOOP_KMS_KEY_NAME);
    let user = values.value(&keys::KEYS_HADOOP_KMS_USER);
    let ca_file = given(values, &keys::KEYS_HADOOP_KMS_CA_FILE);
    for (of, key, value) in [
        (KeySourceName::LocalFile, keys::KEYS_FILE.name(), &file),
        (KeySourceName::Command, keys::KEYS_COMMAND.name(), &command),
        (KeySourceName::AwsKms, keys::KEYS_KMS_KEY_ID.name(), &key_id),
        (KeySourceName::AwsKms, keys::KEYS_KMS_ENDPOINT.name(), &endpoint),
        (KeySourceName::AwsKms, keys::KEYS_KMS_REGION.name(), &region),
        (KeySourceName::HadoopKms, keys::KEYS_HADOOP_KMS_URI.name(), &uri),
        (KeySourceName::HadoopKms, keys::KEYS_HADOOP_KMS_KEY_NAME.name(), &key_name),
        (KeySourceName::HadoopKms, keys::KEYS_HADOOP_KMS_CA_FILE.name(), &ca_file),
    ] {
        if let Some((text, origin)) = value.as_ref().filter(|_| of != provider) {
            let issue = of_another_provider(key, provider, of);
            values.refuse(issue.with_value(text).with_origin(origin.clone()));
        }
    }
    match provider {
        KeySourceName::LocalFile => {
            let path = file.map_or_else(|| state_dir.join(KEY_FILE), |(path, _)| path.into());
            KeySource::LocalFile { path }
        }
        KeySourceName::AwsKms => {
            if cfg!(not(feature = "aws-kms")) {
                values.refuse(Issue::new(
                    keys::KEYS_PROVIDER.name(),
                    "this program was built without AWS KMS",
                    "build it with --features aws-kms",
                ));
            }
            let region = region.map(|(name, _)| name);
            let endpoint = endpoint.map(|(url, origin)| checked_endpoint(values, url, origin));
            let key_id = key_id.map(|(id, _)| id).unwrap_or_else(|| {
                missing(values, &keys::KEYS_KMS_KEY_ID, "name the key's ARN, id or alias");
                String::new()
            });
            let region = region.or_else(|| region_of(&key_id).map(str::to_owned));
            KeySource::AwsKms { key_id, endpoint, region }
        }
        KeySourceName::HadoopKms => {
            if cfg!(not(feature = "hadoop-kms")) {
                values.refuse(Issue::new(
                    keys::KEYS_PROVIDER.name(),
                    "this program was built without Hadoop KMS",
                    "build it with --features hadoop-kms",
                ));
            }
            let key_name = key_name.map(|(name, _)| name).unwrap_or_else(|| {
                missing(values, &keys::KEYS_HADOOP_KMS_KEY_NAME, "name a key of the service");
                String::new()
            });
            let ca_file = ca_file.map(|(path, _)| path.into());
            KeySource::HadoopKms { uri: hadoop_kms_uri(values, uri), key_name, user, ca_file }
        }
        KeySourceName::Command => {
            let line = command.map(|(line, _)| line).unwrap_or_default();
            let argv: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
            if argv.is_empty() {
                missing(values, &keys::KEYS_COMMAND, "name a program, and its arguments");
            }
            KeySource::Command { argv }
        }
    }
}

/// The refusal of a key that belongs to another provider: the operator means that one, and the data would be sealed under
/// a key of the chosen one.
fn of_another_provider(key: &str, chosen: KeySourceName, wanted: KeySourceName) -> Issue {
    let (provider, chosen, wanted) = (keys::KEYS_PROVIDER.name(), word(chosen), word(wanted));
    Issue::new(
        key,
        format!("it has no effect: {provider} = {chosen}"),
        format!("take it away, or set {provider} = {wanted}"),
    )
}

/// A text that is not empty.
fn given(values: &mut Values<'_>, key: &'static Key<Text>) -> Option<(String, Origin)> {
    values.optional(key).filter(|(text, _)| !text.trim().is_empty())
}

fn missing(values: &mut Values<'_>, key: &Key<Text>, remedy: &str) {
    let provider = keys::KEYS_PROVIDER.name();
    values.refuse(Issue::new(key.name(), format!("{provider} needs it, and it is not set"), remedy));
}

fn checked_endpoint(values: &mut Values<'_>, url: String, origin: Origin) -> String {
    let name = keys::KEYS_KMS_ENDPOINT.name();
    if url.starts_with("http://") {
        values.warn(format!(
            "{name} = {url} is not TLS: a listener there, or on the way, learns every data key"
        ));
    } else if !url.starts_with("https://") {
        let issue = Issue::new(name, "it is no URL", "write https://HOST[:PORT]");
        values.refuse(issue.with_value(&url).with_origin(origin));
    }
    url
}

fn hadoop_kms_uri(values: &mut Values<'_>, uri: Option<(String, Origin)>) -> HadoopKmsUri {
    const FORM: &str = "write kms://https@HOST[;HOST…][:PORT]/kms";
    let nowhere = || HadoopKmsUri { is_secure: true, hosts: Vec::new(), port: 0, path: String::new() };
    let Some((text, origin)) = uri else {
        missing(values, &keys::KEYS_HADOOP_KMS_URI, FORM);
        return nowhere();
    };
    let name = keys::KEYS_HADOOP_KMS_URI.name();
    match HadoopKmsUri::parse(&text) {
        Ok(uri) => {
            if !uri.is_secure {
                values.warn(format!(
                    "{name} = {text} is not TLS: a listener there, or on the way, learns every data key"
                ));
            }
            uri
        }
        Err(reason) => {
            values.refuse(Issue::new(name, reason, FORM).with_value(&text).with_origin(origin));
            nowhere()
        }
    }
}

/// The region in an ARN: `arn:PARTITION:kms:REGION:ACCOUNT:…`.
fn region_of(key_id: &str) -> Option<&str> {
    let mut parts = key_id.split(':');
    let (arn, _, kms, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (arn == "arn" && kms == "kms" && !region.is_empty()).then_some(region)
}

fn word(provider: KeySourceName) -> &'static str {
    let words = Choice::KEY_SOURCE.words;
    words.iter().find(|(_, name)| *name == provider).map_or("", |(word, _)| *word)
}

/// Longest name of a cluster or node.
const LONGEST_NAME: usize = 256;

fn name(values: &mut Values<'_>, key: &'static Key<Text>) -> Option<String> {
    let (text, origin) = given(values, key)?;
    let reason = match &text {
        text if text.len() > LONGEST_NAME => format!("longer than {LONGEST_NAME} bytes"),
        text if text.chars().any(char::is_control) => "it holds control characters".to_owned(),
        _ => return Some(text),
    };
    values.refuse(Issue::new(key.name(), reason, "choose a short name").with_value(text).with_origin(origin));
    None
}

/// A volume that every user may change (an emptyDir of Kubernetes, mode 0777, or 2777 with an fsGroup) is no place for
/// files of ours alone, and a pod cannot change its mode: they lie in a directory of their own in it.
fn state_dir(values: &mut Values<'_>) -> PathBuf {
    let dir = named_state_dir(values);
    let environment = values.environment();
    let is_open = environment.stat(&dir).is_ok_and(|stat| stat.is_dir && stat.mode & 0o1002 == 0o002);
    match is_open && environment.is_mount(&dir) {
        true => dir.join(DIR_IN_VOLUME),
        false => dir,
    }
}

/// In a volume that is open to every user.
const DIR_IN_VOLUME: &str = "sealed-shuffle";

fn named_state_dir(values: &mut Values<'_>) -> PathBuf {
    if let Some((dir, _)) = given(values, &keys::STATE_DIR) {
        return dir.into();
    }
    let environment = values.environment();
    let var = |name| environment.var(name).and_then(|value| value.into_string().ok());
    let set = |name| var(name).filter(|value| !value.is_empty());
    // systemd lists several between colons.
    if let Some(dir) = set("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next().map(PathBuf::from)) {
        return dir;
    }
    let home = || {
        let state = set("XDG_STATE_HOME").map(PathBuf::from);
        state.or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state")))
    };
    let base = if environment.user_id() == 0 { None } else { home() };
    base.unwrap_or_else(|| PathBuf::from("/var/lib")).join("sealed-shuffle")
}
