//! Blocks that wait in memory until the writer of their partition is done.
//!
//! All of them together stay within one budget. A piece that finds no room is dropped together with its push, and the
//! push is answered as a collision. Spark's client takes that as the failure of one block. It may try again;
//! otherwise the block stays unmerged, and readers fetch the original. Closing the connection would cost all pushes
//! on it. A connection that stopped reading could wait for a writer that waits for this connection.

use std::sync::atomic::{AtomicU64, Ordering};

/// The budget of all deferred blocks, and their present memory.
#[derive(Debug)]
pub(super) struct DeferredBudget {
    limit: u64,
    bytes: AtomicU64,
    blocks: AtomicU64,
}

impl DeferredBudget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, bytes: AtomicU64::new(0), blocks: AtomicU64::new(0) }
    }

    /// Number of bytes of memory that they hold now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of pushes that hold some now.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let room = |held: u64| held.checked_add(bytes).filter(|after| *after <= self.limit);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }
}

/// The deferred pieces of one push. [`DeferredPush::clear`] must be called before it is dropped.
#[derive(Debug, Default)]
pub(super) struct DeferredPush {
    /// Charged by capacity; only the last one has room.
    pieces: Vec<Vec<u8>>,
    charged: u64,
    len: u64,
}

/// Room that is made at once for further pieces, so that a peer that sends byte by byte does not cost an allocation
/// each.
const BLOCK: usize = 64 << 10;

impl DeferredPush {
    /// Keeps a copy of `piece`; false where the budget has no room, and then nothing is kept of it.
    pub(super) fn push(&mut self, piece: &[u8], budget: &DeferredBudget) -> bool {
        if piece.is_empty() {
            return true;
        }
        let spare = self.pieces.last().map_or(0, |last| last.capacity() - last.len());
        let (fitting, rest) = piece.split_at(piece.len().min(spare));
        if !rest.is_empty() {
            let wanted = rest.len().max(BLOCK.min(usize::try_from(self.len).unwrap_or(BLOCK)));
            let mut block = Vec::new();
            block.reserve_exact(wanted);
            let cost = block.capacity() as u64;
            if !budget.take(cost) {
                return false;
            }
            if self.charged == 0 {
                budget.blocks.fetch_add(1, Ordering::Relaxed);
            }
            self.charged += cost;
            block.extend_from_slice(rest);
            if let Some(last) = self.pieces.last_mut() {
                last.extend_from_slice(fitting);
            }
            self.pieces.push(block);
        } else if let Some(last) = self.pieces.last_mut() {
            last.extend_from_slice(fitting);
        }
        self.len += piece.len() as u64;
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Vec::as_slice)
    }

    /// Drops the pieces and returns their memory to the budget. Returns how many bytes they had.
    pub(super) fn clear(&mut self, budget: &DeferredBudget) -> u64 {
        let len = self.len;
        let charged = self.charged;
        *self = Self::default();
        if charged > 0 {
            budget.bytes.fetch_sub(charged, Ordering::Relaxed);
            budget.blocks.fetch_sub(1, Ordering::Relaxed);
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_pieces_in_order_within_the_budget() {
        let budget = DeferredBudget::new(1 << 20);
        let mut deferred = DeferredPush::default();
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        for piece in bytes.chunks(37) {
            assert!(deferred.push(piece, &budget));
            assert!(budget.bytes() <= 1 << 20);
        }
        assert!(deferred.push(&[], &budget));
        assert_eq!(deferred.pieces().collect::<Vec<_>>().concat(), bytes);
        assert_eq!(budget.blocks(), 1);
        assert_eq!(deferred.clear(&budget), 200_000);
        assert_eq!((budget.bytes(), budget.blocks()), (0, 0));
    }

    #[test]
    fn a_piece_beyond_the_budget_is_not_kept() {
        let budget = DeferredBudget::new(100);
        let (mut first, mut second) = (DeferredPush::default(), DeferredPush::default());
        assert!(first.push(&[1; 60], &budget));
        assert!(!second.push(&[2; 60], &budget));
        assert_eq!(second.clear(&budget), 0);
        assert_eq!(budget.blocks(), 1);
        assert_eq!(first.clear(&budget), 60);
        assert!(second.push(&[2; 60], &budget));
        assert_eq!(second.clear(&budget), 60);
    }
}
