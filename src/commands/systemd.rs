//! Tells systemd the state of the server (sd_notify(3)).

use sd_notify::NotifyState;
use tracing::warn;

/// Notifies systemd if systemd started this process; otherwise it does nothing.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot tell systemd");
    }
}
