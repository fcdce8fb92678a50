//! Buffers for reading bulk, a few for each thread.
//!
//! A read goes into the buffer that was given back last, by any connection: its memory still lies in the cache of the
//! processor. An idle connection holds none. Before the next read, the bytes are copied or deciphered out of the
//! buffer. A buffer is not kept if somebody still holds a piece of it. [`super::drive()`] is the caller.

use std::cell::RefCell;

use bytes::BytesMut;

/// Number of bytes that are read at once.
const SIZE: usize = 256 << 10;

/// Most unused buffers of a thread.
const KEEP: usize = 2;

thread_local! {
    static UNUSED: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`SIZE`] bytes.
pub(super) fn take() -> BytesMut {
    UNUSED.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Makes room for a read that is large enough, behind the bytes that `buffer` holds.
pub(super) fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < SIZE / 4 {
        buffer.reserve(SIZE);
    }
}

/// Takes a buffer back, if nobody else holds a piece of it.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(SIZE) {
        return;
    }
    UNUSED.with_borrow_mut(|unused| {
        if unused.len() < KEEP {
            unused.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of a buffer's memory.
    fn place(buffer: &BytesMut) -> *const u8 {
        buffer.as_ptr()
    }

    #[test]
    fn the_last_buffer_given_back_is_the_next() {
        let mut first = take();
        let memory = place(&first);
        first.extend_from_slice(b"read");
        drop(first.split());
        give_back(first);
        let again = take();
        assert_eq!((place(&again), again.len()), (memory, 0));
        assert!(again.capacity() >= SIZE);
    }

    #[test]
    fn memory_that_somebody_holds_is_not_used_again() {
        let mut buffer = take();
        buffer.extend_from_slice(b"held");
        let held = buffer.split().freeze();
        give_back(buffer);
        let mut next = take();
        next.extend_from_slice(b"else");
        assert_eq!(held, b"held"[..]);
        assert_ne!(place(&next), held.as_ptr());
    }
}
