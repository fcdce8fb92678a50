//! The session layers of one connection, innermost first.

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Layout, Segment, SessionMode};

/// The session layers of one connection.
///
/// Spark nests them: a layer that is installed later lies nearer to the socket, so [`Stack::push`] adds the outermost
/// layer. An empty stack is a clear connection.
#[derive(Default)]
pub struct Stack {
    layers: Vec<StackedLayer>,
}

/// A layer, and the bytes that it opened and the layer inside it has not taken yet.
struct StackedLayer {
    layer: Box<dyn Layer>,
    opened: BytesMut,
}

impl Stack {
    /// Installs a layer outside all others: from here on every byte passes it.
    pub fn push(&mut self, layer: Box<dyn Layer>) {
        self.layers.push(StackedLayer { layer, opened: BytesMut::new() });
    }

    /// The layout of plaintext that the innermost layer wants.
    pub fn layout(&self) -> Layout {
        self.layers.first().map_or(Layout::BARE, |inner| inner.layer.layout())
    }

    /// Most plaintext that fits into `bytes` after every layer has sealed it.
    pub fn plain_capacity(&self, bytes: usize) -> usize {
        self.layers.iter().rev().fold(bytes, |room, nested| nested.layer.layout().plain_capacity(room))
    }

    /// Whether the stack seals nothing.
    pub fn is_clear(&self) -> bool {
        self.layers.is_empty()
    }

    /// Whether every layer can seal.
    pub fn is_ready(&self) -> bool {
        self.layers.iter().all(|nested| nested.layer.is_ready())
    }

    /// Whether sealing belongs into a [`Lane`](crate::lane::Lane).
    pub fn is_slow(&self) -> bool {
        self.layers.iter().any(|nested| nested.layer.is_slow())
    }

    /// Number of buffers that a segment needs while the stack seals it. Further layers, and layers that cannot seal
    /// in place, use a second one.
    pub fn buffers(&self) -> usize {
        match self.layers.as_slice() {
            [] => 1,
            [only] if only.layer.seals_in_place() => 1,
            _ => 2,
        }
    }

    /// Closes the connection in order: every layer adds its last message to [`Stack::pending_output`].
    pub fn close(&mut self) {
        for nested in &mut self.layers {
            nested.layer.close();
        }
    }

    /// Seals the content of `segment` through every layer. One layer works in place; each further one copies once.
    pub fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        let mut layers = self.layers.iter_mut();
        let Some(innermost) = layers.next() else {
            segment.mark_sealed();
            return Ok(());
        };
        innermost.layer.seal(segment)?;
        for outer in layers {
            segment.lay_out_anew(outer.layer.layout());
            outer.layer.seal(segment)?;
        }
        Ok(())
    }

    /// Opens one piece of plaintext from the front of `input`. `None`: more ciphertext is needed.
    pub fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        let Some(outermost) = self.layers.len().checked_sub(1) else {
            return Ok(if input.is_empty() { None } else { Some(input.split()) });
        };
        self.open_at(outermost, input)
    }

    fn open_at(&mut self, depth: usize, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        if depth == 0 {
            return self.layers[0].layer.open(input);
        }
        // Inner layers take from the bytes that this one has opened; the rest is kept for the next call.
        loop {
            let mut opened = std::mem::take(&mut self.layers[depth].opened);
            let inner = self.open_at(depth - 1, &mut opened);
            self.layers[depth].opened = opened;
            if let Some(plain) = inner? {
                return Ok(Some(plain));
            }
            match self.layers[depth].layer.open(input)? {
                Some(piece) if self.layers[depth].opened.is_empty() => self.layers[depth].opened = piece,
                Some(piece) => self.layers[depth].opened.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    /// The own output of a layer, sealed by the layers outside it.
    pub fn pending_output(&mut self) -> Result<Option<Bytes>, CipherError> {
        for depth in 0..self.layers.len() {
            let Some(mut own) = self.layers[depth].layer.pending_output() else { continue };
            for outer in &mut self.layers[depth + 1..] {
                let layout = outer.layer.layout();
                let room = layout.sealed_len(own.len() as u64);
                let mut segment = Segment::with_capacity(usize::try_from(room).unwrap_or(usize::MAX));
                segment.reset(layout);
                segment.put(&own);
                outer.layer.seal(&mut segment)?;
                own = Bytes::copy_from_slice(segment.sealed());
            }
            return Ok(Some(own));
        }
        Ok(None)
    }

    /// The session's version and cipher, once a layer knows them.
    pub fn mode(&self) -> Option<SessionMode> {
        self.layers.iter().find_map(|nested| nested.layer.mode())
    }
}
