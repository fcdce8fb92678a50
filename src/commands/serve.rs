//! `serve`: the shuffle service itself.

use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sd_notify::NotifyState;
use sealed_shuffle_config::{Notice, Origin, ServerConfig, Sources, keys, raise_descriptor_limit};
use sealed_shuffle_transport::lane::OnLane;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::reload::{Reload, RepeatableEnvironment};
use super::systemd::notify;
use super::{ConfigArgs, Exit, Failure, log_filter, start_logging};
use crate::confinement::Confinement;
use crate::keys::envelope;
use crate::listeners::Listeners;
use crate::server::{DrainOutcome, Server, StartError};

/// Serve shuffle blocks in the place of Spark's external shuffle service
///
/// Reads the keys that Spark's own service reads, from the same file. Prints "listening on HOST:PORT" when it is
/// ready. SIGHUP reads policy and secrets again. SIGTERM or SIGINT finishes open transfers and exits 0; a second one
/// exits at once.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Address to listen on; short for spark.sealed.bind [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR")]
    bind: Option<String>,

    /// Port to listen on, 0 takes a free one; short for spark.shuffle.service.port [default: 7337]
    #[arg(long, value_name = "N")]
    port: Option<String>,

    /// Serve metrics, health and the table of applications here; short for spark.sealed.admin.address
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,

    /// Serve clear connections too; short for spark.sealed.security.minimum=plaintext
    #[arg(long)]
    allow_plaintext: bool,

    /// Print the effective configuration and stop
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let check_only = self.check_config;
        let environment = Arc::new(RepeatableEnvironment::default());
        let sources = self.sources();
        let config = ServerConfig::from_sources(&sources, &*environment)?;
        if check_only {
            log_filter(&config.log)?;
            Server::check(&config).map_err(|error| Failure::new(exit_of_check(&error), error))?;
            let mut lines = config.describe();
            lines.extend(Confinement::of(&config).describe());
            lines.extend(
                envelope::warnings(&OnLane::here(), &config)
                    .into_iter()
                    .map(|text| Notice::Warning(text).to_string()),
            );
            let text = lines.join("\n");
            return writeln!(stdout(), "{text}").map_err(|error| Failure::new(Exit::Failed, error));
        }
        start_logging(&config.log)?;
        // Threads that were there already would not be confined.
        Confinement::of(&config).enforce().map_err(|error| Failure::new(Exit::Config, error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.worker_threads)
            .max_blocking_threads(Server::blocking_threads(&config))
            .thread_name("sealed-shuffle")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
        let done = runtime.block_on(serve(&config, sources, environment));
        // A read from a dead disk never returns. It must not keep the process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        done
    }

    fn sources(self) -> Sources {
        let mut sources = self.config.sources();
        if let Some(address) = self.bind {
            sources.push_flag("--bind", &keys::BIND, address);
        }
        if let Some(port) = self.port {
            sources.push_flag("--port", &keys::SERVICE_PORT, port);
        }
        if let Some(address) = self.admin {
            sources.push_flag("--admin", &keys::ADMIN_ADDRESS, address);
        }
        if self.allow_plaintext {
            sources.push_flag("--allow-plaintext", &keys::SECURITY_MINIMUM, "plaintext");
        }
        // The limit is raised before the configuration reads it.
        if let Err(error) = raise_descriptor_limit() {
            eprintln!("sealed-shuffle: the descriptor limit stays as it is: {error}");
        }
        sources
    }
}

async fn serve(
    config: &ServerConfig,
    sources: Sources,
    environment: Arc<RepeatableEnvironment>,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    announce(config);
    let server = Server::from_config(config).await.map_err(|error| Failure::new(exit_of(&error), error))?;
    let signals = Signals::new().map_err(|error| failed(&error))?;
    let reload = Reload::new(server.clone(), sources, environment, config).map_err(|error| failed(&error))?;
    let listeners = Listeners::bind(config).await.map_err(|error| failed(&error))?;
    let address = listeners.address();
    // The first line holds everything. The admin address also has its own line, for programs that read line by line.
    let lines = match listeners.admin_address() {
        None => format!("listening on {address}\n"),
        Some(admin) => format!("listening on {address} admin on {admin}\nadmin on {admin}\n"),
    };
    stdout().write_all(lines.as_bytes()).and_then(|()| stdout().flush()).map_err(|error| failed(&error))?;
    notify(&[NotifyState::Ready]);

    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(reload.watch());
    tokio::spawn(signals.watch(stop.clone(), cut.clone()));
    tokio::select! {
        DrainOutcome { cut } = listeners.serve(server, stop.cancelled()) => info!(cut, "drained"),
        () = cut.cancelled() => warn!("a second signal: cut everything"),
    }
    match config.recovery {
        true => info!("stopped; registrations are known again after the next start"),
        false => info!("stopped; registrations are forgotten, executors must register again"),
    }
    Ok(())
}

fn exit_of(error: &StartError) -> Exit {
    match () {
        () if error.is_too_early() => Exit::TooEarly,
        () if error.is_configuration() => Exit::Config,
        () => Exit::Failed,
    }
}

/// The same where nothing was started: all that is wrong is the configuration's.
fn exit_of_check(error: &StartError) -> Exit {
    if error.is_too_early() { Exit::TooEarly } else { Exit::Config }
}

/// Reports the settings in effect: a summary, the keys that are set, those without effect, and probable mistakes.
/// Keys at their defaults are for `--check-config` and the debug level.
fn announce(config: &ServerConfig) {
    for line in config.summary() {
        info!("{line}");
    }
    for effective in &config.report.effective {
        match effective.origin {
            Origin::Default => debug!("{effective}"),
            _ => info!("{effective}"),
        }
    }
    for ignored in &config.report.ignored {
        info!("{} has no effect: {}  ({})", ignored.key, ignored.because, ignored.origin);
    }
    for notice in &config.report.notices {
        match notice {
            Notice::Warning(text) => warn!("{text}"),
            other => info!("{}", other.text()),
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first signal stops the server, the second one cuts its connections.
    async fn watch(mut self, stop: CancellationToken, cut: CancellationToken) {
        let signal = self.next().await;
        info!(signal, "stopping");
        notify(&[NotifyState::Stopping]);
        stop.cancel();
        self.next().await;
        cut.cancel();
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
