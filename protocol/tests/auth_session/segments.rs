//! The buffer and its arithmetic.

use proptest::prelude::*;
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Layout, NullLayer, Segment};

use crate::support::pattern;

#[test]
fn spare_places_end_where_units_end() {
    let mut segment = Segment::with_capacity(64);
    segment.reset(Layout { head: 5, unit: 10, tail: 3 });
    segment.advance(4);
    let pieces: Vec<usize> = segment.spare(25).map(|piece| piece.len()).collect();
    assert_eq!(pieces, [6, 10, 9]);
}

#[test]
fn nothing_comes_out_before_a_layer_has_sealed() {
    let mut segment = Segment::with_capacity(16);
    segment.put(b"secret");
    assert_eq!(segment.sealed(), b"");
    NullLayer.seal(&mut segment).unwrap();
    assert_eq!(segment.sealed(), b"secret");
}

#[test]
fn a_sealed_segment_takes_nothing_more() {
    let mut segment = Segment::with_capacity(16);
    segment.put(b"one");
    NullLayer.seal(&mut segment).unwrap();
    assert_eq!(segment.remaining(), 0);
    assert_eq!(segment.put(b"two"), 0);
    assert_eq!(segment.spare(9).count(), 0);
    assert!(matches!(NullLayer.seal(&mut segment), Err(CipherError::SealedTwice)));
    segment.reset(Layout::BARE);
    assert_eq!(segment.put(b"two"), 3);
}

#[test]
fn a_segment_laid_out_for_another_layer_is_refused() {
    let mut segment = Segment::with_capacity(64);
    segment.reset(Layout { head: 8, unit: 16, tail: 4 });
    segment.put(b"text");
    assert!(matches!(NullLayer.seal(&mut segment), Err(CipherError::Layout { .. })));
    assert_eq!(segment.sealed(), b"");
}

#[test]
fn put_takes_as_much_as_fits() {
    let mut segment = Segment::with_capacity(20);
    segment.reset(Layout { head: 3, unit: 8, tail: 2 });
    // 3 + 8 + 2 + 5 + 2 bytes.
    assert_eq!(segment.put(&pattern(100)), 13);
    assert_eq!(segment.remaining(), 0);
    assert_eq!(segment.sealed_len(), 20);
}

#[test]
fn a_buffer_smaller_than_the_head_takes_nothing() {
    let mut segment = Segment::with_capacity(2);
    segment.reset(Layout { head: 3, unit: 8, tail: 2 });
    assert_eq!(segment.put(b"x"), 0);
    assert_eq!(segment.sealed_len(), 0);
    assert_eq!(segment.parts().units.count(), 0);
}

#[test]
#[should_panic(expected = "advanced past what the segment offers")]
fn advancing_past_the_end_panics() {
    Segment::with_capacity(4).advance(5);
}

proptest! {
    #[test]
    fn content_lies_where_the_layout_says(
        head in 0..20usize,
        unit in 1..30usize,
        tail in 0..10usize,
        capacity in 0..300usize,
        steps in prop::collection::vec((1..50usize, any::<bool>()), 0..12),
    ) {
        let layout = Layout { head, unit, tail };
        let mut segment = Segment::with_capacity(capacity);
        segment.reset(layout);
        let content = pattern(400);
        let mut held = 0;
        for (amount, by_read) in steps {
            if by_read {
                let mut read = 0;
                for piece in segment.spare(amount) {
                    piece.copy_from_slice(&content[held + read..][..piece.len()]);
                    read += piece.len();
                }
                segment.advance(read);
                held += read;
            } else {
                held += segment.put(&content[held..][..amount.min(400 - held)]);
            }
            prop_assert_eq!(segment.len(), held);
            prop_assert!(held + segment.remaining() == layout.plain_capacity(capacity));
        }

        let sealed_len = segment.sealed_len();
        prop_assert!(sealed_len <= capacity);
        prop_assert_eq!(sealed_len as u64, layout.sealed_len(held as u64));
        segment.mark_sealed();
        let sealed = segment.sealed();
        prop_assert_eq!(sealed.len(), sealed_len);
        for (p, byte) in content[..held].iter().enumerate() {
            prop_assert_eq!(sealed[head + p + tail * (p / unit)], *byte);
        }
    }

    #[test]
    fn capacity_is_the_most_that_fits(
        head in 0..20usize,
        unit in prop_oneof![1..30usize, Just(usize::MAX)],
        tail in 0..10usize,
        bytes in 0..300usize,
    ) {
        let layout = Layout { head, unit, tail };
        let fits = layout.plain_capacity(bytes);
        if fits > 0 {
            prop_assert!(layout.sealed_len(fits as u64) <= bytes as u64);
        }
        prop_assert!(layout.sealed_len(fits as u64 + 1) > bytes as u64);
    }
}
