//! The program `sealed-shuffle`. One file per sub-command: arguments in, library calls, text out.
//!
//! Results go to standard output, progress and logs to standard error. Exit codes are a contract, which `Exit` names.

// Comments of arguments are what --help prints: brackets in them are defaults, and no links.
#![allow(rustdoc::broken_intra_doc_links)]

mod admin;
mod apps;
mod audit;
mod bench;
mod certs;
mod check;
mod completions;
mod config;
mod decrypt;
mod demo;
mod environment;
mod fetch;
mod hand_over;
mod http;
mod inspect;
mod keep_view;
mod keys;
mod log;
mod log_level;
mod note;
mod orphans;
mod probe;
mod register;
mod reload;
mod report;
mod serve;
mod status;
mod systemd;
mod table;
mod target;
mod tell;
mod versioned;

use std::fmt;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use sealed_shuffle_client::{ClientError, ErrorKind};
use sealed_shuffle_config::{ConfigError, LogFormat, Sources};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use self::log_level::LogLevel;

/// Spark's shuffle blocks, served and fetched sealed.
///
/// A drop-in for Spark's external shuffle service that speaks Spark's own protocol under AES, and a
/// client for it, for Spark's service and for live executors.
#[derive(Debug, Parser)]
#[command(name = "sealed-shuffle", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Config(config::Config),
    Register(register::Register),
    Fetch(fetch::Fetch),
    Probe(probe::Probe),
    Status(status::Status),
    Apps(apps::Apps),
    Forget(tell::Forget),
    Reload(tell::Reload),
    Drain(tell::Drain),
    LogLevel(tell::LogLevel),
    Audit(audit::Audit),
    Report(report::Report),
    Orphans(orphans::Orphans),
    Bench(bench::Bench),
    Demo(demo::Demo),
    Certs(certs::Certs),
    Decrypt(decrypt::Decrypt),
    Inspect(inspect::Inspect),
    Keys(keys::Keys),
    HandOver(hand_over::HandOver),
    Completions(completions::Completions),
    #[command(hide = true)]
    KeepView(keep_view::KeepView),
    #[command(hide = true)]
    Man(completions::Man),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Config(config) => config.run(),
        Command::Register(register) => register.run(),
        Command::Fetch(fetch) => fetch.run(),
        Command::Probe(probe) => probe.run(),
        Command::Status(status) => status.run(),
        Command::Apps(apps) => apps.run(),
        Command::Forget(forget) => forget.run(),
        Command::Reload(reload) => reload.run(),
        Command::Drain(drain) => drain.run(),
        Command::LogLevel(level) => level.run(),
        Command::Audit(audit) => audit.run(),
        Command::Report(report) => report.run(),
        Command::Orphans(orphans) => orphans.run(),
        Command::Bench(bench) => bench.run(),
        Command::Demo(demo) => demo.run(),
        Command::Certs(certs) => certs.run(),
        Command::Decrypt(decrypt) => decrypt.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Keys(keys) => keys.run(),
        Command::HandOver(hand_over) => hand_over.run(),
        Command::Completions(completions) => completions.run(&mut Cli::command()),
        Command::KeepView(keep) => keep.run(),
        Command::Man(man) => man.run(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Says something at standard error to the person at the terminal. That nobody listens is no failure, and changes no exit code.
fn tell(text: impl fmt::Display) {
    _ = writeln!(stderr(), "{text}");
}

/// The same, of something that is not as it should be.
fn complain(text: impl fmt::Display) {
    tell(format_args!("sealed-shuffle: {text}"));
}

/// The exit codes of a command, by sysexits(3) where it has a name. 0 is success, 2 is clap's code for wrong usage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The work failed.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The bytes that arrived differ from those that were sent.
    Corrupt = 65,
    /// The block, executor or file does not exist.
    Missing = 66,
    /// Nobody answers, or the connection broke.
    Unreachable = 69,
    /// What it needs is not there yet; another try may do.
    TooEarly = 75,
    /// The server refuses us.
    Refused = 77,
    /// The configuration cannot be used; nothing was bound or sent.
    Config = 78,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Missing => Self::Missing,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Unreachable => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// The failure of a command, for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.kind().into(), error)
    }
}

/// Logs of a command go to standard error, with the filter of `spark.sealed.log`.
fn start_logging(log: &str) -> Result<(), Failure> {
    log_to(stderr, log, LogFormat::Text).map(drop)
}

/// Logs go to `writer`, which writes to standard error; they have colours on a terminal only. A line that cannot be written
/// is dropped: the library would say so on standard error, and panic.
fn log_to<W>(writer: W, log: &str, format: LogFormat) -> Result<LogLevel, Failure>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let logging = tracing_subscriber::fmt()
        .with_env_filter(log_filter(log)?)
        .with_writer(writer)
        .with_ansi(stderr().is_terminal())
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Text => {
            let logging = logging.with_filter_reloading();
            let level = LogLevel::of(log, logging.reload_handle());
            logging.init();
            level
        }
        LogFormat::Json => {
            let logging =
                logging.json().with_current_span(false).with_span_list(false).with_filter_reloading();
            let level = LogLevel::of(log, logging.reload_handle());
            logging.init();
            level
        }
    })
}

/// Parses the filter of `spark.sealed.log`. Filters of spans are checked only here.
fn log_filter(log: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder()
        .parse(log)
        .map_err(|error| Failure::new(Exit::Config, format!("spark.sealed.log = {log:?}: {error}")))
}

/// Where every command's configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Read this file instead of $SPARK_CONF_DIR/spark-defaults.conf (or $SPARK_HOME/conf/…)
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,

    /// Set a configuration key; may be given many times, the last one wins over the file
    #[arg(long = "conf", value_name = "KEY=VALUE")]
    conf: Vec<String>,

    /// File that holds the shared secret, as it stands; - reads standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        let mut sources =
            Sources { properties_file: self.properties_file, conf: self.conf, ..Sources::default() };
        if let Some(file) = self.secret_file {
            sources.push_flag("--secret-file", &sealed_shuffle_config::keys::SECRET_FILE, file);
        }
        sources
    }
}
