//! Bytes that Spark's own classes made; see `tests/vectors/sasl/README.md`.

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::{Layer, Role};
use sealed_shuffle_protocol::sasl::{
    Client, Demand, Offer, Protection, SaslCipher, SaslKeys, SaslLayer, SaslMessage, Server,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Fixed, app, directive, hex, list, open, pattern, seal, secret, text};

const VERSIONS: [&str; 3] = [
    include_str!("../vectors/sasl/spark-3.0.3.json"),
    include_str!("../vectors/sasl/spark-3.3.4.json"),
    include_str!("../vectors/sasl/spark-4.3.0.json"),
];

/// What Spark's server takes as one write, and one token.
const BLOCK: usize = 64 << 10;

#[test]
fn exchanges_are_sparks_bytes() {
    for_each_exchange(|case| {
        agree(case);
    });
}

#[test]
fn both_directions_are_sealed_and_opened_as_spark_does() {
    for_each_exchange(|case| {
        let Some((client, server)) = agree(case) else { return };
        let mut client = SaslLayer::new(client, Role::Client, BLOCK);
        let mut server = SaslLayer::new(server, Role::Server, BLOCK);
        for write in list(&case["to_server"]) {
            check_write(write, &mut client, &mut server);
        }
        for write in list(&case["to_client"]) {
            check_write(write, &mut server, &mut client);
        }
    });
}

fn for_each_exchange(check: impl Fn(&Value)) {
    for version in VERSIONS {
        let version: Value = serde_json::from_str(version).unwrap();
        list(&version["exchanges"]).iter().for_each(&check);
    }
}

/// Runs both ends with Spark's nonces; returns the keys of client and server, where there are keys.
fn agree(case: &Value) -> Option<(SaslKeys, SaslKeys)> {
    let secret = secret(text(&case["secret"]));
    let cipher: Option<SaslCipher> = case["cipher"].as_str().map(|name| name.parse().unwrap());
    let (challenge, response) = (text(&case["challenge"]), text(&case["response"]));
    let wanted = cipher.map_or(Demand::Auth, |cipher| Demand::Conf(vec![cipher]));

    let mut random = Fixed::nonce(directive(response, "cnonce"));
    let (client, first) = Client::start(app(), secret.clone(), wanted, &mut random).unwrap();
    assert_eq!(first.encode(), hex(text(&case["first"])));

    let offer = Offer { auth: challenge.contains("auth-conf,auth"), ..Offer::everything() };
    let (server, ours) = Server::start(&offer, &mut Fixed::nonce(directive(challenge, "nonce"))).unwrap();
    assert_eq!(ours, challenge);

    let (awaiting, message) = client.respond(text(&case["seen"]).as_bytes()).unwrap();
    assert_eq!(message.token(), response);
    assert_eq!(message.encode(), hex(text(&case["response_message"])));
    assert_eq!(SaslMessage::decode(&Bytes::from(hex(text(&case["response_message"])))).unwrap(), message);

    let judged = server.judge(response.as_bytes(), &secret).unwrap();
    assert_eq!(judged.answer, text(&case["answer"]));
    match (awaiting.finish(&judged.answer).unwrap(), judged.protection) {
        (Protection::Conf(client), Protection::Conf(server)) => {
            assert_eq!((Some(client.cipher()), Some(server.cipher())), (cipher, cipher));
            Some((client, server))
        }
        (Protection::Auth, Protection::Auth) => {
            assert_eq!(cipher, None);
            None
        }
        _ => panic!("the ends disagree"),
    }
}

fn check_write(write: &Value, from: &mut dyn Layer, to: &mut dyn Layer) {
    let plain = match write.get("pattern") {
        Some(size) => pattern(usize::try_from(size.as_u64().unwrap()).unwrap()),
        None => hex(text(&write["plain"])),
    };
    let sealed = seal(from, &plain);
    match write.get("sealed") {
        Some(whole) => assert_eq!(sealed, hex(text(whole))),
        None => {
            assert_eq!(sealed.len() as u64, write["sealed_len"].as_u64().unwrap());
            assert_eq!(Sha256::digest(&sealed)[..], hex(text(&write["sealed_sha256"])));
        }
    }
    assert_eq!(open(to, [&sealed[..]]).unwrap(), plain);
}
