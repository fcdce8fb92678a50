//! What merging has of memory and places, and the share of each application.

use std::sync::atomic::{AtomicU64, Ordering};

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::pot::{Account, Pot, Tenant};

use super::settings::MergeSettings;

/// More than all disks have: what is on them is bounded by them alone.
const DISKS: u64 = i64::MAX as u64;

/// All that merging has.
#[derive(Debug)]
pub(super) struct Pots {
    /// Shuffles that are remembered.
    shuffles: Pot,
    /// Partitions that are being merged.
    partitions: Pot,
    /// Bytes of blocks that wait for another one to be merged.
    deferred: Pot,
    /// Bytes of the map indexes of open partitions.
    bitmaps: Pot,
    /// Bytes of merged blocks on the disks; none without a quota.
    merged_bytes: Option<Pot>,
    /// Pushes that hold deferred bytes.
    pub(super) deferred_blocks: AtomicU64,
}

/// The accounts of one application.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) shuffles: Account,
    pub(super) partitions: Account,
    pub(super) deferred: Account,
    pub(super) bitmaps: Account,
    /// None without a quota.
    pub(super) merged_bytes: Option<Account>,
}

impl Pots {
    pub(super) fn new(settings: &MergeSettings) -> Self {
        Self {
            shuffles: Pot::new("merge_shuffles", settings.shuffles),
            partitions: Pot::new("merge_partitions", settings.partitions),
            deferred: Pot::new("merge_deferred_bytes", settings.deferred_bytes),
            bitmaps: Pot::new("merge_bitmap_bytes", settings.bitmap_bytes),
            merged_bytes: settings
                .merged_bytes
                .map(|quota| Pot::of_turns("merged_bytes", DISKS).with_quota(Some(quota))),
            deferred_blocks: AtomicU64::new(0),
        }
    }

    pub(super) fn accounts(&self, app: &AppId) -> Accounts {
        let tenant = Tenant::App(app.clone());
        Accounts {
            shuffles: self.shuffles.account(&tenant),
            partitions: self.partitions.account(&tenant),
            deferred: self.deferred.account(&tenant),
            bitmaps: self.bitmaps.account(&tenant),
            merged_bytes: self.merged_bytes.as_ref().map(|pot| pot.account(&tenant)),
        }
    }

    pub(super) fn open_partitions(&self) -> u64 {
        self.partitions.used()
    }

    pub(super) fn deferred_bytes(&self) -> u64 {
        self.deferred.used()
    }

    pub(super) fn deferred_blocks(&self) -> u64 {
        self.deferred_blocks.load(Ordering::Relaxed)
    }

    /// Every pot.
    pub(super) fn all(&self) -> impl Iterator<Item = &Pot> {
        [&self.shuffles, &self.partitions, &self.deferred, &self.bitmaps]
            .into_iter()
            .chain(&self.merged_bytes)
    }
}
