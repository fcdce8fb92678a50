//! Who proves an application, and with which secret.

use std::time::Duration;

use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::{Both, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{Bool, List, Secret, Text, Time};

keys! {
    IDENTITY:

    /// Whether peers must prove an application.
    pub static AUTHENTICATE: Key<Bool> = Key::new(
        "spark.authenticate",
        Bool::REGISTRY,
        Unset("true as soon as there is a secret"),
        Both,
        "Whether peers must prove that they know the secret. `false`, in so many words, also serves peers that prove \
         nothing, if `spark.sealed.security.minimum` lets their channel in; a client with `false` speaks clear text.",
    )
    .reloads();

    /// The shared secret.
    pub static AUTHENTICATE_SECRET: Key<Secret> = Key::new(
        "spark.authenticate.secret",
        Secret,
        Unset("none"),
        Both,
        "The secret that applications share with the service. `_SPARK_AUTH_SECRET` in the environment comes before \
         it. On a command line other users can read it.",
    )
    .literal()
    .reloads();

    /// A file with the secret.
    pub static SECRET_FILE: Key<Text> = Key::new(
        "spark.sealed.auth.secret-file",
        Text { what: "path, or - for standard input" },
        Unset("none"),
        Both,
        "File whose whole text, a final line break included, is the secret, when neither the environment nor \
         `spark.authenticate.secret` gives one. Flag `--secret-file`.",
    )
    .near("spark.authenticate.secret")
    .reloads();

    /// A file with the bytes of the secret, for executors.
    pub static EXECUTOR_SECRET_BYTES: Key<Text> = Key::new(
        "spark.authenticate.secret.executor.file",
        Text { what: "path" },
        Unset("as `spark.authenticate.secret.file`"),
        Both,
        "The file of `spark.authenticate.secret.file` as executors see it. It comes before that.",
    )
    .reloads();

    /// A file with the bytes of the secret.
    pub static SECRET_BYTES: Key<Text> = Key::new(
        "spark.authenticate.secret.file",
        Text { what: "path" },
        Unset("none"),
        Both,
        "File whose bytes, in Base64, are the secret, as Spark has it on Kubernetes, when nothing else gives one: neither the \
         environment, `spark.authenticate.secret` nor `spark.sealed.auth.secret-file`.",
    )
    .reloads();

    /// The shared secret before this one.
    pub static PREVIOUS_SECRET_FILE: Key<Text> = Key::new(
        "spark.sealed.auth.previous-secret-file",
        Text { what: "path" },
        Unset("none"),
        Serve,
        "File with the shared secret that was valid before: accepted beside the current one while a rotation lasts. \
         `sealed_shuffle_secrets_total` tells which of the two is used.",
    )
    .reloads();

    /// One secret per application.
    pub static SECRET_DIR: Key<Text> = Key::new(
        "spark.sealed.auth.secret-dir",
        Text { what: "directory" },
        Unset("none"),
        Serve,
        "Directory with a file per application: `ID` holds its secret, `ID.previous` the one before, which is valid, too. \
         Read at each handshake, mode 0600 or stricter; removing `ID` ends the application's access.",
    )
    .reloads();

    /// Patience with a secret that comes late.
    pub static SECRET_WAIT: Key<Time> = Key::new(
        "spark.sealed.auth.secret-wait",
        Time::ours(Duration::ZERO, Duration::from_secs(3600)),
        Is("10s"),
        Serve,
        "How long a handshake waits for its application's file to appear in `spark.sealed.auth.secret-dir`, or for its \
         secret to be handed over; below `spark.sealed.handshake.timeout`.",
    )
    .reloads();

    /// Where applications are handed over.
    pub static HANDOVER_SOCKET: Key<Text> = Key::new(
        "spark.sealed.handover.socket",
        Text { what: "path" },
        Unset("none"),
        Serve,
        "Unix socket at which a resource manager says which applications begin, with their secrets, and end: YARN does \
         through `yarn/`, Kubernetes through `hand-over kubernetes`. Mode 0600, or 0660 where other users are named; made at start, removed at the end.",
    );

    /// By whom.
    pub static HANDOVER_USERS: Key<List> = Key::new(
        "spark.sealed.handover.users",
        List,
        Unset("our own and root"),
        Serve,
        "Users, by name or number, that may hand over beside our own and root; they must be in the group of the socket.",
    );
}
