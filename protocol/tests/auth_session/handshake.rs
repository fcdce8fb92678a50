//! What the handshake refuses, and what it lets pass.

use std::sync::Arc;

use proptest::prelude::*;
use sealed_shuffle_protocol::auth::{AuthError, AuthMessage, AuthMessageError, Initiator, Responder};
use sealed_shuffle_protocol::crypto::gcm::GcmKey;
use sealed_shuffle_protocol::crypto::hkdf;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::{AppSecret, Secret};

use crate::support::random::Fixed;
use crate::support::{Seeded, hex};

const APP: &str = "app-1";

/// Public keys with which every agreement is zero: the low-order points and their encodings above p,
/// each also with the ignored top bit set. RFC 7748 section 6.1.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn refuses_another_secret_at_either_end() {
    let (initiator, challenge) = start("one", 1);
    assert_not_verified(respond(&challenge, "other").unwrap_err());

    let impostor = respond(&start("other", 1).1, "other").unwrap().0;
    assert_not_verified(initiator.finish(&impostor).unwrap_err());
}

#[test]
fn refuses_a_response_to_another_challenge() {
    let (_, first) = start("one", 1);
    let (initiator, _) = start("one", 2);
    let response = respond(&first, "one").unwrap().0;
    assert_not_verified(initiator.finish(&response).unwrap_err());
}

#[test]
fn refuses_its_own_challenge_reflected() {
    let (initiator, challenge) = start("one", 1);
    assert_not_verified(initiator.finish(&challenge).unwrap_err());
}

#[test]
fn refuses_every_flipped_bit_of_a_challenge() {
    let challenge = start("one", 1).1.encode();
    for bit in 0..challenge.len() * 8 {
        let mut changed = challenge.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = AuthMessage::decode(&changed) {
            assert_not_verified(respond(&changed, "one").unwrap_err());
        }
    }
}

#[test]
fn refuses_an_answer_for_another_application() {
    for theirs in ["", "app-2"] {
        let (initiator, _) = start("one", 1);
        let error = initiator.finish(&message(theirs, &[1; 16], &[2; 60])).unwrap_err();
        assert!(matches!(error, AuthError::AppIdDiffers { .. }), "{error}");
        assert_eq!(error.peer_text(), "java.lang.IllegalArgumentException: Authentication failed.");
    }
}

#[test]
fn refuses_keys_of_low_order() {
    for point in LOW_ORDER {
        for top_bit in [0, 0x80] {
            let mut key = hex(point);
            key[31] |= top_bit;
            let error = respond(&challenge_with(&key, &[7; 16]), "one").unwrap_err();
            assert!(matches!(error, AuthError::LowOrderKey(_)), "{point}: {error}");
        }
    }
}

#[test]
fn refuses_keys_that_are_not_32_bytes() {
    for len in [0, 31, 33] {
        let error = respond(&challenge_with(&vec![9; len], &[7; 16]), "one").unwrap_err();
        assert!(matches!(error, AuthError::KeyLength(n) if n == len), "{error}");
    }
}

#[test]
fn refuses_a_ciphertext_without_room_for_iv_and_tag() {
    for len in 0..28 {
        assert_not_verified(respond(&message(APP, &[7; 16], &vec![0; len]), "one").unwrap_err());
    }
}

#[test]
fn takes_salts_of_any_length_up_to_the_bound() {
    for len in [0, 1, 8, 16, 40, 1024] {
        respond(&challenge_with(&[9; 32], &vec![7; len]), "one").unwrap();
    }
}

#[test]
fn refuses_fields_beyond_the_bound() {
    for (salt, ciphertext) in [(1025, 60), (16, 1025)] {
        let long = encoded(APP, &vec![0; salt], &vec![0; ciphertext]);
        assert_eq!(AuthMessage::decode(&long), Err(AuthMessageError::FieldTooLong(1025)));
    }
}

#[test]
fn ignores_bytes_behind_the_last_field() {
    let (initiator, challenge) = start("one", 1);
    let padded =
        |message: &AuthMessage| AuthMessage::decode(&[&message.encode()[..], b"junk"].concat()).unwrap();

    let (response, server) = respond(&padded(&challenge), "one").unwrap();
    let client = initiator.finish(&padded(&response)).unwrap();
    assert_eq!(client.v2(), server.v2());
}

#[test]
fn the_top_bit_of_the_peers_key_is_ignored() {
    let mut key = [9; 32];
    let plain = respond(&challenge_with(&key, &[7; 16]), "one").unwrap().1;
    key[31] |= 0x80;
    let marked = respond(&challenge_with(&key, &[7; 16]), "one").unwrap().1;
    assert_eq!(plain.v1(), marked.v1());
}

#[test]
fn refuses_other_first_bytes_and_every_truncation() {
    let whole = start("one", 1).1.encode();
    for end in 0..whole.len() {
        assert_eq!(AuthMessage::decode(&whole[..end]), Err(AuthMessageError::Truncated));
    }
    for tag in [0xea, 0xfa, 0x00] {
        let mut other = whole.to_vec();
        other[0] = tag;
        assert_eq!(AuthMessage::decode(&other), Err(AuthMessageError::Tag(tag)));
    }
    let malformed = AuthError::from(AuthMessageError::Truncated);
    assert_eq!(malformed.peer_text(), "java.lang.IllegalArgumentException: Unknown challenge message.");
}

