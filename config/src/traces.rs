//! Who takes traces of requests, and of how many.

use std::time::Duration;

use super::keys;
use super::value::HttpEndpoint;
use super::values::Values;

/// Traces of requests for a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct TracesConfig {
    /// The collector (`spark.sealed.traces.endpoint`).
    pub endpoint: HttpEndpoint,
    /// The part of requests that are traced, from 0 to 1 (`spark.sealed.traces.sample-rate`). 0.01.
    pub sample_rate: f64,
    /// Between two messages to the collector (`spark.sealed.traces.interval`). 5 s.
    pub interval: Duration,
    /// For one message (`spark.sealed.traces.timeout`). 10 s.
    pub timeout: Duration,
}

impl TracesConfig {
    /// The defaults of all keys, for this collector.
    pub fn to(endpoint: HttpEndpoint) -> Self {
        Self::of(&mut Values::defaults(), endpoint)
    }

    /// None where no collector is named; a bad value is refused in either case.
    pub(crate) fn read(v: &mut Values<'_>) -> Option<Self> {
        let endpoint = v.optional(&keys::TRACES_ENDPOINT).map(|(endpoint, _)| endpoint);
        let is_on = endpoint.is_some();
        let config = Self::of(v, endpoint.unwrap_or_default());
        is_on.then_some(config)
    }

    fn of(v: &mut Values<'_>, endpoint: HttpEndpoint) -> Self {
        Self {
            endpoint,
            sample_rate: v.value(&keys::TRACES_SAMPLE_RATE),
            interval: v.value(&keys::TRACES_INTERVAL),
            timeout: v.value(&keys::TRACES_TIMEOUT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeEnvironment;
    use super::super::{ConfigError, ServerConfig, Sources};
    use super::*;

    fn read(conf: &[&str]) -> Result<Option<TracesConfig>, ConfigError> {
        let environment = FakeEnvironment::default()
            .with_var("SPARK_LOCAL_DIRS", "/data")
            .with_var("_SPARK_AUTH_SECRET", "s")
            .with_dir("/data");
        let conf = conf.iter().map(|one| format!("spark.sealed.traces.{one}")).collect();
        Ok(ServerConfig::from_sources(&Sources { conf, ..Sources::default() }, &environment)?.traces)
    }

    #[test]
    fn nothing_is_traced_unless_a_collector_is_named() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["sample-rate=1"]).unwrap(), None);
        assert!(read(&["sample-rate=2"]).is_err(), "a bad value is refused all the same");
        assert!(read(&["endpoint=https://collector"]).is_err());
    }

    #[test]
    fn a_collector_that_is_named_gets_one_request_in_a_hundred() {
        let config = read(&["endpoint=http://collector"]).unwrap().unwrap();
        assert_eq!(config.endpoint.to_string(), "http://collector:4318/v1/traces");
        assert_eq!((config.sample_rate, config.interval.as_secs(), config.timeout.as_secs()), (0.01, 5, 10));
        assert_eq!(config, TracesConfig::to(config.endpoint.clone()));
        let all = read(&["endpoint=http://collector", "sample-rate=1"]).unwrap().unwrap();
        assert!((all.sample_rate - 1.0).abs() < f64::EPSILON);
    }
}
