//! Every mode that Spark has, at the same time on one port, and the table that tells them apart.

use sealed_shuffle_client::Security;
use sealed_shuffle_config::TlsVersions;
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use serde_json::Value;

use crate::authority::{Authority, Bundle};
use crate::running::{Running, eventually};
use crate::support::{BIG, aes, client, fetch, legacy, register, sasl, served};

/// A mode, and what the table says of it.
struct Row {
    name: String,
    security: Security,
    channel: &'static str,
    handshake: &'static str,
    cipher: &'static str,
    advice: Option<&'static str>,
}

fn rows(running: &Running) -> Vec<Row> {
    const ENABLED: &str = "spark.network.crypto.enabled=true";
    let row = |name: &str, security, channel, handshake, cipher, advice| {
        let name = name.to_owned();
        Row { name, security, channel, handshake, cipher, advice }
    };
    let mut rows = vec![
        row("clear", Security::Plaintext, "plaintext", "none", "none", Some("spark.authenticate=true")),
        row("sasl", sasl(running, Demand::Auth), "plaintext", "sasl-digest-md5", "none", Some(ENABLED)),
        row("legacy", legacy(running), "aes-legacy", "aes-pbkdf2", "AES/CTR/NoPadding", Some("Spark 3.1")),
    ];
    for cipher in SaslCipher::ALL {
        let security = sasl(running, Demand::Conf(vec![cipher]));
        rows.push(row(cipher.name(), security, "sasl-conf", "sasl-digest-md5", cipher.name(), Some(ENABLED)));
    }
    for (version, handshake) in [(EngineVersion::V1, "aes-x25519-v1"), (EngineVersion::V2, "aes-x25519-v2")] {
        for (cipher, channel, advice) in [
            (SessionCipher::Ctr, "aes-ctr", Some("spark.network.crypto.cipher=AES/GCM/NoPadding")),
            (SessionCipher::Gcm, "aes-gcm", None),
        ] {
            let name = format!("{channel}-{handshake}");
            let security = aes(running, SessionMode { version, cipher });
            rows.push(row(&name, security, channel, handshake, cipher.name(), advice));
        }
    }
    rows
}

#[test]
fn every_mode_is_served_and_named_beside_every_other() {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[]);
    let trust = Bundle::new(None, &[&authority]);
    let running = served(own.config(), SecurityLevel::Plaintext);
    let running = &running;

    let versions = [None, Some(TlsVersions::V1_2), Some(TlsVersions::V1_3)];
    let mut clients = Vec::new();
    for version in versions {
        for row in rows(running) {
            let app = format!("{}-{version:?}", row.name);
            let client = client(&app, row.security.clone(), version.map(|version| trust.client(version)));
            clients.push((app, version, row, client));
        }
    }
    running.runtime.block_on(async {
        let fetches = clients.iter().map(|(app, .., client)| async move {
            register(running, client).await;
            fetch(running, client).await.unwrap_or_else(|error| panic!("{app}: {error}"));
        });
        join(fetches).await;
    });

    let table = running.server.applications(None, None);
    let found = table["applications"].as_array().unwrap();
    assert_eq!(found.len(), clients.len());
    for (app, version, row, _client) in &clients {
        let found = found.iter().find(|row| row["app"] == app.as_str()).unwrap_or_else(|| panic!("{app}"));
        check(found, *version, row);
    }
    let version = |version| {
        let is_of = |row: &&Value| row["channels"][0]["tls"] == version;
        found.iter().filter(is_of).count()
    };
    assert_eq!([version("TLSv1.2"), version("TLSv1.3")], [12, 12]);
    drop(clients);
    eventually("all have gone", || running.metric("sealed_shuffle_connections") == 0);
    running.assert_serves();
}

#[track_caller]
fn check(found: &Value, version: Option<TlsVersions>, row: &Row) {
    assert_eq!(found["proven"], row.handshake != "none", "{found}");
    assert_eq!(found["executors"], 1, "{found}");
    assert_eq!(found["bytes_served"], BIG, "{found}");
    assert_eq!((&found["refused"], &found["last_refusal"]), (&0.into(), &Value::Null), "{found}");
    let [channel] = found["channels"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&channel["handshake"], &channel["served"]), (&row.handshake.into(), &true.into()), "{found}");
    let tls = version.map(|version| if version == TlsVersions::V1_2 { "TLSv1.2" } else { "TLSv1.3" });
    assert_eq!(channel["tls"], tls.map_or(Value::Null, Value::from), "{found}");
    let name = if tls.is_some() { "tls" } else { row.channel };
    assert_eq!(channel["channel"], name, "{found}");
    let cipher = channel["cipher"].as_str().unwrap();
    match (tls, row.cipher) {
        (Some(_), "none") => assert!(cipher.starts_with("TLS_") && cipher.contains("_AES_"), "{found}"),
        _ => assert_eq!(cipher, row.cipher, "{found}"),
    }
    let advice = if tls.is_some() { None } else { row.advice };
    assert_eq!(
        (&found["below_target"], &channel["below_target"]),
        (&advice.is_some().into(), &advice.is_some().into())
    );
    match advice {
        None => assert_eq!(found["advice"], Value::Null, "{found}"),
        Some(words) => {
            let text = found["advice"].as_str().unwrap();
            assert!(text.starts_with("would be refused at aes-gcm") && text.contains(words), "{text}");
        }
    }
}

/// All at once.
async fn join(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
