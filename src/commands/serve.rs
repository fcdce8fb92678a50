//! `serve`: the shuffle service itself.

use std::future::pending;
use std::io::{Write, stderr, stdout};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sd_notify::NotifyState;
use sealed_shuffle_config::{Notice, Origin, ServerConfig, Sources, keys, raise_descriptor_limit};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::environment::RepeatableEnvironment;
use super::log::LogQueue;
use super::log_level::LogLevel;
use super::reload::Reload;
use super::systemd::notify;
use super::{ConfigArgs, Exit, Failure, complain, log_filter, log_to};
use crate::confinement::Confinement;
use crate::keys::envelope;
use crate::listeners::Listeners;
use crate::server::{Controls, Server, StartError};
use crate::state;
use crate::supervision::Duties;
use crate::takeover::{Claim, ClaimError};
use crate::view::ViewMount;

/// Serve shuffle blocks in the place of Spark's external shuffle service
///
/// Reads the keys that Spark's own service reads, from the same file. Prints "listening on HOST:PORT" when it is
/// ready. SIGHUP reads policy and secrets again. SIGTERM or SIGINT finishes open transfers and exits 0; a second one
/// exits at once.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Address to listen on; short for spark.sealed.bind [default: all of them]
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

    /// Take the place of the server that runs with the same state directory: its port, its registrations. No peer that
    /// connects is refused. Without one, starts as usual
    #[arg(long)]
    takeover: bool,

    /// Print the effective configuration and stop
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (check_only, takes_over) = (self.check_config, self.takeover);
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
        let log = LogQueue::new();
        let level = log_to(Arc::clone(&log), &config.log, config.log_format)?;
        let surroundings = Surroundings { sources, environment, log: &log, level };
        let done = start(&config, surroundings, takes_over);
        log.finish();
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
            complain(format_args!("the descriptor limit stays as it is: {error}"));
        }
        sources
    }
}

/// What a server that runs needs of the program around it.
struct Surroundings<'a> {
    sources: Sources,
    environment: Arc<RepeatableEnvironment>,
    log: &'a LogQueue,
    level: LogLevel,
}

/// After so many polls of connections a thread looks which sockets are ready. With tokio's 61 a connection of one application
/// is seen after fifty segments of another; to look takes a microsecond.
const EVENT_INTERVAL: u32 = 8;

