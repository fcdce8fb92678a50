//! What an operator may do with the program that the server is part of, beside asking. `serve` gives it; the operator's
//! port passes it on. A server within another program has none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Server;

/// For a configuration to be read again.
const RELOADING: Duration = Duration::from_secs(60);

/// Who asks for the configuration to be read again, and is told what came of it.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The filter of the log.
pub(crate) trait LogControl: Send + Sync {
    /// The filter that is in force.
    fn filter(&self) -> String;

    /// Puts another in its place, until the end of the process. The error says what is wrong with it.
    fn replace(&self, filter: &str) -> Result<(), String>;
}

/// The program's ends.
pub(crate) struct Controls {
    /// Begins the drain, as SIGTERM does.
    pub(crate) stop: CancellationToken,
    /// Reads the configuration again, as SIGHUP does.
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
    /// What is logged.
    pub(crate) log: Arc<dyn LogControl>,
}

/// Why an operator's wish was not done.
#[derive(Debug)]
pub(crate) enum ControlError {
    /// The program has no such controls.
    NoControls,
    /// It was tried; the text says what is wrong.
    Refused(String),
}

impl Server {
    /// The program that it is part of can be told from now on; once.
    pub(crate) fn obeys(&self, controls: Controls) {
        // There is one program.
        _ = self.shared.controls.set(controls);
    }

    /// Begins the drain; the process ends with it.
    pub(crate) fn stop(&self) -> Result<(), ControlError> {
        self.controls()?.stop.cancel();
        Ok(())
    }

    /// Reads the configuration again.
    pub(crate) async fn read_again(&self) -> Result<(), ControlError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.controls()?.reload.send(answer).await;
        sent.map_err(|_| ControlError::Refused("the server stops".to_owned()))?;
        match tokio::time::timeout(RELOADING, answered).await {
            Ok(Ok(done)) => done.map_err(ControlError::Refused),
            Ok(Err(_)) => Err(ControlError::Refused("the server stops".to_owned())),
            Err(_) => {
                let text =
                    format!("it is still being read after {RELOADING:?}: the log says what comes of it");
                Err(ControlError::Refused(text))
            }
        }
    }

    /// The filter of the log.
    pub(crate) fn log(&self) -> Result<&Arc<dyn LogControl>, ControlError> {
        Ok(&self.controls()?.log)
    }

    fn controls(&self) -> Result<&Controls, ControlError> {
        self.shared.controls.get().ok_or(ControlError::NoControls)
    }
}
