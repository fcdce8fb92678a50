//! AES/CTR as a stream: splits mean nothing.

use proptest::prelude::*;
use sealed_shuffle_protocol::cipher::{CtrLayer, Layer};
use sealed_shuffle_protocol::secret::Secret;

use crate::support::{open, pattern, seal, split};

#[test]
fn directions_have_streams_of_their_own() {
    let (mut client, mut server) = pair();
    let there = seal(&mut client, &[0; 64], 64);
    let back = seal(&mut server, &[0; 64], 64);
    assert_ne!(there, back);
    assert_eq!(open(&mut server, [&there[..]]).unwrap(), [0; 64]);
    assert_eq!(open(&mut client, [&back[..]]).unwrap(), [0; 64]);
}

#[test]
fn no_input_is_no_piece() {
    let (mut client, _) = pair();
    assert!(client.open(&mut bytes::BytesMut::new()).unwrap().is_none());
}

#[test]
fn lengths_do_not_change() {
    for len in [0, 1, 15, 16, 17, 1 << 40] {
        assert_eq!(pair().0.layout().sealed_len(len), len);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_stream(
        len in 0..3000usize,
        capacity in 1..400usize,
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let plain = pattern(len);
        let (mut client, mut server) = pair();
        let sealed = seal(&mut client, &plain, capacity);
        prop_assert_eq!(&sealed, &seal(&mut pair().0, &plain, len.max(1)));
        prop_assert_eq!(open(&mut server, split(&sealed, &cuts)).unwrap(), plain);
    }
}

fn pair() -> (CtrLayer, CtrLayer) {
    let key = Secret::new([1; 32]);
    (CtrLayer::aes_256(&key, &[2; 16], &[3; 16]), CtrLayer::aes_256(&key, &[3; 16], &[2; 16]))
}
