//! Changes whose callers were answered before they were on the disk. They are kept until they are there, in as little room
//! as what they come to.

use std::collections::{HashMap, HashSet};

use super::change::Change;

/// Most bytes that it holds: some times what a node registers.
const MOST_BYTES: usize = 64 << 20;

/// It is compacted when it has more changes than this, and then when it has doubled.
const COMPACTED_FROM: usize = 1024;

/// Changes in the order in which they came up.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    changes: Vec<Change>,
    bytes: usize,
    compacted: usize,
}

impl Backlog {
    /// Adds changes behind all others. How many found no room: they are lost.
    pub(super) fn add(&mut self, changes: Vec<Change>) -> u64 {
        self.bytes += changes.iter().map(Change::bytes).sum::<usize>();
        self.changes.extend(changes);
        if self.changes.len() <= COMPACTED_FROM.max(2 * self.compacted) && self.bytes <= MOST_BYTES {
            return 0;
        }
        self.changes = compacted(std::mem::take(&mut self.changes));
        self.bytes = self.changes.iter().map(Change::bytes).sum();
        self.compacted = self.changes.len();
        let mut lost = 0;
        while self.bytes > MOST_BYTES
            && let Some(newest) = self.changes.pop()
        {
            self.bytes -= newest.bytes();
            lost += 1;
        }
        lost
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Change> {
        std::mem::take(self).changes
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The same without what a later change makes void.
fn compacted(changes: Vec<Change>) -> Vec<Change> {
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    let mut prefixes: HashMap<usize, HashSet<Vec<u8>>> = HashMap::new();
    let mut unproven: HashSet<Vec<u8>> = HashSet::new();
    let mut kept = Vec::new();
    for change in changes.into_iter().rev() {
        let is_deleted = |name: &[u8]| {
            prefixes.iter().any(|(len, of)| name.get(..*len).is_some_and(|beginning| of.contains(beginning)))
        };
        let is_void = match &change {
            Change::Put { name, .. } | Change::Delete { name } => {
                is_deleted(name) || !names.insert(name.clone())
            }
            Change::DeleteMerge { name, .. } => is_deleted(name) || names.contains(name),
            // It is undone where it is not written.
            Change::Header { .. } => false,
            Change::DeleteUnproven { prefix } => is_deleted(prefix) || !unproven.insert(prefix.clone()),
            Change::DeleteAll { prefix } => {
                let is_void = is_deleted(prefix);
                prefixes.entry(prefix.len()).or_default().insert(prefix.clone());
                is_void
            }
        };
        if !is_void {
            kept.push(change);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use sealed_shuffle_protocol::ids::ShuffleMergeId;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let name = || prop::collection::vec(0_u8..2, 1..4);
        prop_oneof![
            6 => (name(), 0_u8..3).prop_map(|(name, value)| Change::Put { name, value: vec![value] }),
            2 => name().prop_map(|name| Change::Delete { name }),
            2 => (name(), 0_i32..3).prop_map(|(name, merge)| Change::DeleteMerge { name, merge: ShuffleMergeId(merge) }),
            1 => name().prop_map(|prefix| Change::DeleteUnproven { prefix }),
            1 => name().prop_map(|prefix| Change::DeleteAll { prefix }),
        ]
    }

    /// A value stands for its merge, and is unproven where it is 0.
    fn apply(changes: &[Change]) -> BTreeMap<Vec<u8>, u8> {
        let mut all = BTreeMap::from([(vec![0, 0], 0), (vec![1], 1), (vec![0, 1], 2)]);
        for change in changes {
            match change {
                Change::Put { name, value } => _ = all.insert(name.clone(), value[0]),
                Change::Delete { name } => _ = all.remove(name),
                Change::DeleteMerge { name, merge } => {
                    all.retain(|n, v| n != name || i32::from(*v) != merge.0)
                }
                Change::DeleteUnproven { prefix } => all.retain(|n, v| !n.starts_with(prefix) || *v != 0),
                Change::DeleteAll { prefix } => all.retain(|n, _| !n.starts_with(prefix)),
                Change::Header { .. } => {}
            }
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_left_comes_to_the_same(changes in prop::collection::vec(change(), 0..40)) {
            let expected = apply(&changes);
            prop_assert_eq!(apply(&compacted(changes)), expected);
        }
    }

    #[test]
    fn the_same_record_again_and_again_takes_the_room_of_one() {
        let mut backlog = Backlog::default();
        for n in 0..100_000_u32 {
            let name = (n % 10).to_be_bytes().to_vec();
            assert_eq!(backlog.add(vec![Change::Put { name, value: vec![0; 1000] }]), 0);
        }
        assert!(backlog.len() <= 2 * COMPACTED_FROM, "{}", backlog.len());
        let lost = (0..100_u32).map(|n| {
            let name = n.to_be_bytes().to_vec();
            backlog.add(vec![Change::Put { name, value: vec![0; 1 << 20] }])
        });
        assert!(lost.sum::<u64>() > 30);
        assert!(backlog.bytes <= MOST_BYTES);
    }
}
