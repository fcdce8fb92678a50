//! Applications that others tell us of: their beginning with a secret, and their end, whoever tells it.

use sealed_shuffle_protocol::ids::AppId;
use tracing::info;

use super::{Server, Shared, recovery};
use crate::handover::{Given, NotDone, Receiver};
use crate::keys::HandOverError;

/// What an application leaves behind when it ends is forgotten, in this order: its access, so that nothing of it
/// comes back; registrations, open files and cached indexes; what was merged, whose files and keys the next round of
/// housekeeping deletes; what is known of its clients. Answers how many executors it had, if it was known. An error
/// says that a secret may come back with a restart; all else is done. May wait for a disk.
fn end_of_application(
    shared: &Shared,
    app: &AppId,
    reason: &'static str,
) -> (Option<usize>, Result<(), HandOverError>) {
    let dropped = shared.secrets.end(app);
    let executors = shared.store.forget(app);
    let merged = shared.merger.as_ref().is_some_and(|merger| merger.forget(app));
    recovery::forget(shared, app);
    shared.state.as_ref().inspect(|state| state.exempt_no_more(app));
    shared.applications.forget(app);
    shared.broken_gcm.forget(app);
    let had_secret = dropped.as_ref().copied().unwrap_or(true);
    if executors.is_some() || had_secret || merged {
        shared.metrics.forgot(reason);
        let executors = executors.unwrap_or(0);
        info!(%app, executors, had_secret, reason, "forgot an application");
    }
    let known = executors.or_else(|| (had_secret || merged).then_some(0));
    (known, dropped.map(drop))
}

impl Server {
    /// Forgets an application that is over: see the order in which it goes there. Says how many executors went with
    /// it; `None` where nothing was known of it. Its secret goes, too, where it was handed over. May wait for a disk.
    pub fn forget(&self, app: &AppId) -> Option<usize> {
        let (executors, dropped) = end_of_application(&self.shared, app, "told");
        if let Err(error) = dropped {
            tracing::error!(%app, %error, "the secret of an application that is over may come back with a restart");
        }
        executors
    }
}

impl Receiver for Server {
    fn started(&self, app: &AppId, given: Given) -> Result<(), NotDone> {
        if let Some(state) = &self.shared.state {
            match given.remember {
                true => state.exempt_no_more(app),
                // What cannot be written was logged and counted.
                false => _ = state.exempt(app).wait(),
            }
        }
        let done = match given.secret {
            Some(secret) => self.shared.secrets.hand_over(app, secret, given.remember),
            // Nobody is to prove anything: what an earlier attempt proved holds no more.
            None => self.shared.secrets.end(app).map(drop),
        };
        self.shared.metrics.handed_over("started", done.is_ok());
        done.map_err(not_done)
    }

    fn ended(&self, app: &AppId) -> Result<(), NotDone> {
        let (_, done) = end_of_application(&self.shared, app, "ended");
        self.shared.metrics.handed_over("ended", done.is_ok());
        done.map_err(not_done)
    }
}

fn not_done(error: HandOverError) -> NotDone {
    match error {
        HandOverError::NotTaken | HandOverError::Length(_) => NotDone::Refused(error.to_string()),
        HandOverError::TooMany | HandOverError::Memory(_) => NotDone::Failed(error.to_string()),
    }
}
