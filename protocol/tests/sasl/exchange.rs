//! The exchange of our two ends: every mode, and what either end refuses.

use bytes::Bytes;
use proptest::prelude::*;
use sealed_shuffle_protocol::sasl::{
    Client, Demand, Offer, Protection, SaslCipher, SaslError, SaslMessage, Server, offered,
};

use crate::support::{Seeded, app, begun, secret};

const CHALLENGE: &str = "realm=\"default\",nonce=\"YrVWqgva4krmvMc24C++DYC0hixj2XHNLWrBJcIS\",\
                         qop=\"auth-conf,auth\",charset=utf-8,cipher=\"3des,rc4,des,rc4-56,rc4-40\",\
                         algorithm=md5-sess";

#[test]
fn every_mode_that_both_ends_allow_is_agreed_on() {
    let (server, awaiting, response) = begun(Demand::Auth, &Offer::everything(), "one");
    let judged = server.judge(&response, &secret("one")).unwrap();
    assert!(matches!(judged.protection, Protection::Auth));
    assert!(matches!(awaiting.finish(&judged.answer).unwrap(), Protection::Auth));

    for cipher in SaslCipher::ALL {
        let offer = Offer { auth: false, ciphers: vec![cipher] };
        let (server, awaiting, response) = begun(Demand::Conf(SaslCipher::ALL.to_vec()), &offer, "one");
        let judged = server.judge(&response, &secret("one")).unwrap();
        let agreed = [awaiting.finish(&judged.answer).unwrap(), judged.protection];
        assert!(agreed.iter().all(|end| matches!(end, Protection::Conf(keys) if keys.cipher() == cipher)));
    }
}

#[test]
fn a_wrong_secret_is_told_from_everything_else_and_another_can_be_tried() {
    let (server, _, response) = begun(Demand::Auth, &Offer::everything(), "new");
    let error = server.judge(&response, &secret("old")).unwrap_err();
    assert!(matches!(error, SaslError::WrongSecret), "{error}");
    assert_eq!(
        error.peer_text(),
        "java.lang.RuntimeException: javax.security.sasl.SaslException: DIGEST-MD5: digest response format \
         violation. Mismatched response."
    );
    server.judge(&response, &secret("new")).unwrap();
}

#[test]
fn the_client_takes_the_strongest_that_both_have_whatever_the_order() {
    for (ours, list, picked) in [
        ("3des,rc4,des,rc4-56,rc4-40", "rc4-40,rc4,3des", "3des"),
        ("3des,rc4,des,rc4-56,rc4-40", "des,rc4-40", "des"),
        ("rc4-56,rc4", "3des,rc4-56 , rc4,aes", "rc4"),
    ] {
        let wanted = Demand::Conf(ours.split(',').map(|name| name.parse().unwrap()).collect());
        let challenge = CHALLENGE.replace("3des,rc4,des,rc4-56,rc4-40", list);
        let token = respond(wanted, &challenge).unwrap();
        assert!(token.ends_with(&format!("qop=auth-conf,cipher=\"{picked}\"")), "{token}");
    }
}

#[test]
fn the_client_never_takes_another_protection_than_it_wants() {
    let all = || Demand::Conf(SaslCipher::ALL.to_vec());
    for only_auth in ["qop=\"auth\"", "x=1", "qop=\"auth-int\"", "qop=\"\""] {
        let error = respond(all(), &CHALLENGE.replace("qop=\"auth-conf,auth\"", only_auth)).unwrap_err();
        assert!(matches!(error, SaslError::NoCommonProtection { encrypted: true }), "{error}");
    }
    let only_conf = CHALLENGE.replace("auth-conf,auth", "auth-conf");
    let error = respond(Demand::Auth, &only_conf).unwrap_err();
    assert!(matches!(error, SaslError::NoCommonProtection { encrypted: false }), "{error}");

    let error = respond(Demand::Conf(vec![SaslCipher::Rc4]), &CHALLENGE.replace("rc4,", "")).unwrap_err();
    assert!(matches!(error, SaslError::NoCommonCipher { .. }), "{error}");
    let error = respond(Demand::Conf(Vec::new()), CHALLENGE).unwrap_err();
    assert!(matches!(error, SaslError::NoCommonCipher { .. }), "{error}");
    let without = CHALLENGE.replace("cipher=\"3des,rc4,des,rc4-56,rc4-40\"", "x=1");
    assert!(matches!(respond(all(), &without), Err(SaslError::Missing("cipher"))));
}

