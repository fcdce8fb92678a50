//! The user that may read what an attempt of an application has merged.

use std::sync::OnceLock;

use sealed_shuffle_transport::lane::OnLane;

use super::dirs::MergeDirs;
use crate::disk::Roots;

/// The user that merge directories belong to, once somebody has looked.
#[derive(Debug, Default)]
pub(super) struct Owner(OnceLock<u32>);

impl Owner {
    /// The executor made the directories before it registered.
    pub(super) fn of(&self, on: &OnLane, dirs: &MergeDirs, roots: &Roots) -> Option<u32> {
        if let Some(known) = self.0.get() {
            return Some(*known);
        }
        let mut owners = dirs.dirs().iter().map(|dir| roots.owner(on, dir));
        let first = owners.next()??;
        let is_one = owners.all(|other| other == Some(first));
        // Where a disk does not answer now, it is looked at again.
        is_one.then(|| *self.0.get_or_init(|| first))
    }

    pub(super) fn known(&self) -> Option<u32> {
        self.0.get().copied()
    }
}
