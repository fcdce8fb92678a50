//! The three handshakes: what comes from a peer is parsed and judged; what was changed is never taken for genuine.

use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::auth::legacy::{
    self, ClientChallenge, LegacyLimits, LegacySettings, ServerResponse,
};
use sealed_shuffle_protocol::auth::{AuthMessage, Initiator, Responder};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl::{self, Demand, Offer, SaslCipher, SaslMessage};
use sealed_shuffle_protocol::secret::AppSecret;

use super::input::{Input, masked};
use super::random::Seeded;

fn app() -> AppId {
    AppId::new("app-1")
}

fn secret() -> Arc<AppSecret> {
    Arc::new(AppSecret::new("a shared secret".to_owned()))
}

/// The first byte says whether the rest is a message, or a mask over a genuine one, and whose.
pub(crate) fn x25519(data: &[u8]) {
    let mut input = Input(data);
    let (role, secret) = (input.byte(), secret());
    let (initiator, challenge) =
        Initiator::start(app(), secret.clone(), &mut Seeded(1)).expect("no end of random");
    let genuine = match role % 4 {
        0 | 1 => challenge.encode(),
        _ => Responder::respond(&challenge, &secret, &mut Seeded(2)).expect("it is genuine").0.encode(),
    };
    let bytes = if role.is_multiple_of(2) { input.0.to_vec() } else { masked(&genuine, input.0) };
    let Ok(message) = AuthMessage::decode(&bytes) else { return };
    let again = message.encode();
    assert_eq!(AuthMessage::decode(&again).as_ref(), Ok(&message));
    let is_taken = match role % 4 {
        0 | 1 => Responder::respond(&message, &secret, &mut Seeded(3)).is_ok(),
        _ => initiator.finish(&message).is_ok(),
    };
    // Bytes behind the last field are ignored; those that count are all authenticated.
    assert_eq!(is_taken, again == genuine, "changed and taken, or genuine and refused");
}

/// The same for PBKDF2. Its proof covers the app id, the nonce and the random number: a changed one is refused.
pub(crate) fn pbkdf2(data: &[u8]) {
    let mut input = Input(data);
    let (role, secret) = (input.byte(), secret());
    let settings = LegacySettings { iterations: 4, ..LegacySettings::default() };
    let limits = LegacyLimits { iterations: 16 };
    let (initiator, challenge) = legacy::Initiator::start(app(), secret.clone(), settings, &mut Seeded(1))
        .expect("the settings are good");
    let respond =
        |challenge: &ClientChallenge| legacy::Responder::respond(challenge, &secret, &limits, &mut Seeded(2));
    if role % 4 < 2 {
        let bytes =
            if role.is_multiple_of(2) { input.0.to_vec() } else { masked(&challenge.encode(), input.0) };
        let Ok(message) = ClientChallenge::decode(&bytes.into()) else { return };
        assert_eq!(ClientChallenge::decode(&message.encode()).ok().as_ref(), Some(&message));
        let is_good = limits.check(&message).is_ok();
        assert!(is_good || respond(&message).is_err(), "what is refused beforehand is not answered");
        return;
    }
    let response = respond(&challenge).expect("it is genuine").0.encode();
    let bytes = if role.is_multiple_of(2) { input.0.to_vec() } else { masked(&response, input.0) };
    let Ok(message) = ServerResponse::decode(&bytes.into()) else { return };
    assert_eq!(ServerResponse::decode(&message.encode()).ok().as_ref(), Some(&message));
    drop(initiator.finish(&message));
}

/// The first byte says which of the five tokens the rest is, or lies over.
pub(crate) fn sasl(data: &[u8]) {
    let mut input = Input(data);
    let (role, secret) = (input.byte(), secret());
    let wanted = match role & 0x10 {
        0 => Demand::Auth,
        _ => Demand::Conf(SaslCipher::ALL.to_vec()),
    };
    let (client, start) =
        sasl::Client::start(app(), secret.clone(), wanted, &mut Seeded(1)).expect("no end of random");
    let (server, challenge) =
        sasl::Server::start(&Offer::everything(), &mut Seeded(2)).expect("there is an offer");
    let token = |genuine: &[u8]| if role & 0x20 == 0 { input.0.to_vec() } else { masked(genuine, input.0) };
    match role % 4 {
        0 => {
            let Ok(message) = SaslMessage::decode(&token(&start.encode()).into()) else { return };
            assert_eq!(SaslMessage::decode(&message.encode()).ok().as_ref(), Some(&message));
        }
        1 => {
            let token = token(&challenge);
            drop(sasl::offered(&token));
            drop(client.respond(&token));
        }
        2 => {
            let genuine = client.respond(&challenge).expect("it is genuine").1;
            drop(server.judge(&token(genuine.token()), &secret));
        }
        _ => {
            let (awaiting, response) = client.respond(&challenge).expect("it is genuine");
            let genuine: Bytes = server.judge(response.token(), &secret).expect("it is genuine").answer;
            let token = token(&genuine);
            let proof = genuine.split(|&byte| byte == b'=').next_back().expect("a split has a part");
            // Names of directives are read in any case; quotes, blanks and backslashes may stand around values.
            let bare: Vec<u8> = token.iter().copied().filter(|&byte| byte != b'\\').collect();
            let has_proof = bare.windows(proof.len()).any(|part| part == proof);
            let is_taken = awaiting.finish(&token).is_ok();
            assert!(is_taken || token != genuine, "genuine and refused");
            assert!(has_proof || !is_taken, "taken without the proof");
        }
    }
}