#[test]
fn refuses_counts_beyond_the_message() {
    for count in [i32::MIN, -1] {
        let bytes = [&[0xfb][..], &count.to_be_bytes(), &[0; 64]].concat();
        assert_eq!(AuthMessage::decode(&bytes), Err(AuthMessageError::NegativeCount(count)));
    }
    let bytes = [&[0xfb][..], &i32::MAX.to_be_bytes(), &[0; 64]].concat();
    assert_eq!(AuthMessage::decode(&bytes), Err(AuthMessageError::Truncated));
}

#[test]
fn refuses_an_app_id_that_is_not_text() {
    let mut bytes = encoded(APP, &[7; 16], &[0; 60]);
    bytes[5] = 0xff;
    assert_eq!(AuthMessage::decode(&bytes), Err(AuthMessageError::AppIdNotUtf8));
}

#[test]
fn a_silent_random_source_is_an_error() {
    for available in [0, 31, 40, 59] {
        let started =
            Initiator::start(AppId::new(APP), Arc::new(secret("one")), &mut Fixed(vec![1; available]));
        assert!(matches!(started.unwrap_err(), AuthError::Random(_)));
    }
}

#[test]
fn debug_shows_no_key() {
    let (initiator, challenge) = start("one", 1);
    let (_, keys) = respond(&challenge, "one").unwrap();
    let shown = format!("{initiator:?} {keys:?}");
    assert!(shown.contains("redacted"));
    assert!(!shown.contains(&format!("{:?}", keys.v1().as_bytes())));
}

proptest! {
    #[test]
    fn what_decodes_is_what_lies_at_the_front(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = 0xfb;
        for count in [1, 5 + usize::from(bytes.get(4).copied().unwrap_or(0))] {
            // Small counts, so that some of them fit.
            if let Some(high) = bytes.get_mut(count..count + 3) {
                high.fill(0);
            }
        }
        if let Ok(message) = AuthMessage::decode(&bytes) {
            prop_assert!(bytes.starts_with(&message.encode()));
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself(
        app in ".{0,40}",
        salt in prop::collection::vec(any::<u8>(), 0..64),
        ciphertext in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let message = message(&app, &salt, &ciphertext);
        prop_assert_eq!(message.app_id().as_str(), app);
        prop_assert_eq!(AuthMessage::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn both_ends_agree(seed: u64, app in ".{0,40}", text in ".{0,80}") {
        let shared = Arc::new(secret(&text));
        let (initiator, challenge) =
            Initiator::start(AppId::new(app), shared.clone(), &mut Seeded(seed)).unwrap();
        let (response, server) = Responder::respond(&challenge, &shared, &mut Seeded(!seed)).unwrap();
        let client = initiator.finish(&response).unwrap();
        prop_assert_eq!(client.v1(), server.v1());
        prop_assert_eq!(client.v2(), server.v2());
        prop_assert_eq!(client.input_iv(), server.input_iv());
        prop_assert_eq!(client.output_iv(), server.output_iv());
        prop_assert_ne!(client.input_iv(), client.output_iv());
    }
}

fn secret(text: &str) -> AppSecret {
    AppSecret::new(text.to_owned())
}

fn start(text: &str, seed: u64) -> (Initiator, AuthMessage) {
    Initiator::start(AppId::new(APP), Arc::new(secret(text)), &mut Seeded(seed)).unwrap()
}

fn respond(
    challenge: &AuthMessage,
    text: &str,
) -> Result<(AuthMessage, sealed_shuffle_protocol::auth::SessionKeys), AuthError> {
    Responder::respond(challenge, &secret(text), &mut Seeded(99))
}

fn assert_not_verified(error: AuthError) {
    assert!(matches!(error, AuthError::NotVerified { .. }), "{error}");
    assert_eq!(error.peer_text(), "java.lang.IllegalArgumentException: Authentication failed.");
}

/// A challenge that proves the secret "one" but carries whatever key.
fn challenge_with(key: &[u8], salt: &[u8]) -> AuthMessage {
    let aad = [APP.as_bytes(), salt].concat();
    let message_key: Secret<16> = hkdf::derive(b"one", salt, &[&aad]);
    let iv = [3; 12];
    let mut sealed = key.to_vec();
    let tag = GcmKey::aes_128(message_key.as_bytes()).seal(iv, &aad, &mut sealed).unwrap();
    message(APP, salt, &[&iv[..], &sealed, &tag].concat())
}

fn message(app: &str, salt: &[u8], ciphertext: &[u8]) -> AuthMessage {
    AuthMessage::decode(&encoded(app, salt, ciphertext)).unwrap()
}

fn encoded(app: &str, salt: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut out = vec![0xfb];
    for field in [app.as_bytes(), salt, ciphertext] {
        out.extend_from_slice(&i32::try_from(field.len()).unwrap().to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}
