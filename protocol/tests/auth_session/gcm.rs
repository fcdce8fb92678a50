//! AES/GCM messages: sizes at the edges, splits everywhere, and everything that must be refused.

use bytes::BytesMut;
use proptest::prelude::*;
use sealed_shuffle_protocol::cipher::Role::{Client, Server};
use sealed_shuffle_protocol::cipher::{BROKEN_GCM, CipherError, GcmLayer, Layer, Role, SOUND_GCM, Segment};
use sealed_shuffle_protocol::secret::Secret;

use crate::support::random::Fixed;
use crate::support::{Seeded, open, pattern, seal, seal_one, sealed_as, split};

const UNIT: usize = 32752;
const SEALED_UNIT: usize = 32768;

/// Plaintext sizes where something changes.
const EDGES: [usize; 13] =
    [1, 2, 16, 32711, 32712, 32713, 32728, 32729, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 2 * UNIT + 1];

#[test]
fn sealed_len_is_exact_at_every_edge() {
    for mut layer in [v1(Client), v2(Client)] {
        let layout = layer.layout();
        assert_eq!(layout.sealed_len(0), 0);
        for len in EDGES {
            let sealed = seal_one(&mut layer, &pattern(len));
            assert_eq!(sealed.len(), layout.head + len + 16 * len.div_ceil(UNIT));
            assert_eq!(sealed.len() as u64, layout.sealed_len(len as u64));
            assert_eq!(sealed[..8], (sealed.len() as u64).to_be_bytes());
        }
    }
}

#[test]
fn edges_open_to_what_was_sealed() {
    for len in EDGES {
        let (mut sealer, mut opener) = (v1(Client), v1(Server));
        let sealed = seal_one(&mut sealer, &pattern(len));
        assert_eq!(open(&mut opener, [&sealed[..]]).unwrap(), pattern(len));
    }
}

#[test]
fn byte_by_byte_gives_the_same() {
    let mut sealer = v2(Client);
    let mut sealed = seal_one(&mut sealer, &pattern(UNIT + 100));
    sealed.extend(empty_message());
    sealed.extend(seal_one(&mut sealer, b"x"));
    let opened = open(&mut v2(Server), sealed.chunks(1)).unwrap();
    assert_eq!(opened, [&pattern(UNIT + 100)[..], b"x"].concat());
}

#[test]
fn every_split_point_gives_the_same() {
    let mut sealer = v2(Client);
    let mut sealed = seal_one(&mut sealer, b"first message");
    sealed.extend(empty_message());
    sealed.extend(empty_message());
    sealed.extend(seal_one(&mut sealer, b"second"));
    for at in 0..=sealed.len() {
        let (front, back) = sealed.split_at(at);
        assert_eq!(open(&mut v2(Server), [front, back]).unwrap(), b"first messagesecond");
    }
}

#[test]
fn every_flipped_bit_fails() {
    let sealed = seal_one(&mut v2(Client), b"0123456789");
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A longer length waits for bytes that never come; nothing of it may come out.
        match open(&mut v2(Server), [&changed[..]]) {
            Ok(plain) => assert!(plain.is_empty() && bit < 64, "bit {bit} passed"),
            Err(error) => assert!(!matches!(error, CipherError::Failed), "bit {bit}: {error}"),
        }
    }
}

#[test]
fn a_segment_is_released_before_the_message_ends() {
    let sealed = seal_one(&mut v2(Client), &pattern(3 * UNIT));
    let mut opener = v2(Server);
    let mut input = BytesMut::from(&sealed[..32 + SEALED_UNIT]);
    assert_eq!(opener.open(&mut input).unwrap().unwrap(), &pattern(3 * UNIT)[..UNIT]);
    assert!(opener.open(&mut input).unwrap().is_none());
    assert!(input.is_empty());
}

#[test]
fn opening_does_not_move_the_input() {
    let sealed = seal_one(&mut v2(Client), b"in place");
    let mut input = BytesMut::from(&sealed[..]);
    let place = input[32..].as_ptr();
    assert_eq!(v2(Server).open(&mut input).unwrap().unwrap().as_ptr(), place);
}

