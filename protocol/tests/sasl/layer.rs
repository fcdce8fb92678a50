//! Tokens of the privacy layer: sizes at the edges, splits everywhere, and everything that must be refused.

use bytes::BytesMut;
use proptest::prelude::*;
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Segment};
use sealed_shuffle_protocol::sasl::{MAX_TOKEN, SaslCipher, SaslLayer, TokenError};

use crate::support::{layers, open, pattern, seal};

/// Blocks small enough that a short message makes several tokens, one of each padding.
const BLOCK: usize = 13;

#[test]
fn every_length_opens_to_what_was_sealed_in_both_directions() {
    for cipher in SaslCipher::ALL {
        for block in 1..=20 {
            let (mut client, mut server) = layers(cipher, block);
            for len in 0..=45 {
                let sealed = seal(&mut client, &pattern(len));
                assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), pattern(len), "{cipher} {block} {len}");
                let sealed = seal(&mut server, &pattern(len));
                assert_eq!(open(&mut client, [&sealed[..]]).unwrap(), pattern(len), "{cipher} {block} {len}");
            }
        }
    }
}

#[test]
fn a_segment_is_sealed_as_full_blocks_and_a_rest() {
    for (cipher, overhead) in [(SaslCipher::TripleDes, [30, 31]), (SaslCipher::Rc4, [24, 24])] {
        let (mut client, _) = layers(cipher, 64 << 10);
        let sealed = seal(&mut client, &pattern(2 * (64 << 10) + 7));
        let full = (64 << 10) + overhead[0];
        assert_eq!(sealed.len(), 2 * full + 7 + overhead[1]);
        for start in [0, full] {
            assert_eq!(sealed[start..start + 8], (full as u64).to_be_bytes());
        }
    }
}

#[test]
fn the_layout_always_has_room() {
    for cipher in SaslCipher::ALL {
        for block in 1..=20 {
            let (mut client, _) = layers(cipher, block);
            for len in 0..=45_u64 {
                let layout = client.layout();
                let sealed = seal(&mut client, &pattern(len as usize)).len() as u64;
                assert!(sealed <= layout.sealed_len(len), "{cipher} {block} {len}");
            }
        }
    }
}

#[test]
fn byte_by_byte_gives_the_same() {
    for cipher in SaslCipher::ALL {
        let (mut client, mut server) = layers(cipher, BLOCK);
        let sealed = seal(&mut client, &pattern(100));
        assert_eq!(open(&mut server, sealed.chunks(1)).unwrap(), pattern(100));
    }
}

#[test]
fn every_split_point_gives_the_same() {
    for at in 0..=sealed(SaslCipher::TripleDes).len() {
        for cipher in [SaslCipher::TripleDes, SaslCipher::Rc4] {
            let sealed = sealed(cipher);
            let (front, back) = sealed.split_at(at.min(sealed.len()));
            let (_, mut server) = layers(cipher, BLOCK);
            assert_eq!(open(&mut server, [front, back]).unwrap(), pattern(40));
        }
    }
}

#[test]
fn tokens_larger_than_our_own_are_taken_up_to_the_bound() {
    let (mut client, mut server) = (layers(SaslCipher::Rc4, 126 << 10).0, layers(SaslCipher::Rc4, 1000).1);
    let plain = pattern(300 << 10);
    let sealed = seal(&mut client, &plain);
    assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), plain);

    for (len, is_taken) in [(MAX_TOKEN, true), (MAX_TOKEN + 1, false), (usize::MAX / 2, false)] {
        let (_, mut server) = layers(SaslCipher::Rc4, 1000);
        let opened = open(&mut server, [&(len as u64).to_be_bytes()[..]]);
        assert_eq!(opened.is_ok(), is_taken, "{len}");
    }
    // Who seals more is told as much by its configuration, and takes as much.
    let (mut client, mut server) = layers(SaslCipher::Rc4, MAX_TOKEN);
    let sealed = seal(&mut client, &pattern(MAX_TOKEN));
    assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), pattern(MAX_TOKEN));
}

#[test]
fn a_bad_length_is_refused_before_anything_follows() {
    for length in [i64::MIN, -1, 0, 7] {
        let (_, mut server) = layers(SaslCipher::TripleDes, BLOCK);
        let error = open(&mut server, [&length.to_be_bytes()[..]]).unwrap_err();
        assert_eq!(token_error(&error), Some(TokenError::Length(length)), "{error}");
    }
    let (_, mut server) = layers(SaslCipher::TripleDes, BLOCK);
    let error = open(&mut server, [&i64::MAX.to_be_bytes()[..]]).unwrap_err();
    assert!(matches!(token_error(&error), Some(TokenError::TooLong { .. })), "{error}");
}

