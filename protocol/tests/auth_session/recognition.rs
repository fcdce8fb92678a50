//! Which mode a server finds, and what it does before and without one.

use proptest::prelude::*;
use sealed_shuffle_protocol::auth::{AesSession, EngineVersion, FirstBytes};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Segment, SessionCipher, SessionMode};

use crate::support::{Seeded, agreed_keys, open, seal_one, split};

const REQUEST: [u8; 26] = *b"\0\0\0\0\0\0\0\x1a\x03\0\0\0\0\0\0\0\x2a\0\0\0\x05hello";

#[test]
fn all_four_modes_are_recognised_and_answered() {
    for mode in modes() {
        let (mut client, mut server) = pair(7, mode);
        assert_eq!(client.mode(), Some(mode));
        assert_eq!(server.mode(), None);

        let sealed = seal_one(&mut client, &REQUEST);
        assert_eq!(open(&mut server, sealed.chunks(1)).unwrap(), REQUEST);
        assert_eq!(server.mode(), Some(mode));

        let answer = seal_one(&mut server, b"an answer");
        assert_eq!(open(&mut client, [&answer[..]]).unwrap(), b"an answer");
        let more = seal_one(&mut client, b"more");
        assert_eq!(open(&mut server, [&more[..]]).unwrap(), b"more");
    }
}

#[test]
fn every_request_type_and_legal_length_begins_a_session() {
    for length in [9u64, 0x1a, 0x8000_0006] {
        for kind in [0u8, 3, 6, 9, 10, 11] {
            for mode in modes().into_iter().filter(|mode| mode.cipher == SessionCipher::Ctr) {
                let (mut client, mut server) = pair(3, mode);
                let first = [&length.to_be_bytes()[..], &[kind]].concat();
                let sealed = seal_one(&mut client, &first);
                assert_eq!(open(&mut server, [&sealed[..]]).unwrap(), first);
                assert_eq!(server.mode(), Some(mode));
            }
        }
    }
}

#[test]
fn answers_and_impossible_lengths_begin_no_session() {
    let firsts =
        [(8u64, 3u8), (0, 3), (0x8000_0007, 3), (u64::MAX, 3), (26, 4), (26, 1), (26, 12), (26, 255)];
    for (length, kind) in firsts {
        let (mut client, mut server) =
            pair(3, SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr });
        let sealed = seal_one(&mut client, &[&length.to_be_bytes()[..], &[kind]].concat());
        assert!(matches!(open(&mut server, [&sealed[..]]), Err(CipherError::Unrecognised)));
    }
}

#[test]
fn eight_bytes_decide_nothing() {
    for mode in modes() {
        let (mut client, mut server) = pair(5, mode);
        let sealed = seal_one(&mut client, &REQUEST);
        assert_eq!(open(&mut server, [&sealed[..8]]).unwrap(), b"");
        assert_eq!(server.mode(), None);
    }
}

#[test]
fn plain_frames_after_the_handshake_are_refused() {
    let (_, mut server) = pair(5, modes()[0]);
    assert!(matches!(open(&mut server, [&REQUEST[..]]), Err(CipherError::Unrecognised)));
    assert!(matches!(open(&mut server, [&REQUEST[..]]), Err(CipherError::Failed)));
    assert!(matches!(seal_error(&mut server), CipherError::Failed));
    assert_eq!(server.mode(), None);
}

#[test]
fn a_server_cannot_speak_first() {
    let (_, mut server) = pair(5, modes()[0]);
    assert!(matches!(seal_error(&mut server), CipherError::Undecided));
}

#[test]
fn another_sessions_keys_are_not_recognised() {
    for mode in modes().into_iter().filter(|mode| mode.cipher == SessionCipher::Ctr) {
        let (mut client, _) = pair(1, mode);
        let (_, mut server) = pair(2, mode);
        let sealed = seal_one(&mut client, &REQUEST);
        assert!(matches!(open(&mut server, [&sealed[..]]), Err(CipherError::Unrecognised)));
    }
}

#[test]
fn ciphers_have_sparks_names_in_any_case() {
    assert_eq!("AES/CTR/NoPadding".parse(), Ok(SessionCipher::Ctr));
    assert_eq!("aes/gcm/nopadding".parse(), Ok(SessionCipher::Gcm));
    for name in ["", "AES", "AES/CBC/PKCS5Padding", " AES/CTR/NoPadding"] {
        let error = name.parse::<SessionCipher>().unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    assert_eq!(modes()[3].to_string(), "AES/GCM/NoPadding v2");
}

#[test]
fn every_engine_version_but_1_is_2() {
    assert_eq!(EngineVersion::from_config(1), EngineVersion::V1);
    for other in [-1, 0, 2, 3] {
        assert_eq!(EngineVersion::from_config(other), EngineVersion::V2);
    }
}

proptest! {
    #[test]
    fn recognised_whatever_the_split_and_the_keys(
        seed: u64,
        which in 0..4usize,
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let mode = modes()[which];
        let (mut client, mut server) = pair(seed, mode);
        let sealed = seal_one(&mut client, &REQUEST);
        prop_assert_eq!(open(&mut server, split(&sealed, &cuts)).unwrap(), REQUEST);
        prop_assert_eq!(server.mode(), Some(mode));
    }

    #[test]
    fn garbage_is_refused(seed: u64, mut bytes in prop::collection::vec(any::<u8>(), 9..200)) {
        bytes[0] |= 1; // Not the clear length of a GCM message.
        let (_, mut server) = pair(seed, modes()[0]);
        prop_assert!(matches!(open(&mut server, [&bytes[..]]), Err(CipherError::Unrecognised)));
    }
}

fn modes() -> [SessionMode; 4] {
    [
        SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr },
        SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Ctr },
        SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Gcm },
        SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm },
    ]
}

fn pair(seed: u64, mode: SessionMode) -> (AesSession, AesSession) {
    let (client, server) = agreed_keys(seed);
    (
        AesSession::client(client, mode, Box::new(Seeded(seed ^ 1))),
        AesSession::server(server, FirstBytes::Frame, Box::new(Seeded(seed ^ 2))),
    )
}

fn seal_error(layer: &mut dyn Layer) -> CipherError {
    let mut segment = Segment::with_capacity(64);
    segment.reset(layer.layout());
    segment.put(b"text");
    let error = layer.seal(&mut segment).unwrap_err();
    assert_eq!(segment.sealed(), b"");
    error
}
