//! Applications that others tell us of: their beginning with a secret, and their end, whoever tells it.

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tracing::error;

use super::Server;
use crate::applications::{End, EndReason};
use crate::handover::{HandOverPayload, NotDone, Receiver};
use crate::keys::HandOverError;

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
    fn started(&self, app: &AppId, given: HandOverPayload) -> Result<(), NotDone> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        let done = self.shared.applications.begin(app, given);
        self.shared.metrics.handed_over("started", done.is_ok());
        done.map_err(not_done)
    }

    fn ended(&self, app: &AppId) -> Result<(), NotDone> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        let ended = self.shared.applications.end(app, EndReason::ResourceManager);
        let done = ended.map_or(Ok(()), End::written);
        self.shared.metrics.handed_over("ended", done.is_ok());
        done.map_err(not_done)
    }

    fn executor_ended(&self, app: &AppId, executor: &ExecutorId) -> Result<(), NotDone> {
        let _change = self.shared.succession.change_now().ok_or_else(being_replaced)?;
        self.shared.remains.executor_ended(app, executor);
        self.shared.metrics.handed_over("executor_ended", true);
        Ok(())
    }
}

fn being_replaced() -> NotDone {
    NotDone::Failed("another server is taking over: tell it".to_owned())
}

fn not_done(error: HandOverError) -> NotDone {
    match error {
        HandOverError::NotTaken | HandOverError::Length(_) => NotDone::Refused(error.to_string()),
        HandOverError::TooMany | HandOverError::Memory(_) => NotDone::Failed(error.to_string()),
    }
}