#[test]
fn an_outer_frame_without_a_token_delivers_nothing_and_ends_nothing() {
    for cipher in SaslCipher::ALL {
        let (mut client, mut server) = layers(cipher, BLOCK);
        let empty = 8_u64.to_be_bytes();
        let sealed = [&empty[..], &empty, &seal(&mut client, b"text"), &empty].concat();
        assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), b"text");
    }
}

#[test]
fn every_flipped_bit_is_refused_at_once() {
    for cipher in SaslCipher::ALL {
        let (mut client, _) = layers(cipher, BLOCK);
        let first = seal(&mut client, b"0123456789");
        let second = seal(&mut client, b"second");
        for bit in 0..first.len() * 8 {
            let mut changed = first.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (_, mut server) = layers(cipher, BLOCK);
            // A longer length takes the next token in, or waits for bytes that never come.
            match open(&mut server, [&changed[..], &second]) {
                Ok(plain) => assert!(plain.is_empty() && bit < 64, "{cipher}: bit {bit} passed"),
                Err(error) => assert!(matches!(error, CipherError::Sasl(_)), "{cipher}: bit {bit}: {error}"),
            }
        }
    }
}

#[test]
fn padding_and_mac_fail_alike() {
    for cipher in [SaslCipher::TripleDes, SaslCipher::Des] {
        let sealed = sealed(cipher);
        // Message, padding and MAC lie in the sealed part; in CBC a change anywhere hits two blocks.
        for at in 8..32 {
            let mut changed = sealed.clone();
            changed[at] ^= 0x55;
            let (_, mut server) = layers(cipher, BLOCK);
            let error = open(&mut server, [&changed[..]]).unwrap_err();
            assert_eq!(token_error(&error), Some(TokenError::NotVerified), "{at}: {error}");
        }
    }
}

#[test]
fn tokens_that_are_repeated_dropped_or_swapped_are_refused() {
    for cipher in SaslCipher::ALL {
        let (mut client, _) = layers(cipher, BLOCK);
        let tokens = [b"one", b"two"].map(|text| seal(&mut client, text));
        let [one, two] = tokens.each_ref().map(Vec::as_slice);
        for (order, ours, theirs) in [([one, one], 1, 0), ([two, one], 0, 1)] {
            let (_, mut server) = layers(cipher, BLOCK);
            let error = open(&mut server, order).unwrap_err();
            let expected = Some(TokenError::Sequence { ours, theirs });
            assert_eq!(token_error(&error), expected, "{cipher}: {error}");
        }
    }
}

#[test]
fn a_token_with_another_number_does_not_verify_where_it_is_due() {
    let (mut client, mut server) = layers(SaslCipher::Rc4, BLOCK);
    let first = seal(&mut client, b"one");
    let mut second = seal(&mut client, b"two");
    let end = second.len();
    second[end - 1] = 0;
    drop(first);
    let error = open(&mut server, [&second[..]]).unwrap_err();
    assert_eq!(token_error(&error), Some(TokenError::NotVerified), "{error}");
}

#[test]
fn another_type_is_refused() {
    let (mut client, mut server) = layers(SaslCipher::Rc4, BLOCK);
    let mut token = seal(&mut client, b"one");
    let end = token.len();
    token[end - 5] = 2;
    let error = open(&mut server, [&token[..]]).unwrap_err();
    assert_eq!(token_error(&error), Some(TokenError::Type(2)), "{error}");
}

#[test]
fn tokens_too_short_or_not_of_whole_blocks_are_refused() {
    for (cipher, lens) in
        [(SaslCipher::TripleDes, &[1, 5, 6, 14, 21, 23, 29][..]), (SaslCipher::Rc4, &[1, 5, 6, 15])]
    {
        for &len in lens {
            let mut token = vec![0; 8 + len];
            token[..8].copy_from_slice(&(8 + len as u64).to_be_bytes());
            if let Some(kind) = len.checked_sub(6) {
                token[8 + kind + 1] = 1;
            }
            let (_, mut server) = layers(cipher, BLOCK);
            let error = open(&mut server, [&token[..]]).unwrap_err();
            assert_eq!(token_error(&error), Some(TokenError::Truncated(len)), "{len}: {error}");
        }
    }
}

#[test]
fn the_two_directions_have_keys_of_their_own() {
    for cipher in SaslCipher::ALL {
        let (mut client, _) = layers(cipher, BLOCK);
        let sealed = seal(&mut client, b"reflected");
        let error = open(&mut client, [&sealed[..]]).unwrap_err();
        assert_eq!(token_error(&error), Some(TokenError::NotVerified), "{error}");
    }
}