#[test]
fn the_client_takes_what_sparks_client_takes() {
    for (from, to) in [
        ("charset=utf-8,", ""),
        ("qop=\"auth-conf,auth\",", ""),
        ("qop=\"auth-conf,auth\"", "qop=auth"),
        ("realm=\"default\"", "realm=default"),
        ("charset", "maxbuf=4096,charset"),
        (",", " ,\r\n\t"),
        ("charset", "unknown=1,unknown=2,charset"),
    ] {
        respond(Demand::Auth, &CHALLENGE.replace(from, to)).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

#[test]
fn the_client_echoes_the_realm_that_there_is() {
    let none = respond(Demand::Auth, &CHALLENGE.replace("realm=\"default\",", "")).unwrap();
    assert!(!none.contains("realm"), "{none}");
    let other = respond(Demand::Auth, &CHALLENGE.replace("\"default\"", "\"the \\\"other\\\"\"")).unwrap();
    assert!(other.contains(",realm=\"the \\\"other\\\"\","), "{other}");
    let no_charset = respond(Demand::Auth, &CHALLENGE.replace("charset=utf-8,", "")).unwrap();
    assert!(no_charset.starts_with("username="), "{no_charset}");
}

#[test]
fn the_client_refuses_what_sparks_client_refuses() {
    for (from, to) in [
        ("algorithm=md5-sess", "x=1"),
        ("md5-sess", "md5"),
        ("charset", "realm=\"second\",charset"),
        ("charset", "nonce=\"second\",charset"),
        ("nonce=", "once="),
        ("utf-8", "latin-1"),
        ("charset", "maxbuf=1,maxbuf=1,charset"),
    ] {
        let refused = respond(Demand::Auth, &CHALLENGE.replace(from, to));
        assert!(refused.is_err(), "{to}");
    }
    let long = |len: usize| format!("{CHALLENGE},x={}", "y".repeat(len - CHALLENGE.len() - 3));
    respond(Demand::Auth, &long(2047)).unwrap();
    let error = respond(Demand::Auth, &long(2048)).unwrap_err();
    assert!(matches!(error, SaslError::TokenTooLong { len: 2048, max: 2047 }), "{error}");
}

#[test]
fn the_client_refuses_another_proof_than_the_servers() {
    let judged_as = |change: fn(&mut Vec<u8>)| {
        let (server, awaiting, response) = begun(Demand::Auth, &Offer::everything(), "one");
        let mut answer = server.judge(&response, &secret("one")).unwrap().answer.to_vec();
        change(&mut answer);
        awaiting.finish(&answer)
    };
    judged_as(|_| {}).unwrap();
    assert!(matches!(judged_as(|answer| answer[10] ^= 1), Err(SaslError::ServerNotVerified)));
    assert!(matches!(judged_as(|answer| answer.truncate(39)), Err(SaslError::ServerNotVerified)));
    assert!(matches!(judged_as(|answer| answer[0] = b'x'), Err(SaslError::Missing("rspauth"))));
    assert!(matches!(judged_as(Vec::clear), Err(SaslError::Missing("rspauth"))));
    assert!(matches!(judged_as(|answer| answer.resize(2048, b',')), Err(SaslError::TokenTooLong { .. })));
}

#[test]
fn the_client_refuses_its_own_proof_reflected() {
    let (_, awaiting, response) = begun(Demand::Auth, &Offer::everything(), "one");
    let response = String::from_utf8(response.to_vec()).unwrap();
    let reflected = response.replace("response=", "rspauth=");
    assert!(matches!(awaiting.finish(reflected.as_bytes()), Err(SaslError::ServerNotVerified)));
}

#[test]
fn the_server_takes_what_sparks_server_takes() {
    for (from, to) in [
        ("maxbuf=65536,", ""),
        ("maxbuf=65536", "maxbuf=1"),
        ("charset=utf-8,", ""),
        ("qop=auth", "qop=\"auth\""),
        (",qop=auth", ""),
        ("nc=00000001,", ""),
        ("nc=00000001", "nc=7,nc=8"),
        (",", ", "),
        ("maxbuf", "unknown=\"x\",unknown=y,maxbuf"),
    ] {
        judge_changed(Demand::Auth, from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

#[test]
fn the_server_refuses_what_sparks_server_refuses() {
    for (from, to, text) in [
        ("null/default", "null/other", "Mismatched URI"),
        ("digest-uri", "x", "Mismatched URI"),
        ("realm=\"default\"", "realm=\"other\"", "Nonexistent realm"),
        ("realm=\"default\",", "", "Nonexistent realm"),
        (",nonce=\"", ",nonce=\"x", "Mismatched nonce."),
        ("response=", "response=0", "Mismatched response."),
        ("username=\"", "username=\"x", "Mismatched response."),
        ("cnonce=\"", "cnonce=\"x", "Mismatched response."),
    ] {
        let error = judge_changed(Demand::Auth, from, to).unwrap_err();
        assert!(error.peer_text().ends_with(text), "{to}: {}", error.peer_text());
    }
    for twice in
        ["username", "realm", "nonce", "cnonce", "qop", "digest-uri", "response", "maxbuf", "charset"]
    {
        let error = judge_changed(Demand::Auth, "nc=", &format!("{twice}=x,{twice}=y,nc=")).unwrap_err();
        assert!(matches!(error, SaslError::Duplicate(name) if name == twice), "{twice}: {error}");
    }
    for missing in ["username", "cnonce", "response"] {
        let error = judge_changed(Demand::Auth, &format!(",{missing}="), ",x=").unwrap_err();
        assert!(matches!(error, SaslError::Missing(name) if name == missing), "{missing}: {error}");
    }
    let error = judge_changed(Demand::Auth, "nc=", "authzid=\"x\",nc=").unwrap_err();
    assert!(matches!(error, SaslError::AuthorizationId), "{error}");
    let error = judge_changed(Demand::Auth, "nc=00000001", &"x".repeat(4096)).unwrap_err();
    assert!(matches!(error, SaslError::TokenTooLong { max: 4095, .. }), "{error}");
}

#[test]
fn the_server_gives_no_protection_that_it_did_not_offer() {
    let judge = |wanted, seen: &Offer, offer: &Offer| {
        // The same nonce, so that only the offers differ.
        let (_, _, response) = begun(wanted, seen, "one");
        let (server, _) = Server::start(offer, &mut Seeded(2)).unwrap();
        server.judge(&response, &secret("one")).map(|_| ()).unwrap_err()
    };
    let all = Offer::everything();
    let only_auth = Offer { auth: true, ciphers: Vec::new() };
    let only_rc4 = Offer { auth: false, ciphers: vec![SaslCipher::Rc4] };
    let conf = || Demand::Conf(SaslCipher::ALL.to_vec());

    let error = judge(Demand::Auth, &all, &only_rc4);
    assert!(matches!(error, SaslError::QopNotOffered { encrypted: false }), "{error}");
    let error = judge(conf(), &all, &only_auth);
    assert!(matches!(error, SaslError::QopNotOffered { encrypted: true }), "{error}");
    let error = judge(conf(), &all, &only_rc4);
    assert!(matches!(error, SaslError::CipherNotOffered), "{error}");

    let error = judge_changed(Demand::Auth, "qop=auth", "qop=auth-int").unwrap_err();
    assert!(matches!(error, SaslError::QopNotOffered { .. }), "{error}");
    let error = judge_changed(conf(), "cipher=\"3des\"", "cipher=\"aes\"").unwrap_err();
    assert!(matches!(error, SaslError::CipherNotOffered), "{error}");
    let error = judge_changed(conf(), ",cipher=\"3des\"", "").unwrap_err();
    assert!(matches!(error, SaslError::Missing("cipher")), "{error}");
}

#[test]
fn a_changed_choice_does_not_verify() {
    let conf = || Demand::Conf(SaslCipher::ALL.to_vec());
    let error = judge_changed(conf(), "qop=auth-conf", "qop=auth").unwrap_err();
    assert!(matches!(error, SaslError::WrongSecret), "{error}");
}

#[test]
fn a_response_is_good_for_one_challenge() {
    let (_, _, response) = begun(Demand::Auth, &Offer::everything(), "one");
    let (other, _) = Server::start(&Offer::everything(), &mut Seeded(3)).unwrap();
    assert!(matches!(other.judge(&response, &secret("one")), Err(SaslError::Nonce)));
}

#[test]
fn a_server_that_allows_nothing_does_not_start() {
    let nothing = Offer { auth: false, ciphers: Vec::new() };
    assert!(matches!(Server::start(&nothing, &mut Seeded(1)), Err(SaslError::NothingToOffer)));
}

#[test]
fn no_nonce_without_random_bytes() {
    let mut none = crate::support::Fixed(Vec::new());
    assert!(matches!(Server::start(&Offer::everything(), &mut none), Err(SaslError::Random(_))));
    let refused = Client::start(app(), secret("one"), Demand::Auth, &mut none);
    assert!(matches!(refused, Err(SaslError::Random(_))));
}

#[test]
fn debug_shows_nothing_of_the_secret() {
    let (server, awaiting, response) =
        begun(Demand::Conf(SaslCipher::ALL.to_vec()), &Offer::everything(), "one");
    let (client, _) = Client::start(app(), secret("one"), Demand::Auth, &mut Seeded(1)).unwrap();
    let judged = server.judge(&response, &secret("one")).unwrap();
    let shown = format!("{client:?} {server:?} {awaiting:?} {judged:?}");
    assert_eq!(shown.matches("Secret<16>(redacted)").count(), 8, "{shown}");
    assert!(shown.contains("AppSecret(redacted)"), "{shown}");
}

proptest! {
    #[test]
    fn hostile_tokens_are_refused_without_a_panic(
        token in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "([a-z-]{0,5}[=,\" \\\\]{0,3}){0,30}".prop_map(String::into_bytes),
        ],
    ) {
        let (server, awaiting, _) = begun(Demand::Auth, &Offer::everything(), "one");
        prop_assert!(server.judge(&token, &secret("one")).is_err());
        prop_assert!(awaiting.finish(&token).is_err());
        let (client, _) = Client::start(app(), secret("one"), Demand::Auth, &mut Seeded(1)).unwrap();
        prop_assert!(client.respond(&token).is_err());
        prop_assert!(offered(&token).is_err());
        if let Ok(message) = SaslMessage::decode(&Bytes::from(token)) {
            prop_assert_eq!(SaslMessage::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn a_challenge_with_changes_gives_no_more_than_was_wanted(
        at in 0..CHALLENGE.len(),
        byte in any::<u8>(),
    ) {
        let mut challenge = CHALLENGE.as_bytes().to_vec();
        challenge[at] = byte;
        let wanted = Demand::Conf(vec![SaslCipher::TripleDes]);
        let (client, _) = Client::start(app(), secret("one"), wanted, &mut Seeded(1)).unwrap();
        if let Ok((_, message)) = client.respond(&challenge) {
            prop_assert!(message.token().ends_with(b"qop=auth-conf,cipher=\"3des\""));
        }
    }

    #[test]
    fn a_response_with_changes_passes_only_where_nothing_depends_on_them(
        at in 0..400_usize,
        byte in any::<u8>(),
    ) {
        let (server, _, response) = begun(Demand::Conf(SaslCipher::ALL.to_vec()), &Offer::everything(), "one");
        let mut changed = response.to_vec();
        let at = at % changed.len();
        changed[at] = byte;
        // The cipher is not part of the digest, only whether there is one: that is DIGEST-MD5's.
        if let Ok(judged) = server.judge(&changed, &secret("one")) {
            let is_conf = matches!(judged.protection, Protection::Conf(_));
            prop_assert!(is_conf);
        }
    }
}

fn respond(wanted: Demand, challenge: &str) -> Result<String, SaslError> {
    let (client, _) = Client::start(app(), secret("one"), wanted, &mut Seeded(1)).unwrap();
    let (_, message) = client.respond(challenge.as_bytes())?;
    Ok(String::from_utf8(message.token().to_vec()).unwrap())
}

/// Judges a good response in which something has been replaced.
fn judge_changed(wanted: Demand, from: &str, to: &str) -> Result<(), SaslError> {
    let (server, _, response) = begun(wanted, &Offer::everything(), "one");
    let response = String::from_utf8(response.to_vec()).unwrap();
    let changed = response.replace(from, to);
    assert_ne!(response, changed, "{from} is there");
    server.judge(changed.as_bytes(), &secret("one")).map(|_| ())
}
