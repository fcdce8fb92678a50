//! Who sent a GCM message, and which one it is: what the salts say, and what is refused by them. Each attack has beside it
//! the honest exchange.

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::Role::{self, Client, Server};
use sealed_shuffle_protocol::cipher::{CipherError, GcmLayer};
use sealed_shuffle_protocol::crypto::random::Random;
use sealed_shuffle_protocol::secret::Secret;

use crate::support::{Seeded, open, seal_one, sealed_by_spark};

#[test]
fn a_message_that_comes_back_to_its_sender_is_refused() {
    for version in EngineVersion::ALL {
        for (role, peer) in [(Client, Server), (Server, Client)] {
            let mut sender = layer(version, role);
            let first = seal_one(&mut sender, b"first");
            let second = seal_one(&mut sender, b"second");
            assert_eq!(open(&mut layer(version, peer), [&first[..], &second]).unwrap(), b"firstsecond");
            for back in [&first, &second] {
                let error = open(&mut layer(version, role), [&back[..]]).unwrap_err();
                assert!(matches!(error, CipherError::Reflected), "{version} {role:?}: {error}");
            }
            let error = open(&mut sender, [&first[..]]).unwrap_err();
            assert!(matches!(error, CipherError::Reflected), "{version} {role:?}: {error}");
        }
    }
}

#[test]
fn messages_of_ours_open_in_their_order_alone() {
    for version in EngineVersion::ALL {
        let mut sender = layer(version, Client);
        let messages: Vec<_> = (0..4_u8).map(|n| seal_one(&mut sender, &[n; 9])).collect();
        let opened = |order: &[usize]| {
            open(&mut layer(version, Server), order.iter().map(|&n| &messages[n][..]))
                .map(|plain| plain.len())
        };
        assert_eq!(opened(&[0, 1, 2, 3]).unwrap(), 4 * 9);
        // Who is cut off at the end is told by TCP alone.
        assert_eq!(opened(&[0, 1]).unwrap(), 2 * 9);
        for again in [&[0, 0][..], &[0, 1, 1], &[0, 1, 2, 0]] {
            let error = opened(again).unwrap_err();
            assert!(matches!(error, CipherError::Replayed), "{version} {again:?}: {error}");
        }
        for (dropped, due, came) in [(&[1][..], 0, 1), (&[0, 2], 1, 2), (&[0, 2, 1, 3], 1, 2), (&[3], 0, 3)] {
            let error = opened(dropped).unwrap_err();
            let CipherError::Missing { due: d, came: c } = error else { panic!("{dropped:?}: {error}") };
            assert_eq!((d, c), (due, came), "{version} {dropped:?}");
        }
    }
}

#[test]
fn a_message_of_spark_is_refused_the_second_time() {
    for version in EngineVersion::ALL {
        let mut random = Seeded(9);
        let messages: Vec<_> = (0..200).map(|_| of_spark(version, &mut random)).collect();
        let honest = || messages.iter().map(Vec::as_slice);
        for role in [Client, Server] {
            assert_eq!(open(&mut layer(version, role), honest()).unwrap(), b"spark".repeat(200));
            for again in [0, 100, 199] {
                let replay = honest().chain([messages[again].as_slice()]);
                let error = open(&mut layer(version, role), replay).unwrap_err();
                assert!(matches!(error, CipherError::Replayed), "{version} {again}: {error}");
            }
        }
    }
}

/// The limit of the format, and of the memory for it: `docs/security/threat-model.md` says so.
#[test]
fn messages_of_spark_open_in_any_order_and_again_once_they_are_forgotten() {
    let version = EngineVersion::V2;
    let mut random = Seeded(9);
    let messages: Vec<_> = (0..3584).map(|_| of_spark(version, &mut random)).collect();
    let mut server = layer(version, Server);
    let moved = messages.iter().rev().map(Vec::as_slice);
    assert_eq!(open(&mut server, moved).unwrap().len(), 3584 * 5);
    assert_eq!(open(&mut server, [&messages[3583][..]]).unwrap(), b"spark");
    let error = open(&mut server, [&messages[0][..]]).unwrap_err();
    assert!(matches!(error, CipherError::Replayed), "{error}");
}

#[test]
fn a_salt_cannot_be_exchanged() {
    for version in EngineVersion::ALL {
        let mut sender = layer(version, Client);
        let (first, second) = (seal_one(&mut sender, b"one"), seal_one(&mut sender, b"two"));
        let forged = [&second[..9], &first[9..25], &second[25..]].concat();
        let error = open(&mut layer(version, Server), [&forged[..]]).unwrap_err();
        assert!(matches!(error, CipherError::NotVerified { segment: 0, .. }), "{version}: {error}");
    }
}

#[test]
fn messages_without_plaintext_count_for_nothing() {
    for version in EngineVersion::ALL {
        let mut client = layer(version, Client);
        let (first, second) = (seal_one(&mut client, b"one"), seal_one(&mut client, b"two"));
        let empty = sealed_by_spark(&key(version), &first[9..9 + version.key_len() + 7], b"");
        let pieces = [&empty[..], &empty, &first, &empty, &second];
        assert_eq!(open(&mut layer(version, Server), pieces).unwrap(), b"onetwo");
    }
}

#[test]
fn salts_of_ours_do_not_repeat_even_where_randomness_does() {
    for version in EngineVersion::ALL {
        let mut starts = std::collections::HashSet::new();
        for role in [Client, Server] {
            let mut layer = of(version, role, Box::new(Stuck));
            for _ in 0..1000 {
                let sealed = seal_one(&mut layer, b"same");
                assert!(starts.insert(sealed[9..25].to_vec()));
            }
        }
    }
}

#[test]
fn salts_of_another_session_are_noise() {
    let sealed = |key| seal_one(&mut GcmLayer::aes_128(Secret::new(key), Client, Box::new(Stuck)), b"same");
    let (first, second) = (sealed([1; 16]), sealed([2; 16]));
    let differing: u32 = first[9..25].iter().zip(&second[9..25]).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert!((32..96).contains(&differing), "{differing} of 128 bits differ");
}

/// A random source that has one byte only.
struct Stuck;

impl Random for Stuck {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), sealed_shuffle_protocol::crypto::random::RandomError> {
        out.fill(7);
        Ok(())
    }
}

fn of_spark(version: EngineVersion, random: &mut Seeded) -> Vec<u8> {
    let mut drawn = vec![0; version.key_len() + 7];
    random.fill(&mut drawn).unwrap();
    sealed_by_spark(&key(version), &drawn, b"spark")
}

fn key(version: EngineVersion) -> Vec<u8> {
    vec![1; version.key_len()]
}

fn layer(version: EngineVersion, role: Role) -> GcmLayer {
    of(version, role, Box::new(Seeded(1)))
}

fn of(version: EngineVersion, role: Role, random: Box<dyn Random>) -> GcmLayer {
    match version {
        EngineVersion::V1 => GcmLayer::aes_256(Secret::new([1; 32]), role, random),
        EngineVersion::V2 => GcmLayer::aes_128(Secret::new([1; 16]), role, random),
    }
}
