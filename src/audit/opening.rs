//! Taking up the trail: its lock, its end, its key. Until then records wait.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sealed_shuffle_config::AuditConfig;
use sealed_shuffle_protocol::stored::envelope::{Context, WrappedKey};
use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane};
use thiserror::Error;
use tracing::{info, warn};

use super::Inner;
use super::line::AuditKey;
use super::queue::Batch;
use super::trail::Trail;
use super::writer::Writer;
use crate::keys::envelope::{KeyError, KeyErrorKind, KeyProvider};
use crate::private_file::make_directory;

/// Between two attempts, doubled up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Its name. Whoever writes the trail holds it.
const LOCK: &str = "audit.lock";

/// Why the trail cannot be written yet.
#[derive(Debug, Error)]
enum Fault {
    #[error("another server writes it, and drains or has the same spark.sealed.audit.dir")]
    Locked,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{0} (spark.sealed.audit.dir)")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Lost(#[from] LaneError),
}

/// Where the trail of a server is, and what seals it.
pub(super) struct Place {
    pub(super) config: AuditConfig,
    pub(super) provider: Arc<dyn KeyProvider>,
    pub(super) context: Context,
}

/// Opens the trail as soon as that can be, and has it written.
pub(super) async fn open(inner: Arc<Inner>, place: Place) {
    let (lane, mut pause, mut said) = (Lane::new(1), FIRST_PAUSE, String::new());
    loop {
        // Of a server that ends at once, too, the records are written.
        let is_last = inner.queue.is_closed();
        match begin(&lane, &place).await {
            Ok(writer) => return start(&inner, writer),
            Err(_) if is_last => {
                inner.queue.give_up(Batch::default());
                inner.ended.send_replace(true);
                return;
            }
            Err(fault) => {
                let text = fault.to_string();
                if text != said {
                    let dir = place.config.dir.display();
                    match fault {
                        Fault::Locked => info!(%dir, "the audit trail waits: {fault}"),
                        _ => warn!(%dir, "the audit trail is not written, and records wait: {fault}"),
                    }
                    said = text;
                }
                let closed = inner.closing.cancelled();
                // Either is a reason to look again.
                drop(tokio::time::timeout(pause, closed).await);
                pause = if matches!(fault, Fault::Locked) { pause } else { (pause * 2).min(LONGEST_PAUSE) };
            }
        }
    }
}

fn start(inner: &Arc<Inner>, writer: Writer) {
    let running = Arc::clone(inner);
    let work = move || {
        // A panic has been said by then.
        if catch_unwind(AssertUnwindSafe(|| writer.run(&running))).is_err() {
            running.queue.close();
            running.queue.give_up(Batch::default());
        }
        running.ended.send_replace(true);
    };
    if let Err(error) = Builder::new().name("audit".into()).spawn(work) {
        warn!(%error, "the audit trail is not written: there is no thread for it");
        inner.queue.close();
        inner.queue.give_up(Batch::default());
        inner.ended.send_replace(true);
    }
}

async fn begin(lane: &Lane, place: &Place) -> Result<Writer, Fault> {
    let dir = place.config.dir.clone();
    let looked = lane.run(move |on| {
        make_directory(on, &dir)?;
        let lock = lock(on, &dir)?;
        Ok::<_, Fault>((lock, Trail::look(on, &dir)?))
    });
    let (lock, trail) = looked.await??;
    let old = old_key(place, trail.key()).await?;
    let wraps = place.provider.wraps_with().await.ok().flatten();
    let (key, wrapped, old) = match (old, trail.key()) {
        (Some(key), Some(wrapped)) if wraps.is_none_or(|wraps| wraps == wrapped.key_id) => {
            let again = AuditKey::derive(&key);
            (key, wrapped.clone(), Some(again))
        }
        (old, _) => {
            let (key, wrapped) = place.provider.generate(&place.context).await?;
            (key, wrapped, old.map(|old| AuditKey::derive(&old)))
        }
    };
    let (config, key) = (place.config.clone(), AuditKey::derive(&key));
    let begun = lane.run(move |on| Writer::begin(on, config, (key, wrapped), old.as_ref(), &trail, lock));
    Ok(begun.await??)
}

/// The key that sealed the end of the trail; `None` where it is not to be had any more.
async fn old_key(
    place: &Place,
    wrapped: Option<&WrappedKey>,
) -> Result<Option<sealed_shuffle_protocol::stored::envelope::DataKey>, Fault> {
    let Some(wrapped) = wrapped else { return Ok(None) };
    match place.provider.unwrap(wrapped, &place.context).await {
        Ok(key) => Ok(Some(key)),
        Err(error) if matches!(error.kind(), KeyErrorKind::Unavailable | KeyErrorKind::Unauthenticated) => {
            Err(error.into())
        }
        Err(error) => {
            warn!(%error, "the key of the audit trail is not to be had any more: it goes on under another");
            Ok(None)
        }
    }
}

fn lock(_: &OnLane, dir: &Path) -> Result<File, Fault> {
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(Fault::Locked),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}
