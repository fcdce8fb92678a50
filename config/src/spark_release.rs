//! Which release of Spark lies somewhere, and what is known of it by its number.

use sealed_shuffle_protocol::cipher::has_broken_gcm;

/// A release of Spark, or what a vendor made of one: `3.5.6`, `3.5.6-amzn-1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SparkRelease(String);

impl SparkRelease {
    /// That of the jar with Spark's core, `spark-core_SCALA-RELEASE.jar`; none of another file.
    pub fn of_core_jar(name: &str) -> Option<Self> {
        let (_, release) = name.strip_prefix("spark-core_")?.strip_suffix(".jar")?.split_once('-')?;
        let is_beside = ["-tests", "-sources", "-javadoc"].iter().any(|kind| release.ends_with(kind));
        let is_number = release.starts_with(|first: char| first.is_ascii_digit());
        (is_number && !is_beside).then(|| Self(release.to_owned()))
    }

    /// As it calls itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether AES-GCM loses messages in it ([`BROKEN_GCM`](sealed_shuffle_protocol::cipher::BROKEN_GCM)), as far as its
    /// number tells.
    pub fn has_broken_gcm(&self) -> bool {
        let mut numbers = self.0.split(['.', '-']).map_while(|part| part.parse().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(major), Some(minor), Some(patch)) => has_broken_gcm(major, minor, patch),
            _ => false,
        }
    }

    /// Whether somebody else than Spark's own project made it, who may have mended it.
    pub fn is_vendors(&self) -> bool {
        !self.0.split('.').all(|part| part.parse::<u32>().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jar_of_sparks_core_names_the_release() {
        for (jar, release, is_broken, is_vendors) in [
            ("spark-core_2.12-3.5.6.jar", Some("3.5.6"), true, false),
            ("spark-core_2.12-3.5.6-amzn-1.jar", Some("3.5.6-amzn-1"), true, true),
            ("spark-core_2.12-3.5.9.jar", Some("3.5.9"), false, false),
            ("spark-core_2.13-4.2.0.jar", Some("4.2.0"), false, false),
            ("spark-core_2.13-4.2-SNAPSHOT.jar", Some("4.2-SNAPSHOT"), false, true),
            ("spark-core_2.12-3.5.6-tests.jar", None, false, false),
            ("spark-core_2.13.jar", None, false, false),
            ("spark-sql_2.12-3.5.6.jar", None, false, false),
        ] {
            let found = SparkRelease::of_core_jar(jar);
            assert_eq!(found.as_ref().map(SparkRelease::as_str), release, "{jar}");
            let Some(found) = found else { continue };
            assert_eq!((found.has_broken_gcm(), found.is_vendors()), (is_broken, is_vendors), "{jar}");
        }
    }
}
