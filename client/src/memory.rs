//! Blocks kept in memory, within two bounds: of one block, and of all that wait to be taken.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::shuffle::BlockId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fetch::Keeper;
use super::{ClientError, Settings};

/// Keeps blocks in memory.
pub(super) struct Memory {
    /// The largest block.
    limit: u64,
    /// Bytes, in KiB, that may wait; a larger block takes all of it.
    waiting: Arc<Semaphore>,
    waiting_kib: u32,
}

/// A block that is arriving.
pub(super) struct PartialBlock {
    len: usize,
    share: OwnedSemaphorePermit,
    first: Bytes,
    rest: BytesMut,
}

impl Memory {
    pub(super) fn new(settings: &Settings) -> Self {
        let kib = (settings.max_size_in_flight >> 10).clamp(1, 1 << 28);
        let waiting_kib = u32::try_from(kib).unwrap_or(1 << 28);
        let waiting = Arc::new(Semaphore::new(waiting_kib as usize));
        Self { limit: settings.max_fetch_to_memory, waiting, waiting_kib }
    }
}

impl Keeper for Memory {
    type Place = PartialBlock;
    type Delivery = Bytes;

    async fn begin(&self, _block: &BlockId, len: u64) -> Result<PartialBlock, ClientError> {
        let too_large = ClientError::TooLargeForMemory { len, limit: self.limit };
        let Some(whole) = usize::try_from(len).ok().filter(|_| len <= self.limit) else {
            return Err(too_large);
        };
        let kib = u32::try_from(len.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.waiting_kib);
        let share = Arc::clone(&self.waiting).acquire_many_owned(kib).await;
        let share = share.expect("the semaphore is never closed");
        Ok(PartialBlock { len: whole, share, first: Bytes::new(), rest: BytesMut::new() })
    }

    /// A block that arrives in one piece is not copied.
    async fn add(&self, place: &mut PartialBlock, bytes: Bytes) -> Result<(), ClientError> {
        if place.first.is_empty() && place.rest.is_empty() {
            place.first = bytes;
            return Ok(());
        }
        if place.rest.is_empty() {
            place.rest.reserve(place.len);
            place.rest.extend_from_slice(&std::mem::take(&mut place.first));
        }
        place.rest.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(
        &self,
        place: PartialBlock,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ClientError> {
        let bytes = if place.rest.is_empty() { place.first } else { place.rest.freeze() };
        debug_assert_eq!(bytes.len(), place.len, "the engine counts the bytes of a body");
        Ok((bytes, Some(place.share)))
    }
}
