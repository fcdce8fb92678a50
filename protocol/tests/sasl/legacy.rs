//! The handshake of Spark 2.2 to 3.0: Spark's bytes (see `tests/vectors/legacy/README.md`), and what either end refuses.

use bytes::Bytes;
use proptest::prelude::*;
use sealed_shuffle_protocol::auth::legacy::{
    ClientChallenge, Initiator, LegacyError, LegacyKdf, LegacyKeys, LegacyLimits, LegacySettings, Responder,
    ServerResponse,
};
use sealed_shuffle_protocol::cipher::Role;
use sealed_shuffle_protocol::ids::AppId;
use serde_json::Value;

use crate::support::{Fixed, Seeded, app, hex, list, open, pattern, seal, secret, text};

const VERSIONS: [&str; 2] =
    [include_str!("../vectors/legacy/spark-2.4.8.json"), include_str!("../vectors/legacy/spark-3.0.3.json")];

#[test]
fn handshakes_and_sessions_are_sparks_bytes() {
    for vectors in VERSIONS {
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        list(&vectors["handshakes"]).iter().for_each(check_handshake);
    }
}

fn check_handshake(case: &Value) {
    let number = |name: &str| u32::try_from(case[name].as_u64().unwrap()).unwrap();
    let settings = LegacySettings {
        kdf: text(&case["kdf"]).parse().unwrap(),
        iterations: number("iterations"),
        key_bits: number("key_bits"),
    };
    let shared = secret(text(&case["secret"]));
    let app_id = AppId::new(text(&case["app_id"]));
    let plain = hex(text(&case["plain"]));

    let drawn = hex(text(&case["client_random"]));
    let (initiator, ours) =
        Initiator::start(app_id.clone(), shared.clone(), settings, &mut Fixed(drawn.clone())).unwrap();
    // Ours is Spark's, but for nine bits of C: in a key stream each of them turns one bit.
    let mut expected = hex(text(&case["challenge"]));
    let (c_in_stream, c) = (expected.len() - drawn.len() / 2, &drawn[drawn.len() / 2..]);
    expected[c_in_stream] ^= c[0];
    expected[c_in_stream + 1] ^= c[1] & 0x80;
    assert_eq!(ours.encode(), expected);

    let challenge = ClientChallenge::decode(&Bytes::from(hex(text(&case["challenge"])))).unwrap();
    assert_eq!((challenge.app_id(), challenge.kdf()), (&app_id, text(&case["kdf"])));
    LegacyLimits::default().check(&challenge).unwrap();
    let random = || Fixed(hex(text(&case["server_random"])));
    let respond =
        |challenge| Responder::respond(challenge, &shared, &LegacyLimits::default(), &mut random()).unwrap();
    let (response, server) = respond(&challenge);
    assert_eq!(response.encode(), hex(text(&case["response"])));

    let response = ServerResponse::decode(&respond(&ours).0.encode()).unwrap();
    let client = initiator.finish(&response).unwrap();
    assert_eq!((client.key_bits(), server.key_bits()), (settings.key_bits, settings.key_bits));

    let (mut client, mut server) = (client.into_layer(Role::Client), server.into_layer(Role::Server));
    let to_server = seal(&mut client, &plain);
    assert_eq!(to_server, hex(text(&case["to_server"])));
    assert_eq!(open(&mut server, [&to_server[..]]).unwrap(), plain);
    let to_client = seal(&mut server, &plain);
    assert_eq!(to_client, hex(text(&case["to_client"])));
    assert_eq!(open(&mut client, [&to_client[..]]).unwrap(), plain);
}

#[test]
fn every_key_length_and_derivation_leads_to_a_session() {
    for kdf in [LegacyKdf::HmacSha1, LegacyKdf::HmacSha256, LegacyKdf::HmacSha512] {
        for key_bits in [128, 192, 256] {
            for seed in 0..20 {
                let settings = LegacySettings { kdf, iterations: 3, key_bits };
                let (client, server) = agree(settings, seed).unwrap();
                let (mut client, mut server) =
                    (client.into_layer(Role::Client), server.into_layer(Role::Server));
                let sealed = seal(&mut client, &pattern(100));
                assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), pattern(100));
                let sealed = seal(&mut server, &pattern(100));
                assert_eq!(open(&mut client, [&sealed[..]]).unwrap(), pattern(100));
            }
        }
    }
}

#[test]
fn another_secret_is_refused_at_either_end() {
    let (initiator, challenge) = start("one", 1);
    let error = respond(&challenge, "other").unwrap_err();
    assert!(matches!(error, LegacyError::NotVerified { .. }), "{error}");
    assert_eq!(error.peer_text(), "java.lang.IllegalArgumentException: Authentication failed.");

    let (impostor, _) = respond(&start("other", 1).1, "other").unwrap();
    assert!(matches!(initiator.finish(&impostor), Err(LegacyError::NotVerified { .. })));
}

#[test]
fn a_response_to_another_challenge_is_refused() {
    let (response, _) = respond(&start("one", 1).1, "one").unwrap();
    let (initiator, _) = start("one", 2);
    assert!(matches!(initiator.finish(&response), Err(LegacyError::NotVerified { .. })));
}

