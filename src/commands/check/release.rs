//! The Spark that a configuration of applications belongs to, and what is known of its release.

use std::fs;
use std::path::Path;

use sealed_shuffle_protocol::cipher::has_broken_gcm;

/// A release of Spark, or what a vendor made of one: `3.5.6`, `3.5.6-amzn-1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SparkRelease(String);

impl SparkRelease {
    /// That of `../jars/spark-core_SCALA-RELEASE.jar`, seen from a file in `conf`.
    pub(super) fn beside(configuration: &Path) -> Option<Self> {
        let jars = configuration.parent()?.parent()?.join("jars");
        let names = fs::read_dir(jars).ok()?.flatten().map(|entry| entry.file_name());
        names.into_iter().find_map(|name| Self::of_core(name.to_str()?))
    }

    fn of_core(jar: &str) -> Option<Self> {
        let (_, release) = jar.strip_prefix("spark-core_")?.strip_suffix(".jar")?.split_once('-')?;
        Some(Self(release.to_owned()))
    }

    /// Whether AES-GCM loses messages in it, as far as its number tells.
    pub(super) fn has_broken_gcm(&self) -> bool {
        let mut numbers = self.0.split(['.', '-']).map_while(|part| part.parse().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(major), Some(minor), Some(patch)) => has_broken_gcm(major, minor, patch),
            _ => false,
        }
    }

    /// Whether somebody else than Spark's own project made it, who may have mended it.
    pub(super) fn is_vendors(&self) -> bool {
        !self.0.split('.').all(|part| part.parse::<u32>().is_ok())
    }
}

impl std::fmt::Display for SparkRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
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
            ("spark-core_2.13.jar", None, false, false),
            ("spark-sql_2.12-3.5.6.jar", None, false, false),
        ] {
            let found = SparkRelease::of_core(jar);
            assert_eq!(found.as_ref().map(|found| found.0.as_str()), release, "{jar}");
            let Some(found) = found else { continue };
            assert_eq!((found.has_broken_gcm(), found.is_vendors()), (is_broken, is_vendors), "{jar}");
        }
    }
}
