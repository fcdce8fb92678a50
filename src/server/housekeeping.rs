//! What happens now and then: applications that are over end, files that nobody reads or that were deleted are closed,
//! unused segments are given back.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_transport::lane::{LaneError, OnLane};
use sealed_shuffle_transport::tls::{LiveServerTls, Refresh};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::certificate_age::CertificateAge;
use super::{Shared, merging, recovery};
use crate::disk::{Condition, Disk, Health, Watch};

/// Between two rounds. A deleted file pins its disk space at most this long.
const ROUND: Duration = Duration::from_secs(5);

/// Between two looks at how a disk is.
const DISK_ROUND: Duration = Duration::from_secs(1);

/// The same, besides, while it cannot be used.
const DOWN_ROUND: Duration = Duration::from_secs(1);

/// Between two looks at who holds memory that others wait for.
const SHARES_ROUND: Duration = Duration::from_secs(1);

/// Between two looks at the secrets of connected applications.
const SECRETS_ROUND: Duration = Duration::from_secs(1);

/// One look takes no longer: the disk of the secrets does not answer.
const SECRETS_PATIENCE: Duration = Duration::from_secs(30);

/// Rounds without a transfer after which unused segments are given back.
const QUIET_ROUNDS: u32 = 6;

/// Rounds without a read after which a merged partition is closed.
const READERS_ROUNDS: u64 = 12;

/// Rounds between two writings of who speaks how.
const SIGHTINGS_ROUNDS: u64 = 12;

/// Keeps house until dropped: one round for the server, and one for each disk, so that a disk that hangs holds up its own
/// alone.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut disks = JoinSet::new();
    for disk in 0..shared.store.roots().disks().len() {
        disks.spawn(look_after_disk(Arc::clone(&shared), disk));
    }
    let rounds_of_disks = async {
        while let Some(ended) = disks.join_next().await {
            // A round that panicked is ours to report.
            if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
                resume_unwind(panic);
            }
        }
    };
    let remains = Arc::clone(&shared.remains).run();
    tokio::join!(
        look_after_applications(Arc::clone(&shared)),
        look_after_shares(&shared),
        rounds_of_disks,
        remains
    );
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

/// Looks how a disk is, and closes its files.
async fn look_after_disk(shared: Arc<Shared>, disk: usize) {
    tokio::join!(watch_disk(&shared, disk), close_files_of(&shared, disk));
}

/// Looks how a disk is, and says what has changed.
async fn watch_disk(shared: &Shared, number: usize) {
    let mut rounds = rounds(DISK_ROUND);
    let Some(disk) = shared.store.roots().disks().get(number) else { return };
    // Where all is well there is nothing to say at start.
    let at_start = disk.condition();
    if at_start.health != Health::Ok {
        say_condition(shared, number, disk, &at_start);
    }
    loop {
        rounds.tick().await;
        let Watch { change, taken_up } = disk.watch().await;
        if taken_up {
            info!(root = %disk.path().display(), "a root was taken up: what lies there is served");
        }
        if let Some((_, condition)) = change {
            say_condition(shared, number, disk, &condition);
        }
        if !disk.health().serves() {
            // Looks that hang are threads that hang.
            tokio::time::sleep(DOWN_ROUND).await;
        }
    }
}

/// Closes files of a disk that nobody reads or that were deleted.
async fn close_files_of(shared: &Arc<Shared>, disk: usize) {
    let mut rounds = rounds(ROUND);
    loop {
        rounds.tick().await;
        let Some(lane) = shared.store.roots().lane(disk) else { return };
        let work = {
            let shared = Arc::clone(shared);
            move |on: &OnLane| close_files(on, &shared, disk, Instant::now())
        };
        match lane.run(work).await {
            Ok(()) | Err(LaneError::Shut { .. }) => {}
            Err(error) => warn!(%error, "a sweep of a disk was lost"),
        }
    }
}

/// Closes files of a disk that nobody reads or that were deleted.
pub(super) fn close_files(on: &OnLane, shared: &Shared, disk: usize, now: Instant) {
    shared.store.close_files(on, disk, now);
    shared.merger.as_ref().inspect(|merger| merger.close_files(on, disk, now));
}

/// Says how a disk is, and what to do.
fn say_condition(shared: &Shared, number: usize, disk: &Disk, condition: &Condition) {
    let Condition { health, why } = condition;
    let (root, remedy) = (disk.path().display(), health.remedy());
    match health {
        Health::Ok => info!(%root, "disk is ok"),
        Health::Slow => info!(%root, "disk is {health} ({why}): {remedy}"),
        Health::Full | Health::ReadOnly => warn!(%root, "disk is {health} ({why}): {remedy}"),
        Health::Hung | Health::Failed | Health::Missing => {
            let applications = shared.store.executors().on_disk(number);
            error!(%root, applications, "disk is {health} ({why}): {remedy}");
        }
    }
}

/// Ends applications that are over, and gives memory back.
async fn look_after_applications(shared: Arc<Shared>) {
    let mut rounds = rounds(ROUND);
    let mut quiet = 0;
    let mut round = 0_u64;
    let mut certificate = CertificateAge::default();
    loop {
        rounds.tick().await;
        renew_tls(&shared).await;
        if let Some(own) = shared.tls().and_then(|tls| tls.own()) {
            certificate.look(&own, SystemTime::now());
        }
        let sweep = {
            let shared = Arc::clone(&shared);
            move |on: &OnLane| shared.applications.sweep(on, Instant::now())
        };
        if let Err(error) = shared.store.roots().across().run(sweep).await {
            warn!(%error, "a sweep was lost");
        }
        merging::clean_up_again(&shared);
        shared.repeats.sum_up(false);
        shared.audit.sum_up(false);
        round += 1;
        if let Some(merger) = &shared.merger {
            merger.sweep_keys();
            if round.is_multiple_of(READERS_ROUNDS) {
                merger.sweep_readers();
            }
        }
        if round.is_multiple_of(SIGHTINGS_ROUNDS) {
            recovery::keep_sightings(&shared).await;
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
        let look = shared.applications.secrets().look_for_removed();
        let removed = tokio::time::timeout(SECRETS_PATIENCE, look).await;
        for app in removed.unwrap_or_default() {
            warn!(%app, "the secret of an application was removed: its connections end");
        }
    }
}

/// Anonymous resident memory of this process (`RssAnon` of proc(5)), 0 where the kernel does not say.
pub(super) fn resident_anonymous() -> u64 {
    anonymous_memory(std::process::id()).unwrap_or(0)
}
