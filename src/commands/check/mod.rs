//! `check`: what `serve` would do with this configuration on this machine, and what will go wrong.
//!
//! | module | looks at |
//! |---|---|
//! | `finding` | nothing: it shows what was found |
//! | `roots` | local directories and what they lie on |
//! | `machine` | ports, descriptors, memory |
//! | `protection` | secrets, channels, certificates, keys, confinement |
//! | `beside` | what the files of applications and of a NodeManager say |
//! | `probe` | a server that runs |

mod beside;
mod finding;
mod machine;
mod probe;
mod protection;
mod roots;

use std::fs;
use std::io::{Write, stdout};
use std::path::{self, Path, PathBuf};

use clap::Args;
use sealed_shuffle_config::{Environment, Notice, ServerConfig, SparkRelease, raise_descriptor_limit};

use self::finding::{Finding, Findings};
use super::environment::RepeatableEnvironment;
use super::versioned::versioned;
use super::{ConfigArgs, Exit, Failure, complain, log_filter};
use crate::server::Server;

/// Say what serve would do here, and what will go wrong
///
/// One line for each thing that was looked at, with what to do where something is not as it should be: configuration,
/// local directories, ports, limits, secrets, channels, certificate, keys, confinement. Nothing is changed; a key
/// service is asked for one key, and with --probe a server for the channels that it accepts. Run it as the server's user, with the server's settings. Exit codes: 0; 1 for
/// warnings with --strict; 75 where waiting may do; 78 where serve would refuse to start, or would refuse the
/// applications whose configuration was given.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The spark-defaults.conf of applications, or of a Worker: contradictions with the server's configuration
    #[arg(long, value_name = "FILE")]
    applications: Vec<PathBuf>,

    /// The yarn-site.xml of a NodeManager
    #[arg(long, value_name = "FILE")]
    yarn_site: Vec<PathBuf>,

    /// A server that runs: which channels it accepts, as `probe` finds out; without a port, that of
    /// spark.shuffle.service.port
    #[arg(long, value_name = "HOST:PORT")]
    probe: Vec<String>,

    /// Exit with 1 if there are warnings
    #[arg(long)]
    strict: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self { applications, yarn_site, probe, strict, json, config } = self;
        // As `serve` does it: the configuration reads the limit.
        if let Err(error) = raise_descriptor_limit() {
            complain(format_args!("the descriptor limit stays as it is: {error}"));
        }
        let environment = RepeatableEnvironment::default();
        let mut found = Findings::default();
        let sources = config.sources();
        match ServerConfig::from_sources(&sources, &environment) {
            Ok(config) => {
                found.extend(settings(&config));
                found.extend(roots::look(&config));
                found.extend(machine::look(&config));
                found.extend(protection::look(&config));
                found.extend(waits_for(protection::ask_key_service(&config))?);
                found.extend(refusals(&config));
                for path in &applications {
                    let spark = spark_beside(path);
                    found.extend(read(&environment, path, |text| {
                        beside::applications(&config, spark.as_ref(), path, text)
                    }));
                }
                for path in &yarn_site {
                    found.extend(read(&environment, path, |text| beside::node_manager(&config, path, text)));
                }
            }
            Err(error) => found.extend([Finding::fault("configuration", error.to_string())]),
        }
        for server in &probe {
            found.extend(waits_for(probe::look(&sources, &environment, server))??);
        }
        let text = if json { format!("{:#}\n", versioned(found.json())) } else { found.text() };
        let mut out = stdout();
        let shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        shown.map_err(|error| Failure::new(Exit::Failed, error))?;
        match found.exit(strict) {
            None => Ok(()),
            Some(exit) => Err(Failure::new(exit, "not as it should be: see above")),
        }
    }
}

/// The Spark that a file of its `conf` belongs to: that of `../jars/spark-core_SCALA-RELEASE.jar`.
fn spark_beside(configuration: &Path) -> Option<SparkRelease> {
    let jars = path::absolute(configuration).ok()?.parent()?.parent()?.join("jars");
    let names = fs::read_dir(jars).ok()?.flatten().map(|entry| entry.file_name());
    names.into_iter().find_map(|name| SparkRelease::of_core_jar(name.to_str()?))
}

/// What was read, and what the configuration itself says of its settings.
fn settings(config: &ServerConfig) -> Vec<Finding> {
    const ABOUT: &str = "configuration";
    let report = &config.report;
    let mut found = vec![Finding::good(ABOUT, report.opening())];
    if let Err(failure) = log_filter(&config.log) {
        found.push(Finding::fault(ABOUT, failure.to_string()));
    }
    found.extend(report.ignored.iter().map(|ignored| {
        let text = format!("{} has no effect: {}  ({})", ignored.key, ignored.because, ignored.origin);
        Finding::good(ABOUT, text)
    }));
    found.extend(report.notices.iter().map(|notice| match notice {
        Notice::Warning(text) => Finding::warning(ABOUT, text.clone()),
        Notice::Info(text) => Finding::good(ABOUT, text.clone()),
    }));
    found
}

/// What the start of a server would refuse, unless a root is away or the certificate is no good: these have lines of their
/// own.
fn refusals(config: &ServerConfig) -> Option<Finding> {
    let beside = ServerConfig { tls: None, ..config.clone() };
    let error = Server::check(&beside).err().filter(|error| !error.is_too_early())?;
    Some(Finding::fault("start", error.to_string()))
}

/// Waits for what takes a network.
fn waits_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    Ok(runtime.block_on(work))
}

fn read(
    environment: &dyn Environment,
    path: &Path,
    judge: impl FnOnce(&str) -> Vec<Finding>,
) -> Vec<Finding> {
    let unread =
        |why: String| vec![Finding::fault("files", format!("cannot read {}: {why}", path.display()))];
    match environment.read(path) {
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => judge(text),
            Err(error) => unread(error.to_string()),
        },
        Err(error) => unread(error.to_string()),
    }
}
