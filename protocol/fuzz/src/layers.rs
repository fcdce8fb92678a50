//! Session ciphers under bytes of a stranger: whatever was changed, nothing comes out that was not put in.

use std::sync::Arc;

use bytes::BytesMut;
use sealed_shuffle_protocol::auth::{AesSession, FirstBytes, Initiator, Responder, SessionKeys};
use sealed_shuffle_protocol::cipher::{Layer, Role, Segment, SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl::{self, Demand, Offer, Protection, SaslCipher, SaslKeys, SaslLayer};
use sealed_shuffle_protocol::secret::AppSecret;

use super::input::{Input, masked, pieces};
use super::random::Seeded;

/// Plaintext of two messages: one of `len` bytes, one of one byte.
fn plain(len: u32) -> [Vec<u8>; 2] {
    [(0..len).map(|i| (7 * i + i / 256) as u8).collect(), vec![9]]
}

/// AES-GCM of either engine version.
pub(crate) fn gcm(data: &[u8]) {
    let modes: Vec<_> = SessionMode::all().filter(|mode| mode.cipher == SessionCipher::Gcm).collect();
    let mut input = Input(data);
    let choice = input.byte();
    let (client, server) = aes_keys();
    let mode = modes[usize::from(choice >> 1) % modes.len()];
    let mut client = AesSession::client(client, mode, Box::new(Seeded(3)));
    let mut server = AesSession::server(server, FirstBytes::Frame, Box::new(Seeded(4)));
    // Two segments.
    authenticated(&mut client, &mut server, &plain(40_000), choice, input);
}

/// SASL's privacy layer with each of its ciphers.
pub(crate) fn sasl(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let (client, server) = sasl_keys(SaslCipher::ALL[usize::from(choice >> 1) % SaslCipher::ALL.len()]);
    let mut client = SaslLayer::new(client, Role::Client, 256);
    let mut server = SaslLayer::new(server, Role::Server, 256);
    // Three tokens.
    authenticated(&mut client, &mut server, &plain(600), choice, input);
}

/// Opens a stream that is all the stranger's, or a genuine one with his mask somewhere over it: what comes out is the
/// beginning of what was put in.
fn authenticated(
    client: &mut dyn Layer,
    server: &mut dyn Layer,
    plain: &[Vec<u8>],
    choice: u8,
    mut input: Input<'_>,
) {
    let size = input.byte();
    let sealed: Vec<u8> = plain.iter().flat_map(|plain| seal(client, plain)).collect();
    let changed = if choice.is_multiple_of(2) {
        input.0.to_vec()
    } else {
        let at = usize::from(u16::from_be_bytes([input.byte(), input.byte()])).min(sealed.len());
        [&sealed[..at], &masked(&sealed[at..], input.0)].concat()
    };
    let expected = plain.concat();
    let (mut waiting, mut opened) = (BytesMut::new(), 0);
    for piece in pieces(&changed, size) {
        waiting.extend_from_slice(piece);
        loop {
            match server.open(&mut waiting) {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    assert!(!piece.is_empty());
                    assert_eq!(
                        expected.get(opened..opened + piece.len()),
                        Some(&piece[..]),
                        "it was not put in"
                    );
                    opened += piece.len();
                }
                Err(_) => {
                    assert!(server.open(&mut waiting).is_err(), "an error stays");
                    return;
                }
            }
        }
    }
    assert!(changed != sealed || opened == expected.len(), "genuine and refused");
}

pub(crate) fn seal(layer: &mut dyn Layer, plain: &[u8]) -> Vec<u8> {
    let room = layer.layout().sealed_len(plain.len() as u64);
    let mut segment = Segment::with_capacity(usize::try_from(room).expect("it is small"));
    segment.reset(layer.layout());
    assert_eq!(segment.put(plain), plain.len());
    layer.seal(&mut segment).expect("it is laid out for the layer");
    segment.sealed().to_vec()
}

pub(crate) fn aes_keys() -> (SessionKeys, SessionKeys) {
    let secret = Arc::new(AppSecret::new("a shared secret".to_owned()));
    let (initiator, challenge) =
        Initiator::start(AppId::new("app-1"), secret.clone(), &mut Seeded(1)).expect("no end of random");
    let (response, server) = Responder::respond(&challenge, &secret, &mut Seeded(2)).expect("it is genuine");
    (initiator.finish(&response).expect("it is genuine"), server)
}

fn sasl_keys(cipher: SaslCipher) -> (SaslKeys, SaslKeys) {
    let secret = Arc::new(AppSecret::new("a shared secret".to_owned()));
    let wanted = Demand::Conf(vec![cipher]);
    let (client, _) = sasl::Client::start(AppId::new("app-1"), secret.clone(), wanted, &mut Seeded(1))
        .expect("no end of random");
    let (server, challenge) =
        sasl::Server::start(&Offer::everything(), &mut Seeded(2)).expect("there is an offer");
    let (awaiting, response) = client.respond(&challenge).expect("it is genuine");
    let judged = server.judge(response.token(), &secret).expect("it is genuine");
    match (awaiting.finish(&judged.answer).expect("it is genuine"), judged.protection) {
        (Protection::Conf(client), Protection::Conf(server)) => (client, server),
        _ => panic!("auth-conf was agreed on"),
    }
}
