//! The current configuration of TLS. It is made anew when files change, and kept when the new files are not usable.
//!
//! A connection takes [`LiveTls::current`] when it begins and keeps it; later connections see a change. Files are
//! told apart by device, inode, size and time, with links followed, because Kubernetes swaps links. A command is run
//! again at half of the time that our certificate has left, and every hour at the latest. Everything here that opens
//! files blocks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};
use sealed_shuffle_config::{FileVersion, TlsConfig, TlsSource};

use super::certificate::CertificateSummary;
use super::material::{self, MaterialError};
use super::side::TlsSide;

/// The configuration of a server.
pub type LiveServerTls = LiveTls<ServerConfig>;

/// The configuration of a client.
pub type LiveClientTls = LiveTls<ClientConfig>;

/// Longest time between two runs of a command.
const COMMAND_AGAIN: Duration = Duration::from_secs(3600);

/// Shortest time between two runs, also after a failure.
const COMMAND_PAUSE: Duration = Duration::from_secs(30);

/// The keys and certificates in use, and their source.
pub struct LiveTls<S> {
    config: TlsConfig,
    current: ArcSwap<CurrentMaterial<S>>,
    watch: Mutex<Watch>,
}

struct CurrentMaterial<S> {
    side: Arc<S>,
    own: Option<Arc<CertificateSummary>>,
    warnings: Arc<[String]>,
}

/// The identities of the files at the last look.
struct Watch {
    stamps: Vec<Option<FileVersion>>,
    /// The time of the next run of the command.
    due: Option<Instant>,
    /// The last error, so that it is reported once.
    said: Option<String>,
}

/// The result of a look at the files.
#[derive(Debug)]
pub enum Refresh {
    /// Nothing has changed.
    Unchanged,
    /// New connections use the new ones.
    Replaced,
    /// The new files are not usable, and the old configuration stays. Reported for the first time.
    Refused(MaterialError),
    /// The same, and it was reported before.
    StillRefused,
}

impl<S: TlsSide> LiveTls<S> {
    /// Opens everything at start. Any fault is an error.
    pub fn load(config: TlsConfig) -> Result<Self, MaterialError> {
        let stamps = stamps(&config);
        let current = open(&config)?;
        let due = due(&config, current.own.as_deref());
        let watch = Watch { stamps, due, said: None };
        Ok(Self { config, current: ArcSwap::from_pointee(current), watch: Mutex::new(watch) })
    }

    /// The configuration for a connection that begins.
    pub fn current(&self) -> Arc<S> {
        Arc::clone(&self.current.load().side)
    }

    /// Our own certificate; `None` where a client has none.
    pub fn own(&self) -> Option<Arc<CertificateSummary>> {
        self.current.load().own.clone()
    }

    /// Warnings about the material in use.
    pub fn warnings(&self) -> Arc<[String]> {
        Arc::clone(&self.current.load().warnings)
    }

    /// The settings, as configured.
    pub fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// Opens everything anew, changed or not. On an error the old configuration stays.
    pub fn reload(&self) -> Result<(), MaterialError> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        self.replace(&mut watch, stamps)
    }

    /// Opens everything anew if a file has changed or the command is due. Call it every few seconds, where blocking
    /// is allowed.
    pub fn refresh_if_changed(&self) -> Refresh {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        let is_due = watch.due.is_some_and(|due| Instant::now() >= due);
        if stamps == watch.stamps && !is_due {
            return Refresh::Unchanged;
        }
        let Err(error) = self.replace(&mut watch, stamps) else { return Refresh::Replaced };
        let text = error.to_string();
        if watch.said.as_deref() == Some(text.as_str()) {
            return Refresh::StillRefused;
        }
        watch.said = Some(text);
        Refresh::Refused(error)
    }

    fn replace(&self, watch: &mut Watch, stamps: Vec<Option<FileVersion>>) -> Result<(), MaterialError> {
        // The identities are noted before the files are opened, so that the next look sees a change in between.
        watch.stamps = stamps;
        match open::<S>(&self.config) {
            Ok(current) => {
                watch.due = due(&self.config, current.own.as_deref());
                watch.said = None;
                self.current.store(Arc::new(current));
                Ok(())
            }
            Err(error) => {
                watch.due = watch.due.map(|_| Instant::now() + COMMAND_PAUSE);
                Err(error)
            }
        }
    }
}

impl<S> std::fmt::Debug for LiveTls<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveTls").field("config", &self.config).finish_non_exhaustive()
    }
}

fn open<S: TlsSide>(config: &TlsConfig) -> Result<CurrentMaterial<S>, MaterialError> {
    let mut material = material::load(config)?;
    let side = Arc::new(S::build(config, &mut material)?);
    let own = material.identity.as_ref().and_then(material::Identity::summary).map(Arc::new);
    Ok(CurrentMaterial { side, own, warnings: material.warnings.into() })
}

/// The time of the next run of a command; `None` for files.
fn due(config: &TlsConfig, own: Option<&CertificateSummary>) -> Option<Instant> {
    if !matches!(config.source, TlsSource::Command { .. }) {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = own.map_or(COMMAND_AGAIN, |own| own.not_after.saturating_sub(now) / 2);
    Some(Instant::now() + left.clamp(COMMAND_PAUSE, COMMAND_AGAIN))
}

fn stamps(config: &TlsConfig) -> Vec<Option<FileVersion>> {
    material::files(config).into_iter().map(FileVersion::of).collect()
}

#[cfg(test)]
mod tests;
