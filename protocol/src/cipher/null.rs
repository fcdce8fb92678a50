//! No cipher at all, so that benches can measure what a cipher costs.

use bytes::BytesMut;

use super::layer::{self, CipherError, Layer};
use super::segment::{Layout, Segment};

/// Passes every byte as it is.
///
/// For benches and tests only: no configuration value and no handshake leads here. A connection in clear
/// has no layer rather than this one.
#[derive(Debug, Default)]
pub struct NullLayer;

impl Layer for NullLayer {
    fn layout(&self) -> Layout {
        Layout::BARE
    }

    fn seal(&mut self, segment: &mut Segment) -> Result<(), CipherError> {
        layer::check(segment, self.layout())?;
        segment.mark_sealed();
        Ok(())
    }

    fn open(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, CipherError> {
        Ok(Some(input.split()).filter(|piece| !piece.is_empty()))
    }
}
