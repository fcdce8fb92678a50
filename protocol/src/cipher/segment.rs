//! The buffer that content is read into, sealed in and written from, without moving a byte.
//!
//! A cipher needs room around the plaintext: once in front of a message, and behind every unit of it. The
//! [`Layout`] says how much, and the [`Segment`] leaves that room while it is filled:
//!
//! ```text
//! filling   [ head  | plaintext unit 0 | tail | plaintext unit 1 | tail | … ]
//! sealed    [ head  | ciphertext 0     | tag  | ciphertext 1     | tag  ]     one contiguous slice
//! ```
//!
//! Order of calls: [`Segment::reset`], then [`Segment::put`] or [`Segment::spare`] with
//! [`Segment::advance`] until full or done, [`Layer::seal`](super::Layer::seal), [`Segment::sealed`],
//! and from the start. The memory is allocated once and initialised once.
//!
//! Not every cipher keeps to the layout to the byte: the last unit of a message may need less room than the
//! layout left ([`Segment::mark_sealed_short`]), and one that cannot seal where the plaintext lies writes into a
//! second buffer of the segment ([`Segment::seal_elsewhere`]).
//!
//! Invariant: everything that [`Segment::sealed`] returns has passed a layer.

/// Room that a layer needs around plaintext.
///
/// Plaintext byte `p` lies at `head + p + tail * (p / unit)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Bytes once, in front of the message.
    pub head: usize,
    /// Plaintext bytes of a unit, at least 1; `usize::MAX` where units do not exist.
    pub unit: usize,
    /// Bytes behind each unit, the last and shorter one included.
    pub tail: usize,
}

impl Layout {
    /// No room at all: the sealed bytes lie where the plaintext lay.
    pub const BARE: Self = Self { head: 0, unit: usize::MAX, tail: 0 };

    /// Bytes that `plain` bytes take when sealed as one message. Nothing stays nothing.
    pub fn sealed_len(&self, plain: u64) -> u64 {
        if plain == 0 {
            return 0;
        }
        let wide = |n: usize| u64::try_from(n).expect("usize has at most 64 bits");
        let units = plain.div_ceil(wide(self.unit));
        units.saturating_mul(wide(self.tail)).saturating_add(plain).saturating_add(wide(self.head))
    }

    /// The most plaintext that fits `bytes` when sealed as one message.
    pub fn plain_capacity(&self, bytes: usize) -> usize {
        let room = bytes.saturating_sub(self.head);
        let stride = self.unit.saturating_add(self.tail);
        let whole = room / stride;
        whole * self.unit + (room % stride).saturating_sub(self.tail)
    }

    /// Where plaintext byte `p` lies.
    fn position(&self, p: usize) -> usize {
        self.head + p + self.tail * (p / self.unit)
    }
}

/// A reusable buffer: plaintext in, one sealed message out.
///
/// It keeps old content between uses; it is handed only what a layer sealed.
pub struct Segment {
    memory: Box<[u8]>,
    /// Where layers write that cannot seal in place; allocated when the first of them comes.
    other: Box<[u8]>,
    layout: Layout,
    plain: usize,
    /// Bytes of the message, once sealed.
    sealed: Option<usize>,
}

