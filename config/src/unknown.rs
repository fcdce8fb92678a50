//! Keys that nobody knows, and the known one that was probably meant.

use strsim::osa_distance;

use super::{ignored, keys};

/// Prefixes under which an unknown key is probably a mistyped one of Spark's, and warned about.
const WATCHED: [&str; 5] = [
    "spark.authenticate",
    "spark.network.crypto",
    "spark.ssl.rpc",
    "spark.shuffle.service",
    "spark.shuffle.push.server",
];

/// The prefix of our own keys.
pub(crate) const OURS: &str = "spark.sealed.";

/// The standing of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It is read.
    Known,
    /// It is an older name of a key that is read.
    Old,
    /// It is Spark's, near our subject, and not read.
    Ignored(&'static ignored::IgnoredKey),
    /// It would be ours and is not.
    UnknownOurs,
    /// It would be Spark's, near our subject, and is not.
    UnknownSpark,
    /// It is none of our business.
    Foreign,
    /// It does not even begin with `spark.`.
    NotSpark,
}

pub(crate) fn standing(name: &str) -> Standing {
    if keys::find(name).is_some() {
        return Standing::Known;
    }
    if keys::all().any(|key| key.old_names().contains(&name)) {
        return Standing::Old;
    }
    if let Some(ignored) = ignored::find(name) {
        return Standing::Ignored(ignored);
    }
    if name.starts_with(OURS) {
        return Standing::UnknownOurs;
    }
    if WATCHED.iter().any(|prefix| name.starts_with(prefix)) {
        return Standing::UnknownSpark;
    }
    if name.starts_with("spark.") { Standing::Foreign } else { Standing::NotSpark }
}

/// The known key that is nearest to a name, if any is near enough to have been meant. Case decides only between keys
/// that are equally near without it.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let name: String = name.chars().take(LONGEST).collect();
    let lower = name.to_lowercase();
    let ignored = ignored::IGNORED.iter().map(|ignored| ignored.name).filter(|name| !name.ends_with('*'));
    let known = keys::all().map(|key| key.name()).chain(ignored);
    let distances =
        known.map(|known| (osa_distance(&lower, &known.to_lowercase()), osa_distance(&name, known), known));
    let (distance, _, best) = distances.min()?;
    // A third of what follows the common `spark.` may be wrong.
    let tolerance = name.chars().count().saturating_sub("spark.".len()) / 3;
    (distance <= tolerance.max(2)).then_some(best)
}

/// Names are cut here before they are compared: no key is nearly as long.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_key_that_was_meant() {
        for (typed, meant) in [
            ("spark.shuffle.service.prot", "spark.shuffle.service.port"),
            ("spark.authenticate.secert", "spark.authenticate.secret"),
            ("spark.network.crypto.enable", "spark.network.crypto.enabled"),
            ("spark.network.crypto.Cipher", "spark.network.crypto.cipher"),
            ("spark.sealed.security.min", "spark.sealed.security.minimum"),
            ("spark.ssl.rpc.keystore", "spark.ssl.rpc.keyStore"),
        ] {
            assert_eq!(nearest(typed), Some(meant), "{typed}");
        }
        assert_eq!(nearest("spark.sealed.x"), None);
    }

    #[test]
    fn standing_of_each_kind() {
        assert_eq!(standing("spark.shuffle.service.port"), Standing::Known);
        assert_eq!(standing("spark.reducer.maxMbInFlight"), Standing::Old);
        assert!(matches!(standing("spark.shuffle.service.enabled"), Standing::Ignored(_)));
        assert_eq!(standing("spark.sealed.nothing"), Standing::UnknownOurs);
        assert_eq!(standing("spark.shuffle.service.prot"), Standing::UnknownSpark);
        assert_eq!(standing("spark.shuffle.services.port"), Standing::UnknownSpark);
        assert_eq!(standing("spark.executor.memory"), Standing::Foreign);
        assert_eq!(standing("Spark.T"), Standing::NotSpark);
    }
}
