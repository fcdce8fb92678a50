//! The beginning of an application: its secret is handed over, and it proves itself with it.

use std::error::Error;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;

use tracing::info;

use super::Applications;
use crate::handover::HandOverPayload;
use crate::keys::{HandOverError, RememberSecrets, Watch};
use crate::state::State;
use crate::telemetry::SecretUsed;

impl Applications {
    /// An application begins, or an attempt of it: takes its secret in the place of the one before, or none where nobody
    /// is to prove anything any more. May wait for a disk.
    pub(crate) fn begin(&self, app: &AppId, given: HandOverPayload) -> Result<(), HandOverError> {
        let _turn = self.turns.take(app);
        if let Some(state) = self.state.as_ref() {
            match given.remember {
                true => state.exempt_no_more(app),
                // What cannot be written was logged and counted.
                false => _ = state.exempt(app).wait(),
            }
        }
        let stored = given.remember && self.state.as_ref().is_some();
        match given.secret {
            Some(secret) => {
                // It is handed over again by each NodeManager, and to each server, that comes back.
                if self.secrets.hand_over(app, secret, given.remember)? {
                    info!(%app, secret = "its own, handed over", stored, "an application was handed over");
                    self.audit.handed_over(app, true);
                }
                Ok(())
            }
            None => {
                // What an earlier attempt proved holds no more.
                self.secrets.end(app);
                let forgotten = self.state.as_ref().is_none_or(|state| state.forget_secret(app).wait());
                info!(%app, secret = "none", stored, "an application was handed over");
                self.audit.handed_over(app, false);
                forgotten.then_some(()).ok_or_else(|| HandOverError::Memory(not_written()))
            }
        }
    }

    /// A connection has proven to speak for `app` with one of its secrets, which it is told of when it is taken away.
    pub(crate) fn prove(&self, app: &AppId, secret: SecretUsed) -> Watch {
        self.metrics.proven_with(secret);
        self.secrets.watch(app)
    }
}

impl RememberSecrets for State {
    fn remember(&self, app: &AppId, secret: &AppSecret) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.remember_secret(app, secret).wait().then_some(()).ok_or_else(not_written)
    }

    fn forget(&self, app: &AppId) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.forget_secret(app).wait().then_some(()).ok_or_else(not_written)
    }
}

/// Why a secret cannot be remembered or forgotten.
pub(super) fn not_written() -> Box<dyn Error + Send + Sync> {
    "the recovery store cannot write it; the log says why".into()
}
