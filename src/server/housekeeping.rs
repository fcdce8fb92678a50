//! What happens now and then: applications that are over end, files that nobody reads or that were deleted are closed,
//! unused segments are given back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::tls::{LiveServerTls, Refresh};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::{Shared, merging};

/// Between two rounds. A deleted file pins its disk space at most this long.
const ROUND: Duration = Duration::from_secs(5);

/// Between two looks at the secrets of connected applications.
const SECRETS_ROUND: Duration = Duration::from_secs(1);

/// Rounds without a transfer after which unused segments are given back.
const QUIET_ROUNDS: u32 = 6;

/// Rounds without a read after which a merged partition is closed.
const READERS_ROUNDS: u64 = 12;

/// Sweeps until aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = 0;
    let mut round = 0_u64;
    let mut replaced_said = false;
    loop {
        rounds.tick().await;
        let sweep = {
            let shared = Arc::clone(&shared);
            move |on: &OnLane| sweep(on, &shared)
        };
        renew_tls(&shared).await;
        match shared.store.roots().across().run(sweep).await {
            Ok(replaced) => {
                if let Some(root) = replaced.filter(|_| !replaced_said) {
                    replaced_said = true;
                    let root = root.display();
                    error!(%root, "a root is not the directory that was opened at start: restart to serve files there");
                }
            }
            Err(error) => warn!(%error, "a sweep was lost"),
        }
        merging::clean_up(&shared);
        round += 1;
        if let Some(merger) = shared.merger.as_ref().filter(|_| round.is_multiple_of(READERS_ROUNDS)) {
            merger.sweep_readers();
        }
        quiet = if shared.pool.budget().in_use() == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET_ROUNDS {
            shared.pool.trim();
        }
    }
}

/// Closes files, and ends applications that are over. Says which root was replaced.
fn sweep(on: &OnLane, shared: &Shared) -> Option<PathBuf> {
    let now = Instant::now();
    shared.applications.sweep(on, now);
    shared.merger.as_ref().inspect(|merger| merger.sweep_files(on, now));
    shared.store.roots().replaced(on).map(Path::to_owned)
}

/// Takes up renewed keys and certificates: connections that begin now use them.
async fn renew_tls(shared: &Shared) {
    let Some(tls) = shared.tls() else { return };
    let live = Arc::clone(&tls);
    match shared.material.run(move |_| live.refresh_if_changed()).await {
        Ok(Refresh::Replaced) => {
            info!("took up new TLS material; connections that run keep theirs");
            say_tls(&tls);
        }
        Ok(Refresh::Refused(error)) => {
            error!(%error, "new TLS material is no good: the old one stays in use");
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "a look at the files of TLS was lost"),
    }
}

/// Says whose certificate is shown, and what is to be known of it.
pub(super) fn say_tls(tls: &LiveServerTls) {
    if let Some(own) = tls.own() {
        info!(certificate = %own, "TLS is spoken");
    }
    for warning in tls.warnings().iter() {
        warn!("{warning}");
    }
}

/// Ends the access of applications whose secret was removed, until aborted.
pub(super) async fn look_for_removed_secrets(shared: Arc<Shared>) {
    let mut rounds = interval(SECRETS_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        for app in shared.applications.secrets().look_for_removed().await {
            warn!(%app, "the secret of an application was removed: its connections end");
        }
    }
}

/// Anonymous resident memory of this process (`RssAnon` of proc(5)), 0 where the kernel does not say.
pub(super) fn resident_anonymous() -> u64 {
    anonymous_memory(std::process::id()).unwrap_or(0)
}