#[test]
fn segments_that_are_swapped_dropped_or_moved_on_fail() {
    let sealed = seal_one(&mut v2(Client), &pattern(3 * UNIT));
    let (head, segments) = sealed.split_at(32);
    let part = |i: usize| &segments[i * SEALED_UNIT..][..SEALED_UNIT];

    let swapped = [head, part(1), part(0), part(2)].concat();
    assert_not_verified(open(&mut v2(Server), [&swapped[..]]), 0);

    let repeated = [head, part(0), part(0), part(2)].concat();
    assert_not_verified(open(&mut v2(Server), [&repeated[..]]), 1);

    let mut shorter = [head, part(0), part(2)].concat();
    let len = shorter.len() as u64;
    shorter[..8].copy_from_slice(&len.to_be_bytes());
    assert_not_verified(open(&mut v2(Server), [&shorter[..]]), 0);
}

#[test]
fn a_message_under_another_key_is_refused() {
    let sealed = seal_one(&mut v2(Client), b"foreign");
    let mut other = GcmLayer::aes_128(Secret::new([2; 16]), Server, Box::new(Seeded(1)));
    assert_not_verified(open(&mut other, [&sealed[..]]), 0);
}

#[test]
fn refuses_lengths_that_no_sender_means() {
    let longest = i64::from(i32::MAX) + 32;
    for length in [i64::MIN, -1, 0, 8, 31, longest + 1, i64::MAX] {
        assert_length_refused(length);
    }
    for short in 1..=16 {
        for length in [32 + short, 32 + 32768 + short] {
            let bytes = [&u64::to_be_bytes(length)[..], &[24], &[5; 60]].concat();
            let error = open(&mut v2(Server), [&bytes[..]]).unwrap_err();
            assert!(matches!(error, CipherError::BrokenSender(l) if l == length), "{length}: {error}");
        }
    }
    // The longest that Spark can count: the opener waits for it.
    let mut header = empty_message();
    header[..8].copy_from_slice(&(longest - 15).to_be_bytes());
    assert_eq!(open(&mut v2(Server), [&header[..]]).unwrap(), b"");
}

#[test]
fn messages_that_a_broken_gcm_announces_too_long_are_recognized_before_the_rest_that_never_comes() {
    for plain in [0, 32713, 32728, 32729, 32736, 32737, 32752, 2 * 32752, 32752 + 32740] {
        let bytes = sealed_by_a_broken_gcm(plain);
        let opened = open(&mut v2(Server), [&bytes[..]]);
        match plain % 32752 {
            // The formula goes wrong where the header would not have fitted into the segment.
            0 | 32729.. => {
                let text = opened.unwrap_err().to_string();
                assert!(text.contains(BROKEN_GCM) && text.contains(SOUND_GCM), "{plain}: {text}");
            }
            _ => assert_eq!(opened.unwrap().len(), plain),
        }
    }
}

/// One message as GcmTransportCipher writes it in the releases of [`BROKEN_GCM`], engine version 2: L by Tink's formula, in which the
/// header takes its place in segment 0.
fn sealed_by_a_broken_gcm(plain: usize) -> Vec<u8> {
    let with_header = plain + 24;
    let formula = match with_header % UNIT {
        0 => with_header / UNIT * SEALED_UNIT,
        last => with_header / UNIT * SEALED_UNIT + last + 16,
    };
    sealed_as(&[1; 16], &[[7; 16].as_slice(), &[9; 7]].concat(), 8 + formula as u64, &vec![0; plain])
}

#[test]
fn a_bad_length_is_refused_before_the_header_is_there() {
    let error = open(&mut v2(Server), [&[0xff; 8][..]]).unwrap_err();
    assert!(matches!(error, CipherError::MessageLength(-1)), "{error}");
}

#[test]
fn refuses_another_header_length() {
    for theirs in [0, 23, 25, 40, 255] {
        let error = open(&mut v2(Server), [&[0, 0, 0, 0, 0, 0, 0, 74, theirs][..]]).unwrap_err();
        assert!(matches!(error, CipherError::HeaderLength { ours: 24, .. }), "{error}");
    }
}

