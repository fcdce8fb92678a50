//! Exchanges and tokens that were taken from Spark's own ends by hand, before there was a generator.

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::{Layer, Role};
use sealed_shuffle_protocol::sasl::{
    Client, Demand, Offer, Protection, SaslCipher, SaslKeys, SaslLayer, Server,
};

use crate::support::{Fixed, app, hex, keys, open, seal, secret};

/// nonce, cnonce, response, answer.
type Proofs = (&'static str, &'static str, &'static str, &'static str);

#[test]
fn authentication_alone() {
    let short: Proofs = (
        "YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS",
        "gnwVzhh0azWJNYeuoT7vwwUmLGT9FBP5VvvvJVZE",
        "c12131fe5184c0a29a76795bc1b29b3a",
        "ad4cb97c58b59f61877e0a96a1fa121a",
    );
    assert!(matches!(agree("secret", None, short), (Protection::Auth, Protection::Auth)));

    // As long as the secrets that Spark generates: its password has a line break.
    let long: Proofs = (
        "nF63pF/b72i+IZlA7R58oMyhvyLJFitS8OGcnBCa",
        "LFKygW9jYgFnPoPFXG0CnxKKQp8hiuHr7q+Dpoxq",
        "2da7c8288fe335de870897222e856468",
        "27c34b617bf083ce9ff755866f0d80d8",
    );
    assert!(matches!(agree(&"0123456789abcdef".repeat(4), None, long), (Protection::Auth, Protection::Auth)));
}

#[test]
fn triple_des() {
    let (client, server) = agree_on(
        SaslCipher::TripleDes,
        (
            "FbuF250rSzBSYs4Vt6WQL8xSNOqIVL41R3ABQu+k",
            "AON7Ldy8YpPBFCCmPaeE1nc94R3zsO5vlFqRiv6t",
            "1a991b9612ad403517d4ef1a9b2d6479",
            "e22de9f5fff3cf7c55f4b5b95640be39",
        ),
    );
    let (mut client, mut server) = layers(client, server);
    for (message, token) in [
        ("hello", "b850fa56b16bae200d75b721a9fe0497 0001 00000000"),
        ("x", "d27fc43e83fa0a34c1ff057134ab794c 0001 00000001"),
        ("12345", "4c5663982e2e610975c7bc3ad606dad3 0001 00000002"),
        ("123456", "0978699b10f2b54f94e1ec7288973bac9aaf4faa931a5cd8 0001 00000003"),
        (
            "0123456789abcdef",
            "5ec2846a121286c7df62558ea8d75aacb3cb08009a51c763ce63e58fdc06d012 0001 00000004",
        ),
    ] {
        check(message, token, &mut client, &mut server);
    }
    for (message, token) in [
        ("world", "29ae07f1f59769fc55e6d92d37220984 0001 00000000"),
        ("yy", "1d6ec1f2f6c13432e5a2f8f97e060180 0001 00000001"),
    ] {
        check(message, token, &mut server, &mut client);
    }
}

#[test]
fn rc4() {
    let (client, server) = agree_on(
        SaslCipher::Rc4,
        (
            "ob/TGJpTR7B+EqmF/wvFdzUFYWCiXVHnhyYI2Yu7",
            "Q7EWMHfQ/PkWziCurc2xRxEjuf39rR2fCIsnj7Lu",
            "acc79f62df404777ef3f94cf8ec21d04",
            "fda6cf8f260837b17f0902c0223a88bc",
        ),
    );
    let (mut client, mut server) = layers(client, server);
    for (message, token) in [
        ("hello", "ce36ff78cdd0b96b0ee40e55b6feb0 0001 00000000"),
        ("x", "864c5493c52353a481353e 0001 00000001"),
        ("12345", "249a911a0e00533fbeca69aa42f96b 0001 00000002"),
        ("123456", "c4713243963e61b0d8070e0be8d4c347 0001 00000003"),
        ("0123456789abcdef", "304e1f045348244eda4162901cec5d86c72559de18e2605ccfc6 0001 00000004"),
    ] {
        check(message, token, &mut client, &mut server);
    }
    for (message, token) in [
        ("world", "12c82ed7fc56c580a71295f0f02ddd 0001 00000000"),
        ("yy", "3cb6f47989541085f0f0931a 0001 00000001"),
    ] {
        check(message, token, &mut server, &mut client);
    }
}

#[test]
fn the_weak_ones() {
    let cases: [(SaslCipher, [&str; 3], [&str; 2]); 3] = [
        (
            SaslCipher::Des,
            [
                "scRucOP9f9QN3zOpCtxXnFIucJUjSW4Ks4ljlFMi",
                "VMOE77RlaO21HT0RbV2YA+CH+HbVThoNCJ1lD+i9",
                "9ad258a2110a2636a9978c97f6edbc01",
            ],
            ["9a07e07455e2f63c47d514fd57d0b37a000100000000", "c42b13906c140079a19c462b7ed366a9000100000001"],
        ),
        (
            SaslCipher::Rc4_56,
            [
                "aKXiTinpSfY1d7zNDgMhtcgK6a1vokEQ4D82EhKi",
                "OYfEuxNCynB2TkimZYBprzdwodtmfz3zVOcAVhxP",
                "f2c5fb3582eff903e79a5f57d8715d67",
            ],
            ["0707b7fa221852b52ab956402acbe2000100000000", "ef5a0edac26bb2feeb10ff000100000001"],
        ),
        (
            SaslCipher::Rc4_40,
            [
                "snajqiFp1Ba8F9ZHJEaTMOOLBQcNKJ5V6dlsLo+Z",
                "J+yzFRDfHYFuBJqrB3GwuXzfBoMYhY7wDkFuTsYd",
                "e696d4b7552158aacaf65f6775e8314a",
            ],
            ["f9953e131eb6441cb78188b1312fcf000100000000", "67a99e676e79786cfc0ad8000100000001"],
        ),
    ];
    for (cipher, [nonce, cnonce, response], [hello, x]) in cases {
        let (client, server) = agree_on(cipher, (nonce, cnonce, response, ""));
        let (mut client, mut server) = layers(client, server);
        check("hello", hello, &mut client, &mut server);
        check("x", x, &mut client, &mut server);
    }
}

