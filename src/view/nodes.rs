//! The numbers that the kernel knows names by.

use std::collections::HashMap;

use super::names::Entry;

/// The number of the root (FUSE_ROOT_ID of linux/fuse.h).
pub(super) const ROOT: u64 = 1;

/// Most names that the kernel remembers at once; each takes some 200 bytes here, and several times that in the kernel, which
/// forgets them where it needs the memory.
const MOST: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Nodes {
    by_number: HashMap<u64, Node>,
    by_entry: HashMap<Entry, u64>,
    next: u64,
}

#[derive(Debug)]
struct Node {
    entry: Entry,
    /// Answers with this number that the kernel has not taken back.
    told: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { by_number: HashMap::new(), by_entry: HashMap::new(), next: ROOT + 1 }
    }
}

impl Nodes {
    /// The entry of a number that the kernel was told.
    pub(super) fn entry(&self, number: u64) -> Option<Entry> {
        match number {
            ROOT => Some(Entry::Root),
            number => self.by_number.get(&number).map(|node| node.entry.clone()),
        }
    }

    /// The number of an entry, which the kernel is told now. `None` where it remembers too many already.
    pub(super) fn tell(&mut self, entry: &Entry) -> Option<u64> {
        if let Some(number) = self.by_entry.get(entry) {
            if let Some(node) = self.by_number.get_mut(number) {
                node.told += 1;
            }
            return Some(*number);
        }
        if self.by_number.len() >= MOST {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, Node { entry: entry.clone(), told: 1 });
        self.by_entry.insert(entry.clone(), number);
        Some(number)
    }

    /// The kernel forgets so many answers.
    pub(super) fn forget(&mut self, number: u64, answers: u64) {
        let Some(node) = self.by_number.get_mut(&number) else { return };
        node.told = node.told.saturating_sub(answers);
        if node.told == 0
            && let Some(node) = self.by_number.remove(&number)
        {
            self.by_entry.remove(&node.entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_stays_as_long_as_the_kernel_knows_it() {
        let mut nodes = Nodes::default();
        let entry = Entry::Root.child("app.1", 0).unwrap();
        let number = nodes.tell(&entry).unwrap();
        assert_eq!(nodes.tell(&entry), Some(number));
        nodes.forget(number, 1);
        assert_eq!(nodes.entry(number), Some(entry.clone()));
        nodes.forget(number, 1);
        assert_eq!(nodes.entry(number), None);
        assert_ne!(nodes.tell(&entry), Some(number), "a number is never used twice");
    }
}
