//! Where the keys come from that seal what a server writes.

use std::time::Duration;

use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Choice, KeySourceName, OnUnavailable, Text, Time};

const SECOND: Duration = Duration::from_secs(1);

const YEAR: Duration = Duration::from_secs(365 * 86_400);

keys! {
    SEALING:

    /// Name of the cluster, for keys.
    pub static CLUSTER_NAME: Key<Text> = Key::new(
        "spark.sealed.cluster.name",
        Text { what: "name, at most 256 bytes" },
        Unset("none"),
        Serve,
        "Bound to every data key, so that two clusters that share a key service cannot open each other's data. It is no \
         secret: key services log it. Data that was sealed under another name waits until the name is back.",
    );

    /// The node that keys are bound to.
    pub static NODE_ID: Key<Text> = Key::new(
        "spark.sealed.node.id",
        Text { what: "name, at most 256 bytes" },
        Unset("none: a volume may move to another node"),
        Serve,
        "Bound to every data key when it is set: a volume that moves to a node with another id does not open there.",
    );

    /// Where data keys come from.
    pub static KEYS_PROVIDER: Key<Choice<KeySourceName>> = Key::new(
        "spark.sealed.keys.provider",
        Choice::KEY_SOURCE,
        Is("local-file"),
        Serve,
        "Who wraps the data keys of what the server seals at rest: a key file of this machine, AWS KMS, Hadoop KMS, or a \
         program that stands before any other key service.",
    );

    /// The local key file.
    pub static KEYS_FILE: Key<Text> = Key::new(
        "spark.sealed.keys.file",
        Text { what: "path" },
        Unset("`keys` in `spark.sealed.state.dir`"),
        Serve,
        "Key file of the provider `local-file`: made with mode 0600 when it is first needed, refused when other users can read it, \
         read again when it changes. Keep a copy elsewhere: what was sealed under a lost key is lost.",
    );

    /// A program that wraps and unwraps.
    pub static KEYS_COMMAND: Key<Text> = Key::new(
        "spark.sealed.keys.command",
        Text { what: "program and arguments" },
        Unset("none"),
        Serve,
        "Program of the provider `command`: split at blanks and run without a shell, with `wrap` or `unwrap` as its last \
         argument, one line of JSON on standard input and one on standard output. Keys are in no argument and no \
         environment.",
    );

    /// The key of AWS KMS.
    pub static KEYS_KMS_KEY_ID: Key<Text> = Key::new(
        "spark.sealed.keys.kms.key-id",
        Text { what: "key id, ARN or alias" },
        Unset("none"),
        Serve,
        "Symmetric key of the provider `aws-kms`, as an id, an ARN, `alias/NAME` or an alias's ARN. Needs \
         `kms:GenerateDataKey` and `kms:Decrypt`; with `kms:DescribeKey` a key that cannot work is refused at start.",
    );

    /// Where AWS KMS is.
    pub static KEYS_KMS_ENDPOINT: Key<Text> = Key::new(
        "spark.sealed.keys.kms.endpoint",
        Text { what: "URL" },
        Unset("that of the region"),
        Serve,
        "Endpoint of AWS KMS, for a private one. `http://` is warned about: data keys pass it in clear.",
    );

    /// The region of AWS KMS.
    pub static KEYS_KMS_REGION: Key<Text> = Key::new(
        "spark.sealed.keys.kms.region",
        Text { what: "name of a region" },
        Unset("that of the key's ARN, else what the AWS SDK finds"),
        Serve,
        "Region of the key. Credentials are found as the AWS SDK finds them: environment, profile, web identity, container, instance.",
    );

    /// Where Hadoop KMS is.
    pub static KEYS_HADOOP_KMS_URI: Key<Text> = Key::new(
        "spark.sealed.keys.hadoop-kms.uri",
        Text { what: "kms://https@HOST[;HOST…][:PORT]/kms" },
        Unset("none"),
        Serve,
        "Hadoop KMS of the provider `hadoop-kms`, as `hadoop.security.key.provider.path` names it; hosts are tried in turn. \
         `http@` is warned about: data keys pass it in clear.",
    );

    /// The key of Hadoop KMS.
    pub static KEYS_HADOOP_KMS_KEY_NAME: Key<Text> = Key::new(
        "spark.sealed.keys.hadoop-kms.key-name",
        Text { what: "name of a key" },
        Unset("none"),
        Serve,
        "Key of the provider `hadoop-kms`. Its newest version wraps; older ones still open what they wrapped. Needs \
         GENERATE_EEK and DECRYPT_EEK on it, in `kms-acls.xml` of the service.",
    );

    /// Who we are to Hadoop KMS.
    pub static KEYS_HADOOP_KMS_USER: Key<Text> = Key::new(
        "spark.sealed.keys.hadoop-kms.user",
        Text { what: "name of a user" },
        Is("sealed-shuffle"),
        Serve,
        "User that Hadoop KMS is told (`user.name`, its `simple` authentication). A service that wants Kerberos takes the \
         provider `command`.",
    );

    /// Whom we take for Hadoop KMS.
    pub static KEYS_HADOOP_KMS_CA_FILE: Key<Text> = Key::new(
        "spark.sealed.keys.hadoop-kms.ca-file",
        Text { what: "path" },
        Unset("the authorities of this machine"),
        Serve,
        "Certificates (PEM) of the authorities that may vouch for Hadoop KMS over HTTPS.",
    );

    /// Deadline of a call.
    pub static KEYS_TIMEOUT: Key<Time> = Key::new(
        "spark.sealed.keys.timeout",
        Time::ours(Duration::from_millis(100), Duration::from_secs(600)),
        Is("10s"),
        Serve,
        "Time that one call to the key service has, its retries included.",
    );

    /// What an outage means.
    pub static KEYS_ON_UNAVAILABLE: Key<Choice<OnUnavailable>> = Key::new(
        "spark.sealed.keys.on-unavailable",
        Choice::ON_UNAVAILABLE,
        Is("refuse"),
        Serve,
        "When the key service cannot be reached: `refuse` refuses applications that have no key yet and lets the others \
         go on with theirs until they end. `use-cached` asks again for each application's key at half of \
         `spark.sealed.keys.cache-ttl` and lets it go on for all of that time after the service last confirmed it; a key \
         that is withdrawn is then soon out of use. After a restart data waits under both.",
    );

    /// How long a key goes on without its service.
    pub static KEYS_CACHE_TTL: Key<Time> = Key::new(
        "spark.sealed.keys.cache-ttl",
        Time::ours(SECOND, YEAR),
        Is("1h"),
        Serve,
        "How long a data key in memory may be used after the key service last confirmed it, with \
         `spark.sealed.keys.on-unavailable` = `use-cached`. One call per application in half of it.",
    );
}