impl Segment {
    /// Allocates `bytes`, room for heads and tails included.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            memory: vec![0; bytes].into(),
            other: Box::default(),
            layout: Layout::BARE,
            plain: 0,
            sealed: None,
        }
    }

    /// Empties the segment and lays it out anew.
    pub fn reset(&mut self, layout: Layout) {
        debug_assert!(layout.unit > 0, "a unit holds at least one byte");
        self.layout = layout;
        self.plain = 0;
        self.sealed = None;
    }

    /// Plaintext bytes that still fit; none once sealed.
    pub fn remaining(&self) -> usize {
        if self.is_sealed() {
            return 0;
        }
        self.layout.plain_capacity(self.memory.len()) - self.plain
    }

    /// Copies as much of `content` as fits and says how much that was.
    pub fn put(&mut self, content: &[u8]) -> usize {
        let mut rest = content;
        for piece in self.spare(content.len()) {
            let (now, later) = rest.split_at(piece.len());
            piece.copy_from_slice(now);
            rest = later;
        }
        let taken = content.len() - rest.len();
        self.advance(taken);
        taken
    }

    /// The next free places for plaintext, `max` bytes at most, split where units end: the targets of a
    /// scattered read. Written bytes count after [`Segment::advance`].
    pub fn spare(&mut self, max: usize) -> Spare<'_> {
        let left = self.remaining().min(max);
        let Layout { unit, tail, .. } = self.layout;
        let start = if left == 0 { 0 } else { self.layout.position(self.plain) };
        Spare { rest: &mut self.memory[start..], left, room: unit - self.plain % unit, unit, tail }
    }

    /// Takes in the first `written` bytes of what [`Segment::spare`] offered.
    ///
    /// # Panics
    ///
    /// When that is more than fits: old content of the buffer would be sealed and sent.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.remaining(), "advanced past what the segment offers");
        self.plain += written;
    }

    /// Plaintext bytes held.
    pub fn len(&self) -> usize {
        self.plain
    }

    /// Whether there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        self.plain == 0
    }

    /// How the segment is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The bytes for the peer: the whole message, contiguous; empty as long as no layer has sealed it.
    pub fn sealed(&self) -> &[u8] {
        self.sealed.map_or(&[], |len| &self.memory[..len])
    }

    /// Whether a layer has sealed it.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// For layers: the head and the units, to be sealed in place.
    pub fn parts(&mut self) -> Parts<'_> {
        let end = self.sealed_len();
        let Layout { head, unit, tail } = self.layout;
        let (head, rest) = self.memory[..end].split_at_mut(head.min(end));
        Parts { head, units: Units { rest, plain_left: self.plain, unit, tail } }
    }

    /// For layers that run over the borders between units: head, units and tails as one slice, and how many bytes
    /// of plaintext lie in it, each where the layout has it.
    pub fn whole(&mut self) -> (&mut [u8], usize) {
        let end = self.sealed_len();
        (&mut self.memory[..end], self.plain)
    }

    /// For layers: the content is sealed, all of it.
    pub fn mark_sealed(&mut self) {
        self.sealed = Some(self.sealed_len());
    }

    /// For layers whose last unit took less room than the layout left: the message has `len` bytes.
    ///
    /// # Panics
    ///
    /// When that is more than the layout has: old content of the buffer would be sent.
    pub fn mark_sealed_short(&mut self, len: usize) {
        assert!(len <= self.sealed_len(), "sealed past what the segment was laid out for");
        self.sealed = Some(len);
    }

    /// For layers that cannot seal in place: `seal` reads the units and writes the message to the front of a buffer as
    /// large as the segment, and says how long it is. On an error the segment stays as it was.
    pub fn seal_elsewhere<E>(
        &mut self,
        seal: impl FnOnce(Units<'_>, &mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let mut other = std::mem::take(&mut self.other);
        if other.len() < self.memory.len() {
            other = vec![0; self.memory.len()].into();
        }
        let sealed = seal(self.parts().units, &mut other);
        self.other = other;
        let len = sealed?;
        assert!(len <= self.other.len(), "a layer cannot have written more than there is room for");
        std::mem::swap(&mut self.memory, &mut self.other);
        self.sealed = Some(len);
        Ok(())
    }

    /// Gives the second buffer back, where there is one.
    pub fn drop_second_buffer(&mut self) {
        self.other = Box::default();
    }

    /// For the layer outside the one that has just sealed: its message becomes the plaintext of a new layout.
    ///
    /// # Panics
    ///
    /// When it does not fit: [`Layout::plain_capacity`] of every layer must have been left.
    pub fn lay_out_anew(&mut self, layout: Layout) {
        let len = self.sealed().len();
        if self.other.len() < self.memory.len() {
            self.other = vec![0; self.memory.len()].into();
        }
        std::mem::swap(&mut self.memory, &mut self.other);
        self.reset(layout);
        let content = std::mem::take(&mut self.other);
        let taken = self.put(&content[..len]);
        self.other = content;
        assert_eq!(taken, len, "room is left for every layer");
    }

    /// Bytes that the content takes in its layout: first of the head to last of the last tail.
    pub fn sealed_len(&self) -> usize {
        match self.plain {
            0 => 0,
            plain => self.layout.position(plain - 1) + 1 + self.layout.tail,
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("capacity", &self.memory.len())
            .field("layout", &self.layout)
            .field("plain", &self.plain)
            .field("sealed", &self.sealed)
            .finish()
    }
}

/// Free places of a segment, in order; see [`Segment::spare`].
#[derive(Debug)]
pub struct Spare<'a> {
    rest: &'a mut [u8],
    left: usize,
    room: usize,
    unit: usize,
    tail: usize,
}

impl<'a> Iterator for Spare<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let take = self.left.min(self.room);
        let (piece, rest) = std::mem::take(&mut self.rest).split_at_mut(take);
        self.left -= take;
        self.room = self.unit;
        if self.left > 0 {
            self.rest = &mut rest[self.tail..];
        }
        Some(piece)
    }
}

/// A filled segment, taken apart; see [`Segment::parts`].
#[derive(Debug)]
pub struct Parts<'a> {
    /// The room in front; empty when the segment is.
    pub head: &'a mut [u8],
    /// The units, in order.
    pub units: Units<'a>,
}

/// The units of a filled segment, in order.
#[derive(Debug)]
pub struct Units<'a> {
    rest: &'a mut [u8],
    plain_left: usize,
    unit: usize,
    tail: usize,
}

/// Plaintext of a unit and the room behind it.
#[derive(Debug)]
pub struct Unit<'a> {
    /// The plaintext.
    pub plain: &'a mut [u8],
    /// The room behind it.
    pub tail: &'a mut [u8],
    /// Whether no unit follows.
    pub is_last: bool,
}

impl<'a> Iterator for Units<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.plain_left == 0 {
            return None;
        }
        let take = self.plain_left.min(self.unit);
        let (plain, rest) = std::mem::take(&mut self.rest).split_at_mut(take);
        let (tail, rest) = rest.split_at_mut(self.tail);
        self.rest = rest;
        self.plain_left -= take;
        Some(Unit { plain, tail, is_last: self.plain_left == 0 })
    }
}
