//! Telling systemd how far the server is (sd_notify(3)).

use sd_notify::NotifyState;
use tracing::warn;

/// Tells systemd, where it started us; without it this does nothing.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot tell systemd");
    }
}
