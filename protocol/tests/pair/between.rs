//! Someone who sits between the ends, has no key, and sends what it heard once more: back, again, or not at all. Each
//! attack is shown to arrive where nothing is bound, in clear.

use bytes::Bytes;
use sealed_shuffle_protocol::auth::{EngineVersion, Initiator, Responder, SessionKeys};
use sealed_shuffle_protocol::cipher::{CipherError, SessionCipher, SessionMode};
use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_protocol::crypto::random::Random;
use sealed_shuffle_protocol::ids::{AppId, RequestId};
use sealed_shuffle_protocol::message::Head;

use crate::joined::{Pair, Told, message, open_settings, planted, secret};
use crate::support::{Seeded, sealed_by_spark};

fn gcm() -> [SessionMode; 2] {
    EngineVersion::ALL.map(|version| SessionMode { version, cipher: SessionCipher::Gcm })
}

/// What an upload can hold: the answer to a question of the client.
fn planted_answer() -> Bytes {
    message(&Head::RpcResponse { request: RequestId(9) }, b"forged")
}

/// The messages of one direction of a GCM session, each with its length in front.
fn messages(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = wire.first_chunk() {
        let (first, rest) = wire.split_at(u64::from_be_bytes(*length) as usize);
        messages.push(first);
        wire = rest;
    }
    assert!(wire.is_empty(), "whole messages");
    messages
}

/// Both ends after their handshake, in clear without a mode; what they have said so far is forgotten.
fn settled(mode: Option<SessionMode>) -> Pair {
    let mut pair = match mode {
        Some(mode) => Pair::sealed(mode),
        None => Pair::in_clear(open_settings()),
    };
    pair.settle();
    pair.wire = Default::default();
    pair
}

/// The server sent a stream that holds a request.
fn after_a_stream(mode: Option<SessionMode>) -> Pair {
    let mut pair = settled(mode);
    pair.client.engine.stream("planted".to_owned()).unwrap();
    pair.settle();
    assert_eq!(pair.told.last(), Some(&Told::Stream("planted".to_owned(), planted())), "the honest exchange");
    pair
}

fn was_asked(pair: &Pair, what: &str) -> usize {
    pair.asked.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn servers_own_bytes_are_refused_when_they_come_back() {
    for mode in gcm() {
        let mut pair = after_a_stream(Some(mode));
        let heard = pair.wire.1.clone();
        pair.hand_to_server(messages(&heard).last().unwrap());
        assert_eq!(was_asked(&pair, "remove"), 0, "{mode}: a request that nobody sent");
        let end = pair.server_end.unwrap();
        assert!(matches!(end, CloseReason::Cipher(CipherError::Reflected)), "{mode}: {end}");
    }
    let mut clear = after_a_stream(None);
    let heard = clear.wire.1.clone();
    clear.hand_to_server(&heard[heard.len() - planted().len()..]);
    assert_eq!(was_asked(&clear, "remove"), 1, "in clear it is a request");
}

#[test]
fn clients_own_bytes_are_refused_when_they_come_back() {
    for mode in [Some(gcm()[0]), Some(gcm()[1]), None] {
        let mut pair = settled(mode);
        pair.client.engine.upload(RequestId(9), Bytes::from_static(b"take"), planted_answer()).unwrap();
        pair.settle();
        assert!(was_asked(&pair, "end of the upload") == 1, "the honest exchange: {:?}", pair.asked);

        let said = pair.wire.0.clone();
        let told = pair.told.len();
        match mode {
            Some(mode) => {
                pair.hand_to_client(messages(&said).last().unwrap());
                assert_eq!(pair.told.len(), told, "{mode}: an answer that nobody gave");
                let end = pair.client_end.unwrap();
                assert!(matches!(end, CloseReason::Cipher(CipherError::Reflected)), "{mode}: {end}");
            }
            None => {
                pair.hand_to_client(&said[said.len() - planted_answer().len()..]);
                let forged = Told::Rpc(RequestId(9), Ok(Bytes::from_static(b"forged")));
                assert_eq!(pair.told.last(), Some(&forged), "in clear it is an answer");
            }
        }
    }
}

#[test]
fn request_that_comes_twice_is_executed_once() {
    for mode in [Some(gcm()[0]), Some(gcm()[1]), None] {
        let mut pair = settled(mode);
        pair.client.engine.rpc(RequestId(1), b"remove").unwrap();
        pair.settle();
        assert_eq!(was_asked(&pair, "remove"), 1, "the honest exchange");

        let said = pair.wire.0.clone();
        pair.hand_to_server(&said);
        let Some(mode) = mode else {
            assert_eq!(was_asked(&pair, "remove"), 2, "in clear it is executed again");
            continue;
        };
        assert_eq!(was_asked(&pair, "remove"), 1, "{mode}");
        let end = pair.server_end.unwrap();
        assert!(matches!(end, CloseReason::Cipher(CipherError::Replayed)), "{mode}: {end}");
    }
}

#[test]
fn request_behind_one_that_was_dropped_is_refused() {
    for mode in gcm() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        pair.wire = Default::default();
        pair.client.engine.rpc(RequestId(1), b"first").unwrap();
        pair.client.engine.rpc(RequestId(2), b"second").unwrap();
        let said = pair.client_says();
        let [_, second] = messages(&said)[..] else { panic!("a message for each request") };
        pair.hand_to_server(second);
        assert_eq!(was_asked(&pair, "second"), 0, "{mode}");
        let end = pair.server_end.unwrap();
        let missing = CipherError::Missing { due: 0, came: 1 };
        assert_eq!(end.to_string(), CloseReason::Cipher(missing).to_string(), "{mode}");
    }
}

#[test]
fn request_of_sparks_client_that_comes_twice_is_executed_once() {
    for mode in gcm() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        let mut random = Seeded(11);
        let requests: Vec<_> = (0..50)
            .map(|n| {
                of_spark(mode, &mut random, &message(&Head::RpcRequest { request: RequestId(n) }, b"remove"))
            })
            .collect();
        for request in &requests {
            pair.hand_to_server(request);
        }
        assert_eq!(was_asked(&pair, "remove"), 50, "{mode}: the honest exchange");
        assert!(pair.server_end.is_none(), "{mode}: {:?}", pair.server_end);

        pair.hand_to_server(&requests[7]);
        assert_eq!(was_asked(&pair, "remove"), 50, "{mode}");
        let end = pair.server_end.unwrap();
        assert!(matches!(end, CloseReason::Cipher(CipherError::Replayed)), "{mode}: {end}");
    }
}

/// A message as Spark's client seals it in the session of [`Pair::sealed`].
fn of_spark(mode: SessionMode, random: &mut Seeded, plain: &[u8]) -> Vec<u8> {
    let keys = keys();
    let key = match mode.version {
        EngineVersion::V1 => &keys.v1().as_bytes()[..],
        EngineVersion::V2 => keys.v2().as_bytes(),
    };
    let mut drawn = vec![0; key.len() + 7];
    random.fill(&mut drawn).unwrap();
    sealed_by_spark(key, &drawn, plain)
}

/// The keys of [`Pair::sealed`], whose randomness repeats.
fn keys() -> SessionKeys {
    let secret = secret("a shared secret");
    let (_, challenge) = Initiator::start(AppId::new("app-1"), secret.clone(), &mut Seeded(1)).unwrap();
    Responder::respond(&challenge, &secret, &mut Seeded(2)).unwrap().1
}
