//! Fuzz input, taken from its front.

/// Bytes that decide, and then are none.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 past the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// At most so many of the next bytes.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `bytes` in pieces of 1 to 255 bytes, or whole where `size` is 0.
pub(crate) fn pieces(bytes: &[u8], size: u8) -> impl Iterator<Item = &[u8]> {
    let size = if size == 0 { usize::MAX } else { usize::from(size) };
    bytes.chunks(size.min(bytes.len().max(1)))
}

/// `bytes` with `mask` laid over their front: a mask of zeros changes nothing.
pub(crate) fn masked(bytes: &[u8], mask: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for (byte, mask) in changed.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    changed
}
