//! Blocks that wait in memory until the writer of their partition is done.
//!
//! All of them together stay within one budget, of which each application has a share. A piece that finds no room is dropped together with its push, and the
//! push is answered as a collision. Spark's client takes that as the failure of one block. It may try again;
//! otherwise the block stays unmerged, and readers fetch the original. Closing the connection would cost all pushes
//! on it. A connection that stopped reading could wait for a writer that waits for this connection.

use std::sync::atomic::{AtomicU64, Ordering};

use sealed_shuffle_transport::pot::{Account, Holding};

/// The deferred pieces of one push. [`DeferredPush::clear`] must be called before it is dropped.
#[derive(Debug, Default)]
pub(super) struct DeferredPush {
    /// Charged by capacity; only the last one has room.
    pieces: Vec<Vec<u8>>,
    charged: Vec<Holding>,
    len: u64,
}

/// Room that is made at once for further pieces, so that a peer that sends byte by byte does not cost an allocation
/// each.
const BLOCK: usize = 64 << 10;

impl DeferredPush {
    /// Keeps a copy of `piece`; false where the application's share is used up, and then nothing is kept of it. `blocks`
    /// counts the pushes that hold something.
    pub(super) fn push(&mut self, piece: &[u8], account: &Account, blocks: &AtomicU64) -> bool {
        if piece.is_empty() {
            return true;
        }
        let spare = self.pieces.last().map_or(0, |last| last.capacity() - last.len());
        let (fitting, rest) = piece.split_at(piece.len().min(spare));
        if !rest.is_empty() {
            let wanted = rest.len().max(BLOCK.min(usize::try_from(self.len).unwrap_or(BLOCK)));
            let mut block = Vec::new();
            block.reserve_exact(wanted);
            let Ok(share) = account.try_take(block.capacity() as u64) else { return false };
            if self.charged.is_empty() {
                blocks.fetch_add(1, Ordering::Relaxed);
            }
            self.charged.push(share);
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

    /// Drops the pieces and gives their memory back. Returns how many bytes they had.
    pub(super) fn clear(&mut self, blocks: &AtomicU64) -> u64 {
        let Self { len, charged, .. } = std::mem::take(self);
        if !charged.is_empty() {
            blocks.fetch_sub(1, Ordering::Relaxed);
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_transport::pot::{Pot, Tenant};

    use super::*;

    #[test]
    fn keeps_pieces_in_order_within_the_budget() {
        let (pot, blocks) = (Pot::new("test", 1 << 20), AtomicU64::new(0));
        let account = pot.account(&Tenant::Own);
        let mut deferred = DeferredPush::default();
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        for piece in bytes.chunks(37) {
            assert!(deferred.push(piece, &account, &blocks));
        }
        assert!(deferred.push(&[], &account, &blocks));
        assert_eq!(deferred.pieces().collect::<Vec<_>>().concat(), bytes);
        assert!((200_000..300_000).contains(&pot.used()), "{}", pot.used());
        assert_eq!(blocks.load(Ordering::Relaxed), 1);
        assert_eq!(deferred.clear(&blocks), 200_000);
        assert_eq!((pot.used(), blocks.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_piece_beyond_the_share_is_not_kept() {
        let (pot, blocks) = (Pot::new("test", 100), AtomicU64::new(0));
        let account = pot.account(&Tenant::Own);
        let (mut first, mut second) = (DeferredPush::default(), DeferredPush::default());
        assert!(first.push(&[1; 60], &account, &blocks));
        assert!(!second.push(&[2; 60], &account, &blocks));
        assert_eq!(second.clear(&blocks), 0);
        assert_eq!(blocks.load(Ordering::Relaxed), 1);
        assert_eq!(first.clear(&blocks), 60);
        assert!(second.push(&[2; 60], &account, &blocks));
        assert_eq!(second.clear(&blocks), 60);
    }
}
