//! Rules that hold over several files of this room: from sources to typed configuration.

mod admin;
mod envelope;
mod handover;
mod names;
mod policy;
mod precedence;
mod roots;
mod secret;
mod server;
mod tls;

use super::environment::fake::FakeEnvironment;
use super::{ConfigError, Notice, ServerConfig, Sources};

const DEFAULTS_FILE: &str = "/spark/conf/spark-defaults.conf";

/// Surroundings with one root, a secret, and a file of defaults.
fn surroundings(defaults: &str) -> FakeEnvironment {
    bare()
        .with_var("SPARK_HOME", "/spark")
        .with_var("_SPARK_AUTH_SECRET", "hunter2")
        .with_file(DEFAULTS_FILE, defaults)
}

/// Surroundings with one root and nothing else.
fn bare() -> FakeEnvironment {
    FakeEnvironment::default().with_var("SPARK_LOCAL_DIRS", "/data").with_dir("/data")
}

fn conf(settings: &[&str]) -> Sources {
    Sources { conf: settings.iter().map(|text| (*text).to_owned()).collect(), ..Sources::default() }
}

fn serve(settings: &[&str], environment: &FakeEnvironment) -> Result<ServerConfig, ConfigError> {
    ServerConfig::from_sources(&conf(settings), environment)
}

fn warnings(notices: &[Notice]) -> Vec<&str> {
    notices.iter().filter(|notice| matches!(notice, Notice::Warning(_))).map(Notice::text).collect()
}

/// Asserts one refusal, of that subject, with those words in its line.
fn assert_refused<T: std::fmt::Debug>(result: Result<T, ConfigError>, subject: &str, words: &[&str]) {
    let error = result.expect_err(subject);
    let [issue] = &error.issues[..] else { panic!("one issue expected: {error}") };
    assert_eq!(issue.subject, subject, "{issue}");
    let line = issue.to_string();
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(!issue.remedy.is_empty(), "{issue} names no remedy");
}
