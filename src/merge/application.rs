//! One attempt of an application, and its shuffles.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::Holding;

use super::dirs::MergeDirs;
use super::merged_bytes::MergedBytes;
use super::names::{PartitionId, is_file_of, merged_partition};
use super::owner::Owner;
use super::partition::Partition;
use super::shares::Accounts;
use super::storage::AppStore;
use crate::disk::Roots;

/// One attempt of an application.
#[derive(Debug)]
pub(super) struct App {
    pub(super) id: AppId,
    pub(super) attempt: i32,
    pub(super) dirs: Arc<MergeDirs>,
    pub(super) files: Arc<dyn AppStore>,
    pub(super) accounts: Accounts,
    /// What of its quota is on the disks.
    pub(super) merged_bytes: MergedBytes,
    /// Tells it from all others, of other attempts or before the application ended and came again.
    pub(super) life: u64,
    shuffles: Mutex<HashMap<ShuffleId, Shuffle>>,
    /// Another attempt took its place, or it was forgotten: nothing more is made for it.
    pub(super) is_over: AtomicBool,
    /// All of its directories lie beneath a root.
    pub(super) is_whole: bool,
    /// Who may read what it merged through the view.
    pub(super) owner: Owner,
}

/// The newest merge of a shuffle.
#[derive(Debug)]
pub(super) struct Shuffle {
    /// Its place among the shuffles that are remembered.
    place: Arc<Holding>,
    pub(super) merge: ShuffleMergeId,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Open(HashMap<ReduceId, Arc<Partition>>),
    /// The partitions that may have files.
    Finalized(Vec<ReduceId>),
}

impl Shuffle {
    pub(super) fn open(place: Holding, merge: ShuffleMergeId) -> Self {
        Self { place: Arc::new(place), merge, phase: Phase::Open(HashMap::new()) }
    }

    pub(super) fn finalized(place: Holding, merge: ShuffleMergeId) -> Self {
        Self { place: Arc::new(place), merge, phase: Phase::Finalized(Vec::new()) }
    }

    /// Begins a newer merge; what was there.
    pub(super) fn begin(&mut self, merge: ShuffleMergeId) -> Self {
        self.replace(merge, Phase::Open(HashMap::new()))
    }

    /// Ends this merge, or a newer one; what was there.
    pub(super) fn finalize(&mut self, merge: ShuffleMergeId) -> Self {
        self.replace(merge, Phase::Finalized(Vec::new()))
    }

    /// Ends this merge; its files stay. The partitions that were open.
    pub(super) fn end(&mut self) -> HashMap<ReduceId, Arc<Partition>> {
        match &mut self.phase {
            Phase::Open(partitions) => {
                let partitions = std::mem::take(partitions);
                self.phase = Phase::Finalized(partitions.keys().copied().collect());
                partitions
            }
            Phase::Finalized(_) => HashMap::new(),
        }
    }

    fn replace(&mut self, merge: ShuffleMergeId, phase: Phase) -> Self {
        std::mem::replace(self, Self { place: Arc::clone(&self.place), merge, phase })
    }

    /// The partitions that are being merged.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        let open = match &self.phase {
            Phase::Open(partitions) => Some(partitions.values()),
            Phase::Finalized(_) => None,
        };
        open.into_iter().flatten()
    }
}

impl App {
    pub(super) fn new(
        id: &AppId,
        attempt: i32,
        life: u64,
        dirs: Arc<MergeDirs>,
        files: Arc<dyn AppStore>,
        accounts: Accounts,
    ) -> Self {
        Self {
            id: id.clone(),
            attempt,
            life,
            dirs,
            files,
            accounts,
            merged_bytes: MergedBytes::default(),
            shuffles: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_whole: true,
            owner: Owner::default(),
        }
    }

    /// Counts merged files that an earlier server has left. What cannot be looked at is not counted.
    pub(super) fn weigh_what_is_there(&self, on: &OnLane, roots: &Roots) {
        let Some(account) = &self.accounts.merged_bytes else { return };
        let app = self.id.clone();
        let data = move |name: &str| is_file_of(&app, name) && name.ends_with(".data");
        for dir in self.dirs.dirs() {
            for (name, bytes) in roots.weigh(on, dir, data.clone()).unwrap_or_default() {
                if let Some(MergedPartition { shuffle, merge, .. }) = merged_partition(&self.id, &name) {
                    self.merged_bytes.add(shuffle, merge, account.hold(bytes));
                }
            }
        }
    }

    pub(super) fn shuffles(&self) -> MutexGuard<'_, HashMap<ShuffleId, Shuffle>> {
        self.shuffles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition_id(
        &self,
        shuffle: ShuffleId,
        merge: ShuffleMergeId,
        reduce: ReduceId,
    ) -> PartitionId {
        PartitionId { app: self.id.clone(), merged: MergedPartition { shuffle, merge, reduce } }
    }
}
