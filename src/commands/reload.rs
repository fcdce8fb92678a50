//! SIGHUP, an operator who asks, and files that have changed: reads the same sources again and replaces policy and
//! secrets. A configuration with a fault changes nothing.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use sealed_shuffle_config::{Effective, Notice, ServerConfig, Sources, TlsConfig, TlsSource};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::environment::RepeatableEnvironment;
use super::systemd::notify;
use crate::confinement::Confinement;
use crate::server::{ReloadRequest, Server};

/// Waits for SIGHUP, for an operator who asks, and for files that change. It is made before the server reports that it is
/// ready, so that no signal ends the process.
pub(crate) struct Reload {
    hangup: Signal,
    asked: mpsc::Receiver<ReloadRequest>,
    server: Server,
    sources: Sources,
    environment: Arc<RepeatableEnvironment>,
    /// Between two looks at the files; none where nobody looks.
    interval: Option<Duration>,
    started_with: BTreeMap<String, String>,
    /// Whether a program that is named now is confined as the process is.
    confines_programs: bool,
}

impl Reload {
    pub(crate) fn new(
        server: Server,
        sources: Sources,
        environment: Arc<RepeatableEnvironment>,
        config: &ServerConfig,
        asked: mpsc::Receiver<ReloadRequest>,
    ) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let started_with = values(&config.report.effective);
        let confines_programs = Confinement::of(config).holds_for_new_programs();
        let interval = environment.interval(config.reload_interval);
        if let Some(interval) = interval {
            info!(every = ?interval, "the files of the configuration are looked at, and read again where one has changed");
        }
        Ok(Self { hangup, asked, server, sources, environment, interval, started_with, confines_programs })
    }

    /// Reads the configuration again at every signal, whenever an operator asks for it, and after files have changed.
    pub(crate) async fn watch(mut self) {
        loop {
            let changed = pin!(changed(Arc::clone(&self.environment), self.interval));
            let (why, asked) = tokio::select! {
                signal = self.hangup.recv() => match signal {
                    Some(()) => ("SIGHUP", None),
                    None => return,
                },
                Some(asked) = self.asked.recv() => ("an operator asks", Some(asked)),
                () = changed => ("a file has changed", None),
            };
            info!("{why}: reading the configuration again");
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(error) => warn!(%error, "cannot tell systemd"),
            }
            let done = self.read_again().await;
            notify(&[NotifyState::Ready]);
            if let Some(asked) = asked {
                // Who asked may have gone.
                _ = asked.send(done);
            }
        }
    }

    async fn read_again(&self) -> Result<(), String> {
        let (sources, environment) = (self.sources.clone(), Arc::clone(&self.environment));
        let (server, confines_programs) = (self.server.clone(), self.confines_programs);
        let read = move || {
            environment.begin_again();
            let config =
                ServerConfig::from_sources(&sources, &*environment).map_err(|error| error.to_string())?;
            // Of the keys that name programs, a reload takes up this one.
            if confines_programs && matches!(&config.tls, Some(tls) if is_program(tls)) {
                warn!(
                    "spark.sealed.tls.command names a program, which runs confined as this process is, until a restart: it may \
                     not write elsewhere or connect (spark.sealed.confinement.landlock, spark.sealed.confinement.seccomp)"
                );
            }
            server.reload(&config).map_err(|error| error.to_string())?;
            Ok::<_, String>(config)
        };
        let result = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()));
        self.server.reloaded(result.as_ref().map(drop).map_err(String::as_str));
        match &result {
            Err(error) => error!("the configuration stays as it was: {error}"),
            Ok(config) => self.say(config),
        }
        result.map(drop)
    }

    fn say(&self, config: &ServerConfig) {
        for notice in &config.report.notices {
            if let Notice::Warning(text) = notice {
                warn!("{text}");
            }
        }
        let now = values(&config.report.effective);
        let keys = self.started_with.keys().chain(now.keys()).filter(|key| !Server::reloads(key));
        let mut changed: Vec<&str> =
            keys.filter(|key| self.started_with.get(*key) != now.get(*key)).map(String::as_str).collect();
        changed.sort_unstable();
        changed.dedup();
        if !changed.is_empty() {
            warn!("changed, and in force after a restart only: {}", changed.join(", "));
        }
    }
}

/// Resolves when a file is another than it was read, and stayed as it is from one look to the next: who writes it may not be
/// through.
async fn changed(environment: Arc<RepeatableEnvironment>, interval: Option<Duration>) {
    let Some(interval) = interval else { return pending().await };
    let mut before = None;
    loop {
        tokio::time::sleep(interval).await;
        let environment = Arc::clone(&environment);
        let now = tokio::task::spawn_blocking(move || environment.changed()).await.ok().flatten();
        if now.is_some() && now == before {
            return;
        }
        before = now;
    }
}

fn is_program(tls: &TlsConfig) -> bool {
    matches!(tls.source, TlsSource::Command { .. })
}

fn values(effective: &[Effective]) -> BTreeMap<String, String> {
    effective.iter().map(|one| (one.key.to_string(), one.value.clone())).collect()
}