fn start(config: &ServerConfig, surroundings: Surroundings<'_>, takes_over: bool) -> Result<(), Failure> {
    // What is confined mounts nothing.
    let view = mounted(config)?;
    // Threads that were there already would not be confined.
    let confined = Confinement::of(config).enforce().map_err(|error| Failure::new(Exit::Config, error));
    let threads = |error| Failure::new(Exit::Failed, format!("cannot start threads: {error}"));
    surroundings.log.start(stderr()).map_err(threads)?;
    let confined = confined?;
    if let Some(view) = &view {
        // A mount that nobody answers for would hold up whoever looks at it.
        view.begin().map_err(threads)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads)
        .event_interval(EVENT_INTERVAL)
        .max_blocking_threads(Server::blocking_threads(config))
        .thread_name("sealed-shuffle")
        .enable_all()
        .build()
        .map_err(threads)?;
    let done = runtime.block_on(serve(config, surroundings, &confined, view, takes_over));
    // A read from a dead disk never returns. It must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// The view of merged data, where the configuration wants one.
fn mounted(config: &ServerConfig) -> Result<Option<ViewMount>, Failure> {
    let Some(dir) = config.merging.as_ref().and_then(|merging| merging.view_dir.as_deref()) else {
        return Ok(None);
    };
    let ours = std::env::current_exe().map_err(|error| Failure::new(Exit::Failed, error))?;
    let mounted = ViewMount::make(&OnLane::here(), dir, &config.roots.paths, Some(&ours));
    mounted.map(Some).map_err(|error| Failure::new(Exit::Config, error))
}

async fn serve(
    config: &ServerConfig,
    surroundings: Surroundings<'_>,
    confined: &[String],
    view: Option<ViewMount>,
    takes_over: bool,
) -> Result<(), Failure> {
    let Surroundings { sources, environment, log, level } = surroundings;
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    announce(config);
    let claim = if takes_over { claim(config).await? } else { None };
    let server = Server::seen_through(config, view).await;
    let server = server.map_err(|error| Failure::new(exit_of(&error), error))?;
    if claim.is_some() && server.awaits_store() {
        return Err(failed(
            &"the key of the recovery store is not to be had, so the server that runs goes on",
        ));
    }
    server.counts_lost_lines(log.lost());
    server.is_confined(confined);
    let signals = Signals::new().map_err(|error| failed(&error))?;
    let (asks, asked) = mpsc::channel(1);
    let reload =
        Reload::new(server.clone(), sources, environment, config, asked).map_err(|error| failed(&error))?;
    let listeners = match claim {
        Some(claim) => {
            // Before the predecessor takes its own view away.
            server.leads_to_view().await;
            Listeners::take_over(config, claim).await
        }
        None => Listeners::bind(config).await,
    };
    let listeners = listeners.map_err(|error| failed(&error))?;
    server.leads_to_view().await;
    let address = listeners.address();
    // The first line holds everything. The admin address also has its own line, for programs that read line by line.
    let lines = match listeners.admin_address() {
        None => format!("listening on {address}\n"),
        Some(admin) => format!("listening on {address} admin on {admin}\nadmin on {admin}\n"),
    };
    if let Err(error) = stdout().write_all(lines.as_bytes()).and_then(|()| stdout().flush()) {
        let admin = listeners.admin_address().map_or_else(String::new, |admin| admin.to_string());
        warn!(%error, %address, admin, "listening, and standard output does not take the line that says so");
    }
    notify(&[NotifyState::Ready]);

    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    server.obeys(Controls { stop: stop.clone(), reload: asks, log: level.control() });
    let mut duties = Duties::default();
    duties.take_on("reloading at SIGHUP", reload.watch());
    duties.take_on("stopping at SIGTERM and SIGINT", signals.watch(stop.clone(), cut.clone()));
    let mut lost = None;
    let stopped = async {
        tokio::select! {
            () = stop.cancelled() => {}
            duty = duties.first_lost() => lost = Some(duty),
        }
    };
    tokio::select! {
        outcome = listeners.serve(server, stopped) => {
            info!(cut = outcome.cut, "drained");
            lost = lost.or(outcome.lost);
        }
        () = cut.cancelled() => warn!("a second signal: cut everything"),
    }
    match config.recovery {
        true => info!("stopped; registrations are known again after the next start"),
        false => info!("stopped; registrations are forgotten, executors must register again"),
    }
    match lost {
        None => Ok(()),
        Some(duty) => Err(failed(&format_args!("a task has died that the server cannot be without: {duty}"))),
    }
}

/// The place of the server that runs, which has closed its recovery store by then. What can be refused without it is
/// refused before. `None` where none runs.
async fn claim(config: &ServerConfig) -> Result<Option<Claim>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Config, error);
    let Some(place) = config.takeover.clone() else {
        return Err(wrong(&"--takeover needs a socket: name its path with spark.sealed.takeover.socket"));
    };
    if !config.recovery {
        return Err(wrong(
            &"--takeover needs the recovery store, or registrations would be lost: \
              remove spark.shuffle.service.db.enabled=false, or restart the server",
        ));
    }
    let checked = config.clone();
    let records = config.envelope.state_dir.join(state::FILE_NAME);
    let lane = Lane::new(1);
    let claimed = lane.run(move |on| {
        let Some(mut claim) = Claim::make(on, &place.path, &records)? else {
            info!(path = %place.path.display(), "no server listens there: starting as usual");
            return Ok(None);
        };
        Server::check(&checked).map_err(|error| Failure::new(exit_of_check(&error), error))?;
        claim.take_store(on)?;
        info!("taking over: the server that runs accepts nobody, and has closed its recovery store");
        Ok(Some(claim))
    });
    claimed.await.unwrap_or_else(|error| Err(Failure::new(Exit::Failed, error)))
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let exit = match error {
            ClaimError::Refused { .. } | ClaimError::Foreign { .. } => Exit::Refused,
            ClaimError::OtherRecords { .. } => Exit::Config,
            ClaimError::Io { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
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

    /// The first signal stops the server, the second one cuts its connections. Never ends.
    async fn watch(mut self, stop: CancellationToken, cut: CancellationToken) {
        let signal = tokio::select! {
            signal = self.next() => Some(signal),
            () = stop.cancelled() => None,
        };
        info!(signal = signal.unwrap_or("none, an operator asks"), "stopping");
        notify(&[NotifyState::Stopping]);
        stop.cancel();
        if signal.is_none() {
            // The first one, which only says the same.
            self.next().await;
        }
        self.next().await;
        cut.cancel();
        pending().await
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
