//! Keys that nobody knows, and the known one that was probably meant.

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

/// What a key is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It is read.
    Known,
    /// It is an older name of a key that is read.
    Old,
    /// It is Spark's, near our subject, and not read.
    Ignored(&'static ignored::Ignored),
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
    if keys::ALL.iter().any(|key| key.old_names().contains(&name)) {
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

/// The known key that is nearest to a name, if any is near enough to have been meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let ignored = ignored::IGNORED.iter().map(|ignored| ignored.name).filter(|name| !name.ends_with('*'));
    let known = keys::ALL.iter().map(|key| key.name()).chain(ignored);
    let (distance, best) = known.map(|candidate| (distance(name, candidate), candidate)).min()?;
    // A third of what follows the common `spark.` may be wrong.
    let tolerance = name.chars().count().saturating_sub("spark.".len()) / 3;
    (distance <= tolerance.max(2)).then_some(best)
}

/// Damerau-Levenshtein distance, in its restricted form: insertions, deletions, substitutions and swaps of
/// neighbours, no character touched twice. Case counts half, so that a wrong case is always nearest: distances
/// are doubled inside.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().collect();
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i * width + j] = if i == 0 || j == 0 {
                2 * (i + j)
            } else {
                let substitution = match (a[i - 1], b[j - 1]) {
                    (x, y) if x == y => 0,
                    (x, y) if x.eq_ignore_ascii_case(&y) => 1,
                    _ => 2,
                };
                let mut best = (rows[(i - 1) * width + j] + 2)
                    .min(rows[i * width + j - 1] + 2)
                    .min(rows[(i - 1) * width + j - 1] + substitution);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[(i - 2) * width + j - 2] + 2);
                }
                best
            };
        }
    }
    rows[rows.len() - 1].div_ceil(2)
}

/// Names are cut here before they are compared: no key is nearly as long.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_a_swap_as_one() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("", "ab", 2),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

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