/// A connection of Spark 4.3.0 at both ends: its first sealed frames.
#[test]
fn a_connection_of_spark() {
    let (client, server) = agree_on(
        SaslCipher::TripleDes,
        (
            "9U5bl5KkBQXUKO8cdQrCo8twOs1s9De/TRSq7e7+",
            "kbCcK5u6oPfVtBk6RZzLiT+EaltexDv16Ad44Cai",
            "5287faaa90ccac9754ec86a8d58e81f2",
            "0093f15c22388993685b11fe05d73ed0",
        ),
    );
    let (mut client, mut server) = layers(client, server);
    for (to_server, sealed, plain) in [
        (
            true,
            "0000000000000036 d68e1f1d608e2e9996af5513b9040c46b914de66dd7d16c77a95a37b99344633be20154200501b44 \
             0001 00000000",
            "000000000000001b 03 6948e8faf2b8ca64 00000006 77686f616d69",
        ),
        (
            false,
            "000000000000003e ba8607691482ce209c1fd6114d1373c4a428dff911a43afb55487c7272ca6faf7912f173356d53ab \
             de8f1ff796f54467 0001 00000000",
            "0000000000000023 04 6948e8faf2b8ca64 0000000e 636c69656e7449643d6170702d31",
        ),
        (
            true,
            "0000000000000036 56506ff1798855c0ba5973f55523fa1a54413d3021b1164b79d02679633f97fce0ea751a196432c1 \
             0001 00000001",
            "0000000000000019 03 4d6551f89b137c90 00000004 6f70656e",
        ),
        (
            false,
            "0000000000000036 b6b8ac2ffecd437c7e02282e53eda2ceb6bf584663956637557bd18fd76a49d12344ba081f2365b3 \
             0001 00000001",
            "000000000000001d 04 4d6551f89b137c90 00000008 5efbbece706e1603",
        ),
    ] {
        let (from, to) = if to_server { (&mut client, &mut server) } else { (&mut server, &mut client) };
        assert_eq!(seal(from, &hex(plain)), hex(sealed));
        assert_eq!(open(to, [&hex(sealed)[..]]).unwrap(), hex(plain));
    }
}

fn agree_on(cipher: SaslCipher, proofs: Proofs) -> (SaslKeys, SaslKeys) {
    let (client, server) = agree("secret", Some(cipher), proofs);
    (keys(client), keys(server))
}

/// Runs both ends with Spark's nonces; they must show what Spark's ends showed.
fn agree(text: &str, cipher: Option<SaslCipher>, proofs: Proofs) -> (Protection, Protection) {
    let (nonce, cnonce, response, answer) = proofs;
    let wanted = cipher.map_or(Demand::Auth, |cipher| Demand::Conf(vec![cipher]));
    let (client, _) = Client::start(app(), secret(text), wanted, &mut Fixed::nonce(cnonce)).unwrap();
    let (server, challenge) = Server::start(&Offer::everything(), &mut Fixed::nonce(nonce)).unwrap();
    let (awaiting, message) = client.respond(&challenge).unwrap();

    let qop = cipher.map_or_else(|| "auth".to_owned(), |cipher| format!("auth-conf,cipher=\"{cipher}\""));
    let expected = format!(
        "charset=utf-8,username=\"c3BhcmtTYXNsVXNlcg==\",realm=\"default\",nonce=\"{nonce}\",nc=00000001,\
         cnonce=\"{cnonce}\",digest-uri=\"null/default\",maxbuf=65536,response={response},qop={qop}"
    );
    assert_eq!(message.token(), &Bytes::from(expected));

    let judged = server.judge(message.token(), &secret(text)).unwrap();
    assert!(judged.answer.starts_with(format!("rspauth={answer}").as_bytes()));
    (awaiting.finish(&judged.answer).unwrap(), judged.protection)
}

fn layers(client: SaslKeys, server: SaslKeys) -> (SaslLayer, SaslLayer) {
    (SaslLayer::new(client, Role::Client, 64 << 10), SaslLayer::new(server, Role::Server, 64 << 10))
}

/// `token` is without the length in front.
fn check(message: &str, token: &str, from: &mut dyn Layer, to: &mut dyn Layer) {
    let token = hex(token);
    let sealed = [&(token.len() as u64 + 8).to_be_bytes()[..], &token].concat();
    assert_eq!(seal(from, message.as_bytes()), sealed, "{message}");
    assert_eq!(open(to, [&sealed[..]]).unwrap(), message.as_bytes());
}