#[test]
fn a_challenge_that_comes_back_as_a_response_is_refused_whatever_of_its_end_is_turned() {
    let field = |bytes: &[u8]| [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat();
    for seed in 0..32 {
        let (_, challenge) = start("one", seed);
        let body = challenge.encode();
        let proof = &body[body.len() - 37..];
        // C + 1 is C with its last bits turned, as many as end in a carry.
        for bits in 1..=128 {
            let mut forged = proof.to_vec();
            for bit in 0..bits {
                let at = forged.len() - 1 - bit / 8;
                forged[at] ^= 1 << (bit % 8);
            }
            let forged = [&[0xfb][..], &field(&forged), &field(&[7; 16]), &field(&[8; 16]), &field(&[9; 16])];
            let forged = ServerResponse::decode(&forged.concat().into()).unwrap();
            let refused = start("one", seed).0.finish(&forged);
            assert!(matches!(refused, Err(LegacyError::NotVerified { .. })), "{seed}: {bits} bits");
        }
        start("one", seed).0.finish(&respond(&challenge, "one").unwrap().0).unwrap();
    }
}

#[test]
fn a_challenge_for_another_application_is_refused() {
    let challenge = start("one", 1).1.encode();
    let moved = replaced(&challenge, b"app-1", b"app-2");
    let moved = ClientChallenge::decode(&moved).unwrap();
    assert!(matches!(respond(&moved, "one"), Err(LegacyError::NotVerified { .. })));
}

#[test]
fn what_a_peer_can_make_us_compute_is_bounded() {
    let changed = |at: usize, value: i32| {
        let mut body = start("one", 1).1.encode().to_vec();
        body[at..at + 4].copy_from_slice(&value.to_be_bytes());
        LegacyLimits { iterations: 2000 }.check(&ClientChallenge::decode(&body.into()).unwrap())
    };
    // 1 + (4 + 5) + (4 + 18), then iterations; then 4 + (4 + 17), then key bits.
    let (iterations, key_bits) = (32, 57);
    changed(iterations, 1).unwrap();
    changed(iterations, 2000).unwrap();
    for refused in [i32::MIN, -1, 0, 2001, i32::MAX] {
        let error = changed(iterations, refused).unwrap_err();
        assert!(
            matches!(error, LegacyError::Iterations { theirs, max: 2000 } if theirs == refused),
            "{error}"
        );
    }
    for refused in [i32::MIN, -128, 0, 8, 64, 127, 512, i32::MAX] {
        let error = changed(key_bits, refused).unwrap_err();
        assert!(matches!(error, LegacyError::KeyLength(bits) if bits == i64::from(refused)), "{error}");
    }
}

#[test]
fn other_ciphers_and_derivations_are_refused_by_name_and_names_have_no_case() {
    let check = |from: &[u8], to: &[u8]| {
        let body = replaced(&start("one", 1).1.encode(), from, to);
        LegacyLimits::default().check(&ClientChallenge::decode(&body).unwrap())
    };
    check(b"AES/CTR/NoPadding", b"aes/ctr/nopadding").unwrap();
    check(b"PBKDF2WithHmacSHA1", b"PBKDF2WITHHMACSHA1").unwrap();
    let error = check(b"AES/CTR/NoPadding", b"AES/CBC/NoPadding").unwrap_err();
    assert!(error.to_string().contains("spark.network.crypto.cipher=AES/CTR/NoPadding"), "{error}");
    let error = check(b"PBKDF2WithHmacSHA1", b"PBKDF2WithHmacMD5x").unwrap_err();
    assert!(error.to_string().contains("keyFactoryAlgorithm"), "{error}");
}

#[test]
fn own_settings_are_checked_too() {
    for (iterations, key_bits) in [(0, 128), (u32::MAX, 128), (1024, 0), (1024, 160)] {
        let settings = LegacySettings { iterations, key_bits, ..LegacySettings::default() };
        assert!(Initiator::start(app(), secret("one"), settings, &mut Seeded(1)).is_err());
    }
}

#[test]
fn a_proof_without_a_tail_is_refused() {
    let (initiator, challenge) = start("one", 1);
    let body = challenge.encode();
    // The challenge field is the last: app id, nonce, and 16 bytes that are cut off here.
    let mut short = body[..body.len() - 16].to_vec();
    let count = short.len() - 5 - 16 - 4;
    short[count..count + 4].copy_from_slice(&21_i32.to_be_bytes());
    let short = ClientChallenge::decode(&short.into()).unwrap();
    assert!(matches!(respond(&short, "one"), Err(LegacyError::NotVerified { .. })));

    let (response, _) = respond(&challenge, "one").unwrap();
    let mut empty = response.encode().to_vec();
    empty.splice(1..41, [0; 4]);
    let empty = ServerResponse::decode(&empty.into()).unwrap();
    assert!(matches!(initiator.finish(&empty), Err(LegacyError::NotVerified { .. })));
}

#[test]
fn every_changed_byte_of_the_proofs_is_refused() {
    let body = start("one", 1).1.encode();
    // App id and nonce; what C is, the server cannot know.
    for at in body.len() - 37..body.len() - 16 {
        let mut changed = body.to_vec();
        changed[at] ^= 1;
        assert!(respond(&ClientChallenge::decode(&changed.into()).unwrap(), "one").is_err(), "{at}");
    }
    let response = respond(&start("one", 1).1, "one").unwrap().0.encode();
    // App id, nonce, and C + 1.
    for at in 5..41 {
        let mut changed = response.to_vec();
        changed[at] ^= 1;
        let changed = ServerResponse::decode(&changed.into()).unwrap();
        assert!(start("one", 1).0.finish(&changed).is_err(), "{at}");
    }
}

#[test]
fn ivs_of_another_length_are_refused_with_what_to_change() {
    let (initiator, challenge) = start("one", 1);
    let mut body = respond(&challenge, "one").unwrap().0.encode().to_vec();
    let end = body.len();
    body.truncate(end - 4);
    body[end - 20..end - 16].copy_from_slice(&12_i32.to_be_bytes());
    let error = initiator.finish(&ServerResponse::decode(&body.into()).unwrap()).unwrap_err();
    assert!(matches!(error, LegacyError::IvLength(12)), "{error}");
}

#[test]
fn messages_that_end_early_or_begin_otherwise_are_refused() {
    let (_, challenge) = start("one", 1);
    let response = respond(&challenge, "one").unwrap().0.encode();
    let challenge = challenge.encode();
    for end in 0..challenge.len() {
        let error = ClientChallenge::decode(&challenge.slice(..end)).unwrap_err();
        assert_eq!(error.peer_text(), "java.lang.IllegalArgumentException: Unknown challenge message.");
    }
    for end in 0..response.len() {
        assert!(ServerResponse::decode(&response.slice(..end)).is_err(), "{end}");
    }
    assert!(matches!(ClientChallenge::decode(&response), Err(LegacyError::Tag { ours: 0xfa, theirs: 0xfb })));
    assert!(matches!(ServerResponse::decode(&challenge), Err(LegacyError::Tag { ours: 0xfb, theirs: 0xfa })));
    ClientChallenge::decode(&[&challenge[..], b"junk"].concat().into()).unwrap();
}

#[test]
fn fields_beyond_the_bound_and_empty_nonces_are_refused() {
    let (_, challenge) = start("one", 1);
    let body = challenge.encode();
    // Behind the fixed part: count and nonce, count and challenge.
    let fixed = body.len() - (4 + 16) - (4 + 37);
    let with_nonce = |len: i32| {
        let nonce = vec![7; usize::try_from(len).unwrap()];
        let changed = [&body[..fixed], &len.to_be_bytes(), &nonce, &body[fixed + 20..]].concat();
        ClientChallenge::decode(&changed.into())
    };
    with_nonce(1024).unwrap();
    assert!(matches!(with_nonce(1025), Err(LegacyError::FieldTooLong(1025))));
    assert!(matches!(with_nonce(0), Err(LegacyError::NoNonce)));
}

#[test]
fn debug_shows_nothing_of_the_keys() {
    let (initiator, challenge) = start("one", 1);
    assert!(!format!("{initiator:?}").contains("expected"), "{initiator:?}");
    let (_, keys) = respond(&challenge, "one").unwrap();
    assert_eq!(format!("{keys:?}"), "LegacyKeys(128 bits, redacted)");
}

proptest! {
    #[test]
    fn hostile_bodies_are_refused_without_a_panic(
        first in prop_oneof![Just(0xfa_u8), Just(0xfb)],
        rest in prop::collection::vec(prop_oneof![Just(0_u8), 0..40_u8, any::<u8>()], 0..200),
    ) {
        let body = Bytes::from([&[first][..], &rest].concat());
        if let Ok(challenge) = ClientChallenge::decode(&body) {
            prop_assert!(respond(&challenge, "one").is_err());
        }
        if let Ok(response) = ServerResponse::decode(&body) {
            prop_assert!(start("one", 1).0.finish(&response).is_err());
        }
    }
}

fn start(text: &str, seed: u64) -> (Initiator, ClientChallenge) {
    let settings = LegacySettings { iterations: 3, ..LegacySettings::default() };
    Initiator::start(app(), secret(text), settings, &mut Seeded(seed)).unwrap()
}

fn respond(challenge: &ClientChallenge, text: &str) -> Result<(ServerResponse, LegacyKeys), LegacyError> {
    Responder::respond(challenge, &secret(text), &LegacyLimits { iterations: 2000 }, &mut Seeded(99))
}

fn agree(settings: LegacySettings, seed: u64) -> Result<(LegacyKeys, LegacyKeys), LegacyError> {
    let mut random = Seeded(seed);
    let (initiator, challenge) = Initiator::start(app(), secret("one"), settings, &mut random)?;
    let (response, server) =
        Responder::respond(&challenge, &secret("one"), &LegacyLimits::default(), &mut random)?;
    Ok((initiator.finish(&response)?, server))
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Bytes {
    let at = body.windows(from.len()).position(|window| window == from).unwrap();
    [&body[..at], to, &body[at + from.len()..]].concat().into()
}
