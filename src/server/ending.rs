//! Applications that others tell us of: their beginning with a secret, and their end, whoever tells it.

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tracing::error;

use super::Server;
use crate::applications::{End, EndReason};
use crate::handover::{EventError, HandOverPayload, Receiver};
use crate::keys::HandOverError;

const STARTED: &str = "started";
const ENDED: &str = "ended";
const EXECUTOR_ENDED: &str = "executor_ended";

/// What may be told, as metrics call it.
pub(super) const MESSAGES: &[&str] = &[STARTED, ENDED, EXECUTOR_ENDED];

impl Server {
    /// Ends an application that is over, with its secret where that was handed over. Says how many executors went with
    /// it; `None` where nothing was known of it. May wait for a disk.
    pub fn forget(&self, app: &AppId) -> Option<usize> {
        // A successor that has the records is told by whoever asks again.
        let _change = self.shared.succession.change_now()?;
        let ended = self.shared.applications.end(app, EndReason::Operator)?;
        let executors = ended.executors;
        if let Err(error) = ended.written() {
            error!(%app, %error, "the secret of an application that is over may come back with a restart");
        }
        executors
    }
}

impl Receiver for Server {
    fn started(&self, app: &AppId, given: HandOverPayload) -> Result<(), EventError> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        let done = self.shared.applications.begin(app, given);
        self.shared.metrics.handed_over(STARTED, done.is_ok());
        done.map_err(not_done)
    }

    fn ended(&self, app: &AppId) -> Result<(), EventError> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        let ended = self.shared.applications.end(app, EndReason::ResourceManager);
        let done = ended.map_or(Ok(()), End::written);
        self.shared.metrics.handed_over(ENDED, done.is_ok());
        done.map_err(not_done)
    }

    fn executor_ended(&self, app: &AppId, executor: &ExecutorId) -> Result<(), EventError> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        self.shared.remains.executor_ended(app, executor);
        self.shared.metrics.handed_over(EXECUTOR_ENDED, true);
        Ok(())
    }

    fn held(&self) -> Vec<AppId> {
        self.shared.applications.secrets().handed_over_of()
    }
}

fn being_replaced() -> EventError {
    EventError::Failed("another server is taking over: tell it".to_owned())
}

fn not_done(error: HandOverError) -> EventError {
    match error {
        HandOverError::NotTaken | HandOverError::Length(_) => EventError::Refused(error.to_string()),
        HandOverError::TooMany | HandOverError::Memory(_) => EventError::Failed(error.to_string()),
    }
}