#[test]
fn stays_failed_after_an_error() {
    let mut opener = v2(Server);
    let good = seal_one(&mut v2(Client), b"good");
    let mut bad = good.clone();
    bad[40] ^= 1;
    assert_not_verified(open(&mut opener, [&bad[..]]), 0);
    assert!(matches!(open(&mut opener, [&good[..]]), Err(CipherError::Failed)));
}

#[test]
fn an_empty_segment_seals_to_nothing() {
    let mut layer = v1(Client);
    let mut segment = Segment::with_capacity(100);
    segment.reset(layer.layout());
    layer.seal(&mut segment).unwrap();
    assert!(segment.is_sealed());
    assert_eq!(segment.sealed(), b"");
}

#[test]
fn without_random_bytes_nothing_is_sealed() {
    let mut layer = GcmLayer::aes_128(Secret::new([1; 16]), Client, Box::new(Fixed(vec![0; 6])));
    let mut segment = Segment::with_capacity(100);
    segment.reset(layer.layout());
    segment.put(b"text");
    assert!(matches!(layer.seal(&mut segment), Err(CipherError::Random(_))));
    assert_eq!(segment.sealed(), b"");
}

#[test]
fn messages_do_not_repeat_salts() {
    let mut layer = v1(Client);
    let first = seal_one(&mut layer, b"same");
    let second = seal_one(&mut layer, b"same");
    assert_ne!(first[9..], second[9..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_pieces_open_to_the_content(
        edge in prop::sample::select(EDGES.to_vec()),
        more in 0..200usize,
        capacity in prop_oneof![65..400usize, 32_000..70_000usize],
        cuts in prop::collection::vec(0..40_000usize, 0..12),
        wide: bool,
    ) {
        let plain = pattern(edge + more);
        let (mut sealer, mut opener) = if wide { (v1(Client), v1(Server)) } else { (v2(Client), v2(Server)) };
        let sealed = seal(&mut sealer, &plain, capacity);
        prop_assert_eq!(open(&mut opener, split(&sealed, &cuts)).unwrap(), plain);
    }

    #[test]
    fn any_changed_byte_fails(
        len in prop::sample::select(EDGES.to_vec()),
        at: prop::sample::Index,
        flip in 1..=255u8,
    ) {
        let mut sealed = seal_one(&mut v1(Client), &pattern(len));
        let at = 8 + at.index(sealed.len() - 8);
        sealed[at] ^= flip;
        prop_assert!(open(&mut v1(Server), [&sealed[..]]).is_err());
    }

    #[test]
    fn hostile_bytes_never_deliver(
        length in 0..100_000u64,
        noise in prop::collection::vec(any::<u8>(), 0..500),
    ) {
        for bytes in [noise.clone(), [&length.to_be_bytes()[..], &[24], &noise].concat()] {
            if let Ok(plain) = open(&mut v2(Server), [&bytes[..]]) {
                prop_assert!(plain.is_empty());
            }
        }
    }
}

fn v1(role: Role) -> GcmLayer {
    GcmLayer::aes_256(Secret::new([1; 32]), role, Box::new(Seeded(1)))
}

fn v2(role: Role) -> GcmLayer {
    GcmLayer::aes_128(Secret::new([1; 16]), role, Box::new(Seeded(1)))
}

/// What Spark 4.2.1 and later send for an empty block, engine version 2.
fn empty_message() -> Vec<u8> {
    [&32u64.to_be_bytes()[..], &[24], &[5; 23]].concat()
}

fn assert_length_refused(length: i64) {
    let bytes = [&length.to_be_bytes()[..], &[24], &[5; 60]].concat();
    let error = open(&mut v2(Server), [&bytes[..]]).unwrap_err();
    assert!(matches!(error, CipherError::MessageLength(l) if l == length), "{length}: {error}");
}

fn assert_not_verified(result: Result<Vec<u8>, CipherError>, at: u32) {
    match result {
        Err(CipherError::NotVerified { segment, .. }) => assert_eq!(segment, at),
        other => panic!("expected segment {at} to be refused, got {other:?}"),
    }
}
