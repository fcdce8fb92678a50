//! Which channels are served.

use sealed_shuffle_protocol::channel::SecurityLevel;

use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::{Both, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{Choice, Choices};

keys! {
    LEVELS:

    /// The lowest channel that is served.
    pub static SECURITY_MINIMUM: Key<Choice<SecurityLevel>> = Key::new(
        "spark.sealed.security.minimum",
        Choice::LEVEL,
        Is("aes-ctr"),
        Both,
        "The weakest channel that is served; weaker ones are recognized and refused. A client never speaks less than \
         it when it is set. Flag `--allow-plaintext` is short for `plaintext`.",
    )
    .near("spark.network.crypto.cipher")
    .reloads();

    /// Where everybody should arrive.
    pub static SECURITY_TARGET: Key<Choice<SecurityLevel>> = Key::new(
        "spark.sealed.security.target",
        Choice::LEVEL,
        Is("aes-gcm"),
        Serve,
        "Weaker channels are served, if the minimum lets them in, and reported: log, metrics, `sealed-shuffle apps`. Not \
         below the minimum, which raises it where it is not set.",
    )
    .reloads();

    /// Exactly what is served.
    pub static SECURITY_ALLOW: Key<Choices<SecurityLevel>> = Key::new(
        "spark.sealed.security.allow",
        Choices(Choice::LEVEL),
        Unset("everything from the minimum up"),
        Serve,
        "Exactly the channels that are served, instead of a minimum.",
    )
    .reloads();

    /// A minimum for one application.
    pub static SECURITY_APP_MINIMUM: Key<Choice<SecurityLevel>> = Key::new(
        "spark.sealed.security.app.*.minimum",
        Choice::LEVEL,
        Unset("the general rules"),
        Serve,
        "The minimum of one application, whose id stands in the place of `*`; for peers that have proven to be it.",
    )
    .reloads();

    /// A target for one application.
    pub static SECURITY_APP_TARGET: Key<Choice<SecurityLevel>> = Key::new(
        "spark.sealed.security.app.*.target",
        Choice::LEVEL,
        Unset("the general target"),
        Serve,
        "The target of one application, whose id stands in the place of `*`.",
    )
    .reloads();

    /// Exactly what is served to one application.
    pub static SECURITY_APP_ALLOW: Key<Choices<SecurityLevel>> = Key::new(
        "spark.sealed.security.app.*.allow",
        Choices(Choice::LEVEL),
        Unset("the general rules"),
        Serve,
        "Exactly the channels that are served to one application, whose id stands in the place of `*`.",
    )
    .reloads();
}
