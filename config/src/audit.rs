//! Where the audit trail lies, and how much of it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ByteCount;
use super::envelope::{self, EnvelopeConfig};
use super::environment::Environment;
use super::error::ConfigError;
use super::key::Reader;
use super::keys;
use super::load::Sources;
use super::values::{Values, read_sources};

/// Name in the state directory of the directory of the trail.
const DIRECTORY: &str = "audit";

/// The audit trail of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditConfig {
    /// Its directory (`spark.sealed.audit.dir`). `audit` in the state directory.
    pub dir: PathBuf,
    /// The size at which a file is full (`spark.sealed.audit.file.size`). 64 MiB.
    pub file_size: ByteCount,
    /// Files that are kept (`spark.sealed.audit.files`). 16.
    pub files: u32,
    /// Between two records of one connection (`spark.sealed.audit.period`). 10 minutes.
    pub period: Duration,
}

impl AuditConfig {
    /// The defaults of all keys, for a trail in this directory.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self::of(&mut Values::defaults(), dir.into())
    }

    /// None where there is no trail; a bad value is refused in either case.
    pub(crate) fn read(v: &mut Values<'_>, state_dir: &Path) -> Option<Self> {
        let enabled = v.optional(&keys::AUDIT_ENABLED).map(|(enabled, _)| enabled);
        let named = v.optional(&keys::AUDIT_DIR).map(|(dir, _)| PathBuf::from(dir));
        let is_on = enabled.unwrap_or_else(|| named.is_some());
        let config = Self::of(v, named.unwrap_or_else(|| state_dir.join(DIRECTORY)));
        is_on.then_some(config)
    }

    /// The trail that a server with these sources has, if it has one, and the keys that seal it.
    pub fn configured(
        sources: &Sources,
        environment: &dyn Environment,
    ) -> Result<(Option<Self>, EnvelopeConfig), ConfigError> {
        let read = |v: &mut Values<'_>| {
            let envelope = envelope::read(v);
            (Self::read(v, &envelope.state_dir), envelope)
        };
        Ok(read_sources(sources, environment, Reader::Serve, read)?.0)
    }

    /// The trail that a server with these sources has, or would have, and the keys that seal it.
    pub fn place(
        sources: &Sources,
        environment: &dyn Environment,
    ) -> Result<(PathBuf, EnvelopeConfig), ConfigError> {
        let read = |v: &mut Values<'_>| {
            let envelope = envelope::read(v);
            let named = v.optional(&keys::AUDIT_DIR).map(|(dir, _)| PathBuf::from(dir));
            (named.unwrap_or_else(|| envelope.state_dir.join(DIRECTORY)), envelope)
        };
        Ok(read_sources(sources, environment, Reader::Serve, read)?.0)
    }

    fn of(v: &mut Values<'_>, dir: PathBuf) -> Self {
        Self {
            dir,
            file_size: v.value(&keys::AUDIT_FILE_SIZE),
            files: v.value(&keys::AUDIT_FILES),
            period: v.value(&keys::AUDIT_PERIOD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerConfig;
    use super::super::fake::FakeEnvironment;
    use super::*;

    fn read(conf: &[&str]) -> Option<AuditConfig> {
        let environment = FakeEnvironment::default()
            .with_var("SPARK_LOCAL_DIRS", "/data")
            .with_var("_SPARK_AUTH_SECRET", "s")
            .with_dir("/data");
        let conf = conf.iter().map(|one| format!("spark.sealed.{one}")).collect();
        ServerConfig::from_sources(&Sources { conf, ..Sources::default() }, &environment).unwrap().audit
    }

    #[test]
    fn there_is_a_trail_where_it_is_switched_on_or_its_place_is_named() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["audit.dir=/a", "audit.enabled=false"]), None);
        assert_eq!(read(&["audit.dir=/a"]), Some(AuditConfig::in_dir("/a")));
        let by_default = read(&["audit.enabled=true", "state.dir=/s", "audit.files=3"]);
        assert_eq!(by_default, Some(AuditConfig { files: 3, ..AuditConfig::in_dir("/s/audit") }));
    }
}
