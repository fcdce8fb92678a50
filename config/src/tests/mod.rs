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

use super::fake::{FakeEnvironment, assert_refused, bare, conf, warnings};
use super::{ConfigError, ServerConfig, Sources};

const DEFAULTS_FILE: &str = "/spark/conf/spark-defaults.conf";

/// Surroundings with one root, a secret, and a file of defaults.
fn surroundings(defaults: &str) -> FakeEnvironment {
    bare()
        .with_var("SPARK_HOME", "/spark")
        .with_var("_SPARK_AUTH_SECRET", "hunter2")
        .with_file(DEFAULTS_FILE, defaults)
}

fn serve(settings: &[&str], environment: &FakeEnvironment) -> Result<ServerConfig, ConfigError> {
    ServerConfig::from_sources(&conf(settings), environment)
}
