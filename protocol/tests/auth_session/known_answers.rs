//! Bytes that Spark's own classes made; see `tests/vectors/auth/README.md`.

use sealed_shuffle_protocol::auth::{
    AesSession, AuthMessage, EngineVersion, FirstBytes, Initiator, Responder, SessionKeys,
};
use sealed_shuffle_protocol::cipher::{CtrLayer, GcmLayer, Role, SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::{AppSecret, Secret};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::random::Fixed;
use crate::support::{Seeded, hex, open, pattern, seal_one, sealed_by_spark};

const VERSIONS: [&str; 4] = [
    include_str!("../vectors/auth/spark-3.3.4.json"),
    include_str!("../vectors/auth/spark-3.5.9.json"),
    include_str!("../vectors/auth/spark-4.0.5.json"),
    include_str!("../vectors/auth/spark-4.3.0.json"),
];

#[test]
fn handshake_makes_sparks_bytes_and_keys() {
    for version in versions() {
        for case in list(&version["handshakes"]) {
            let secret = std::sync::Arc::new(AppSecret::new(text(&case["secret"]).to_owned()));
            let app_id = AppId::new(text(&case["app_id"]));

            let (initiator, challenge) =
                Initiator::start(app_id, secret.clone(), &mut fixed(&case["client_random"])).unwrap();
            assert_eq!(challenge.encode(), bytes(&case["challenge"]));

            let parsed = AuthMessage::decode(&challenge.encode()).unwrap();
            let (response, server) =
                Responder::respond(&parsed, &secret, &mut fixed(&case["server_random"])).unwrap();
            assert_eq!(response.encode(), bytes(&case["response"]));

            let client = initiator.finish(&AuthMessage::decode(&response.encode()).unwrap()).unwrap();
            for keys in [client, server] {
                assert_eq!(session_key(&keys, engine_version(case)), bytes(&case["key"]));
                assert_eq!(keys.input_iv()[..], bytes(&case["input_iv"]));
                assert_eq!(keys.output_iv()[..], bytes(&case["output_iv"]));
            }
        }
    }
}

#[test]
fn ctr_makes_and_opens_sparks_bytes() {
    for version in versions() {
        for case in list(&version["ctr"]) {
            let iv = bytes(&case["iv"]).try_into().unwrap();
            let layer = || -> CtrLayer {
                match bytes(&case["key"]).try_into() {
                    Ok(key) => CtrLayer::aes_256(&Secret::new(key), &iv, &iv),
                    Err(key) => CtrLayer::aes_128(&Secret::new(key.try_into().unwrap()), &iv, &iv),
                }
            };
            let (mut sealer, mut opener) = (layer(), layer());
            for write in list(&case["writes"]) {
                let sealed = seal_one(&mut sealer, &plain(write));
                assert_sealed(write, &sealed);
                assert_eq!(open(&mut opener, [&sealed[..]]).unwrap(), plain(write));
            }
        }
    }
}

#[test]
fn gcm_makes_and_opens_sparks_bytes() {
    for version in versions() {
        for case in list(&version["gcm"]) {
            let key = bytes(&case["key"]);
            let layer = |role| -> GcmLayer {
                let random = Box::new(Seeded(1));
                match key.clone().try_into() {
                    Ok(key) => GcmLayer::aes_256(Secret::new(key), role, random),
                    Err(key) => GcmLayer::aes_128(Secret::new(key.try_into().unwrap()), role, random),
                }
            };
            for message in list(&case["messages"]) {
                let plain = plain(message);
                let of_spark = sealed_by_spark(&key, &bytes(&message["random"]), &plain);
                assert_sealed(message, &of_spark);
                assert_eq!(open(&mut layer(Role::Server), [&of_spark[..]]).unwrap(), plain);
                // Spark 4.2.1 and later send a message without plaintext; we have no use for it.
                if !plain.is_empty() {
                    let ours = seal_one(&mut layer(Role::Client), &plain);
                    assert_eq!(ours, sealed_by_spark(&key, &ours[9..9 + key.len() + 7], &plain));
                }
            }
        }
    }
}

#[test]
fn captured_sessions_open_at_both_ends() {
    let captured: Value = serde_json::from_str(include_str!("../vectors/auth/captured-4.3.0.json")).unwrap();
    for case in list(&captured["sessions"]) {
        let mode =
            SessionMode { version: engine_version(case), cipher: text(&case["cipher"]).parse().unwrap() };

        let new_server = || AesSession::server(captured_keys(), FirstBytes::Frame, Box::new(Seeded(1)));
        let new_client = || AesSession::client(captured_keys(), mode, Box::new(Seeded(1)));
        let (mut server, mut client) = (new_server(), new_client());
        for write in list(&case["client_to_server"]) {
            assert_plain(write, &open(&mut server, [&bytes(&write["sealed"])[..]]).unwrap());
            assert_eq!(server.mode(), Some(mode));
            if mode.cipher == SessionCipher::Gcm {
                // The random source was replaced, so its salts repeat.
                server = new_server();
            }
        }
        for write in list(&case["server_to_client"]) {
            assert_plain(write, &open(&mut client, [&bytes(&write["sealed"])[..]]).unwrap());
            if mode.cipher == SessionCipher::Gcm {
                client = new_client();
            }
        }
    }
}

/// The handshake of the captured sessions has the random bytes of the generated ones.
fn captured_keys() -> SessionKeys {
    let version: Value = serde_json::from_str(VERSIONS[VERSIONS.len() - 1]).unwrap();
    let [v1, v2] = list(&version["handshakes"]) else { panic!("one handshake per engine version") };
    let secret = |value: &Value| Secret::new(bytes(value).try_into().unwrap());
    SessionKeys::from_parts(
        Secret::new(bytes(&v1["key"]).try_into().unwrap()),
        secret(&v2["key"]),
        secret(&v1["input_iv"]),
        secret(&v1["output_iv"]),
    )
}

fn versions() -> Vec<Value> {
    VERSIONS.iter().map(|file| serde_json::from_str(file).unwrap()).collect()
}

fn engine_version(case: &Value) -> EngineVersion {
    EngineVersion::from_config(i32::try_from(case["engine_version"].as_i64().unwrap()).unwrap())
}

fn session_key(keys: &SessionKeys, version: EngineVersion) -> Vec<u8> {
    match version {
        EngineVersion::V1 => keys.v1().as_bytes().to_vec(),
        EngineVersion::V2 => keys.v2().as_bytes().to_vec(),
    }
}

fn plain(case: &Value) -> Vec<u8> {
    match case.get("pattern") {
        Some(size) => pattern(usize::try_from(size.as_u64().unwrap()).unwrap()),
        None => bytes(&case["plain"]),
    }
}

fn assert_sealed(case: &Value, sealed: &[u8]) {
    if let Some(whole) = case.get("sealed") {
        assert_eq!(sealed, bytes(whole));
        return;
    }
    assert_eq!(sealed.len() as u64, case["sealed_len"].as_u64().unwrap());
    assert_eq!(Sha256::digest(sealed)[..], bytes(&case["sealed_sha256"]));
}

fn assert_plain(case: &Value, plain: &[u8]) {
    if let Some(whole) = case.get("plain") {
        assert_eq!(plain, bytes(whole));
        return;
    }
    assert_eq!(plain.len() as u64, case["plain_len"].as_u64().unwrap());
    assert!(plain.starts_with(&bytes(&case["plain_starts"])));
    assert!(plain.ends_with(&bytes(&case["plain_ends"])));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(text(value))
}

fn fixed(value: &Value) -> Fixed {
    Fixed(bytes(value))
}
