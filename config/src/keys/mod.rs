//! Every configuration key that is read.
//!
//! A key's name, grammar, default, bounds and meaning stand in its entry here and nowhere else, and so does whether
//! SIGHUP takes it up: the parser, the suggestions for mistyped names, the effective configuration that `serve` prints,
//! the settings of server and client, and the table in the documentation are made of it. An entry within `keys!` is in
//! the table. Server and client read one file, so both know the keys of both.
//!
//! Defaults of Spark's keys are those of Spark 4.3.0's standalone shuffle service and executors.

/// Declares keys, and a list of them in the order of the documentation.
macro_rules! keys {
    ($list:ident: $($(#[$doc:meta])* pub static $name:ident: $key:ty = $entry:expr;)*) => {
        $($(#[$doc])* pub static $name: $key = $entry;)*

        pub(super) static $list: &[&dyn AnyKey] = &[$(&$name),*];
    };
}

mod auditing;
mod clean_up;
mod confinement;
mod fetching;
mod handshakes;
mod identity;
mod inherited;
mod levels;
mod merges;
mod quotas;
mod sealing;
mod serving;
mod sockets;
mod ssl;
mod storage;
mod traces;

use super::key::AnyKey;

pub use self::auditing::*;
pub use self::clean_up::*;
pub use self::confinement::*;
pub use self::fetching::*;
pub use self::handshakes::*;
pub use self::identity::*;
pub use self::inherited::ancestor;
pub use self::levels::*;
pub use self::merges::*;
pub use self::quotas::*;
pub use self::sealing::*;
pub use self::serving::*;
pub use self::sockets::*;
pub use self::ssl::*;
pub use self::storage::*;
pub use self::traces::*;

/// Every key that has an entry, room by room.
static TABLE: &[&[&dyn AnyKey]] = &[
    SERVING,
    QUOTAS,
    IDENTITY,
    LEVELS,
    HANDSHAKES,
    SOCKETS,
    STORAGE,
    CLEAN_UP,
    MERGES,
    SEALING,
    AUDITING,
    TRACES,
    CONFINEMENT,
    FETCHING,
    SSL,
];

/// Every key, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static dyn AnyKey> {
    TABLE.iter().copied().flatten().copied().chain(inherited::all())
}

/// The key of that name, or the family that it is a member of.
pub fn find(name: &str) -> Option<&'static dyn AnyKey> {
    all().find(|key| key.name() == name).or_else(|| all().find(|key| member(key.name(), name).is_some()))
}

/// What stands in the place of the star in `name`, where `family` is the name of a family of keys
/// (`spark.sealed.security.app.*.minimum`) and `name` one of its members.
pub(crate) fn member<'a>(family: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = family.split_once('*')?;
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    (!middle.is_empty() && middle != "*").then_some(middle)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::key::{DefaultValue, Reader};

    #[test]
    fn names_are_unique_and_begin_with_spark() {
        let names: BTreeSet<_> = all().map(|key| key.name()).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.iter().all(|name| name.starts_with("spark.")));
    }

    #[test]
    fn a_family_has_every_name_with_something_in_the_place_of_its_star() {
        let family = SECURITY_APP_MINIMUM.name();
        assert_eq!(member(family, "spark.sealed.security.app.app-1.minimum"), Some("app-1"));
        assert_eq!(member(family, "spark.sealed.security.app.a.b.minimum"), Some("a.b"));
        for other in ["spark.sealed.security.app..minimum", "spark.sealed.security.app.minimum", family] {
            assert_eq!(member(family, other), None, "{other}");
        }
        assert!(find("spark.sealed.security.app.x.target").is_some());
        assert!(find("spark.sealed.security.app.x.maximum").is_none());
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in all() {
            let text = match key.default() {
                DefaultValue::Text(text) => text,
                DefaultValue::Same(other) => {
                    assert!(find(other.name()).is_some());
                    continue;
                }
                DefaultValue::Unset(_) => continue,
            };
            assert_eq!(key.check(text), Ok(()), "{}", key.name());
        }
    }

    #[test]
    fn every_key_says_what_it_means() {
        for key in all() {
            assert!(key.meaning().len() > 20 && !key.shape().is_empty(), "{}", key.name());
            assert!(!key.meaning().contains('|'), "{} would break the table", key.name());
        }
    }

    /// Policy, secrets and TLS, with the keys that stand in for those of TLS.
    #[test]
    fn a_reload_takes_up_what_protects_connections_and_nothing_else() {
        let reloaded: Vec<_> = all().filter(|key| key.reloads()).map(|key| key.name()).collect();
        let protects = |name: &str| {
            let ours = ["spark.sealed.auth.", "spark.sealed.security.", "spark.sealed.tls."];
            name.starts_with("spark.ssl.")
                || name.starts_with("spark.authenticate")
                || ours.iter().any(|prefix| name.starts_with(prefix))
        };
        let of_the_server = all().filter(|key| key.reader() != Reader::Client).map(|key| key.name());
        assert_eq!(reloaded, of_the_server.filter(|name| protects(name)).collect::<Vec<_>>());
        assert_eq!(reloaded.len(), 38);
    }

    #[test]
    fn a_key_for_all_uses_of_tls_is_like_the_one_that_inherits_from_it() {
        let all_uses = find("spark.ssl.keyStorePassword").unwrap();
        assert!(all_uses.is_secret() && all_uses.reloads());
        assert_eq!(ancestor(&SSL_RPC_KEY_STORE_PASSWORD).map(AnyKey::name), Some(all_uses.name()));
        assert!(find("spark.ssl.enabled").is_none() && ancestor(&SSL_RPC_ENABLED).is_none());
        assert_eq!(inherited::all().count(), 10);
    }
}