#[test]
fn nothing_comes_out_after_an_error() {
    let (mut client, mut server) = layers(SaslCipher::Rc4, BLOCK);
    let good = seal(&mut client, b"good");
    let mut bad = good.clone();
    bad[10] ^= 1;
    open(&mut server, [&bad[..]]).unwrap_err();
    assert!(matches!(open(&mut server, [&good[..]]), Err(CipherError::Failed)));
}

#[test]
fn opening_does_not_move_the_input() {
    for cipher in SaslCipher::ALL {
        let (mut client, mut server) = layers(cipher, BLOCK);
        let mut input = BytesMut::from(&seal(&mut client, b"in place")[..]);
        let place = input[8..].as_ptr();
        assert_eq!(server.open(&mut input).unwrap().unwrap().as_ptr(), place);
    }
}

#[test]
fn bulk_needs_no_memory_of_its_own() {
    for cipher in [SaslCipher::TripleDes, SaslCipher::Rc4] {
        let (mut client, mut server) = layers(cipher, 4096);
        let mut segment = Segment::with_capacity(32 << 10);
        segment.reset(client.layout());
        segment.put(&pattern(20_000));
        let sealing = allocation_counter::measure(|| client.seal(&mut segment).unwrap());
        assert_eq!(sealing.count_total, 0, "{cipher}");

        let mut input = BytesMut::from(segment.sealed());
        let opening = allocation_counter::measure(|| {
            let mut len = 0;
            while let Some(piece) = server.open(&mut input).unwrap() {
                len += piece.len();
            }
            assert_eq!(len, 20_000);
        });
        // The buffer of the input is made shareable, once.
        assert!(opening.count_total <= 1, "{cipher}: {}", opening.count_total);
    }
}

#[test]
fn refuses_a_segment_that_is_not_its_own_or_sealed_already() {
    let (mut client, _) = layers(SaslCipher::Rc4, BLOCK);
    let mut segment = Segment::with_capacity(100);
    segment.put(b"text");
    assert!(matches!(client.seal(&mut segment), Err(CipherError::Layout { .. })));
    segment.reset(client.layout());
    segment.put(b"text");
    client.seal(&mut segment).unwrap();
    assert!(matches!(client.seal(&mut segment), Err(CipherError::SealedTwice)));
}

#[test]
fn an_empty_segment_stays_empty() {
    let (mut client, _) = layers(SaslCipher::TripleDes, BLOCK);
    assert_eq!(seal(&mut client, b""), b"");
}

proptest! {
    #[test]
    fn whatever_partition_opens_to_what_was_sealed(
        which in 0..5_usize,
        blocks in (1..40_usize, 1..40_usize),
        writes in prop::collection::vec(0..100_usize, 1..6),
        cuts in prop::collection::vec(1..50_usize, 1..40),
    ) {
        let cipher = SaslCipher::ALL[which];
        let (mut client, mut server) = (layers(cipher, blocks.0).0, layers(cipher, blocks.1).1);
        let mut sealed: Vec<u8> = Vec::new();
        let mut plain = Vec::new();
        for len in writes {
            sealed.extend(seal(&mut client, &pattern(len)));
            plain.extend(pattern(len));
        }
        let mut pieces = Vec::new();
        let mut rest = &sealed[..];
        for cut in cuts {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces.push(rest);
        prop_assert_eq!(open(&mut server, pieces).unwrap(), plain);
    }

    #[test]
    fn hostile_input_is_refused_without_a_panic(
        which in 0..5_usize,
        length in 0..80_u64,
        mut content in prop::collection::vec(any::<u8>(), 0..80),
        typed in any::<bool>(),
    ) {
        if typed {
            // So that it gets past the checks of what lies in clear.
            let trailer = usize::try_from(length).unwrap().saturating_sub(8 + 6);
            if let Some(room) = content.get_mut(trailer..trailer + 6) {
                room.copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            }
        }
        let (_, mut server) = layers(SaslCipher::ALL[which], BLOCK);
        let opened = open(&mut server, [&length.to_be_bytes()[..], &content]);
        prop_assert!(opened.is_err() || opened.unwrap().is_empty());
    }
}

/// Several tokens.
fn sealed(cipher: SaslCipher) -> Vec<u8> {
    let (mut client, _): (SaslLayer, _) = layers(cipher, BLOCK);
    seal(&mut client, &pattern(40))
}

/// What is wrong with the token, where a token is what was refused.
fn token_error(error: &CipherError) -> Option<TokenError> {
    let CipherError::Sasl(source) = error else { return None };
    source.downcast_ref().copied()
}
