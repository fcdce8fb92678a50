//! What happens now and then: applications that are over end, files that nobody reads or that were deleted are closed,
//! unused segments are given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::tls::{LiveServerTls, Refresh};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::{Shared, merging};
use crate::disk::Disk;

/// Between two rounds. A deleted file pins its disk space at most this long.
const ROUND: Duration = Duration::from_secs(5);

/// Between two looks at who holds memory that others wait for.
const SHARES_ROUND: Duration = Duration::from_secs(1);

/// Between two looks at the secrets of connected applications.
const SECRETS_ROUND: Duration = Duration::from_secs(1);

/// Rounds without a transfer after which unused segments are given back.
const QUIET_ROUNDS: u32 = 6;

/// Rounds without a read after which a merged partition is closed.
const READERS_ROUNDS: u64 = 12;

/// Keeps house until dropped: one round for the server, and one for each disk, so that a disk that hangs holds up its own
/// alone.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut disks = JoinSet::new();
    for disk in 0..shared.store.roots().disks().len() {
        disks.spawn(look_after_disk(Arc::clone(&shared), disk));
    }
    tokio::join!(look_after_applications(Arc::clone(&shared)), look_after_shares(&shared));
}

/// Takes memory away from connections that hold it and move nothing while others wait, and says what holds nobody up any
/// more.
async fn look_after_shares(shared: &Shared) {
    let mut rounds = rounds(SHARES_ROUND);
    loop {
        let now = rounds.tick().await.into_std();
        let evicted: usize = shared.pots().map(|pot| pot.look(now, shared.min_rate)).sum();
        if evicted > 0 {
            warn!(
                connections = evicted,
                "connections that hold memory and hardly move lose it: others wait for it"
            );
        }
    }
}

/// Closes files of a disk, and looks whether it is still the one that was opened at start.
async fn look_after_disk(shared: Arc<Shared>, disk: usize) {
    let mut rounds = rounds(ROUND);
    let mut replaced_said = false;
    loop {
        rounds.tick().await;
        let Some(lane) = shared.store.roots().disks().get(disk).map(Disk::lane) else { return };
        let work = {
            let shared = Arc::clone(&shared);
            move |on: &OnLane| {
                close_files(on, &shared, disk, Instant::now());
                shared.store.roots().disks().get(disk).is_some_and(|disk| disk.is_replaced(on))
            }
        };
        match lane.run(work).await {
            Ok(true) if !replaced_said => {
                replaced_said = true;
                say_replaced(&shared, disk);
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "a sweep of a disk was lost"),
        }
    }
}

/// Closes files of a disk that nobody reads or that were deleted.
pub(super) fn close_files(on: &OnLane, shared: &Shared, disk: usize, now: Instant) {
    shared.store.close_files(on, disk, now);
    shared.merger.as_ref().inspect(|merger| merger.close_files(on, disk, now));
}

fn say_replaced(shared: &Shared, disk: usize) {
    let applications = shared.store.executors().on_disk(disk);
    if let Some(disk) = shared.store.roots().disks().get(disk) {
        let root = disk.path().display();
        error!(%root, applications, "a root is not the directory that was opened at start: restart to serve files there");
    }
}

/// Ends applications that are over, and gives memory back.
async fn look_after_applications(shared: Arc<Shared>) {
    let mut rounds = rounds(ROUND);
    let mut quiet = 0;
    let mut round = 0_u64;
    loop {
        rounds.tick().await;
        renew_tls(&shared).await;
        let sweep = {
            let shared = Arc::clone(&shared);
            move |on: &OnLane| shared.applications.sweep(on, Instant::now())
        };
        if let Err(error) = shared.store.roots().across().run(sweep).await {
            warn!(%error, "a sweep was lost");
        }
        merging::clean_up_again(&shared);
        shared.repeats.sum_up(false);
        round += 1;
        if let Some(merger) = &shared.merger {
            merger.sweep_keys();
            if round.is_multiple_of(READERS_ROUNDS) {
                merger.sweep_readers();
            }
        }
        quiet = if shared.pool.budget().in_use() == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET_ROUNDS {
            shared.pool.trim();
        }
    }
}

/// A clock that strikes now, and then every `period`; what was missed is not made up for.
fn rounds(period: Duration) -> Interval {
    let mut rounds = interval(period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
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
    let mut rounds = rounds(SECRETS_ROUND);
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
