//! A server with a large block, clients of every mode, and what they fetch.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use sealed_shuffle_client::{Address, Client, FetchError, Security, Settings};
use sealed_shuffle_config::{Policy, SaslSettings, TlsConfig};
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SessionMode;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};
use sealed_shuffle_transport::tls::{CertificateSummary, LiveClientTls};

use crate::running::{EXECUTOR, PATIENCE, Running, content};

pub(crate) const BIG: u64 = (2 << 20) + 4321;

/// A server that speaks TLS beside everything else, and has a block of [`BIG`] bytes as `shuffle_0_1_0`.
pub(crate) fn served(tls: TlsConfig, minimum: SecurityLevel) -> Running {
    let running = Running::start_with(|config| {
        config.tls = Some(tls);
        config.sasl = SaslSettings { ciphers: SaslCipher::ALL.to_vec(), ..SaslSettings::default() };
        config.policy = Policy { anonymous: true, ..Policy::at_least(minimum) };
    });
    running.write_map(1, &[BIG]);
    running
}

pub(crate) fn secret(running: &Running) -> Arc<AppSecret> {
    Arc::new(AppSecret::new(running.secret.clone()))
}

pub(crate) fn aes(running: &Running, mode: SessionMode) -> Security {
    Security::Aes { secret: secret(running), mode }
}

pub(crate) fn legacy(running: &Running) -> Security {
    let settings = LegacySettings { iterations: 100, ..LegacySettings::default() };
    Security::Legacy { secret: secret(running), settings }
}

pub(crate) fn sasl(running: &Running, wanted: Demand) -> Security {
    Security::Sasl { secret: secret(running), wanted, max_block: 64 << 10 }
}

/// A client of `app` that tries once.
pub(crate) fn client(app: &str, security: Security, tls: Option<Arc<LiveClientTls>>) -> Client {
    let settings = Settings::new(security)
        .tls(tls)
        .max_retries(0)
        .registration_attempts(1)
        .registration_timeout(PATIENCE);
    Client::new(settings, AppId::new(app))
}

pub(crate) async fn register(running: &Running, client: &Client) {
    let dir = running.dir_of(client.app().as_str());
    let info = ExecutorShuffleInfo {
        local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
        sub_dirs_per_local_dir: 64,
        shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
    };
    client.register(&Address::from(running.address), &ExecutorId::new(EXECUTOR), info).await.unwrap();
}

/// Fetches the block and compares it.
pub(crate) async fn fetch(running: &Running, client: &Client) -> Result<(), FetchError> {
    let blocks = vec!["shuffle_0_1_0".parse().unwrap()];
    let mut fetch = client.fetch(&Address::from(running.address), &ExecutorId::new(EXECUTOR), blocks);
    let (_, bytes) = fetch.next().await.unwrap()?;
    assert!(bytes == content(BIG), "{} bytes, and not those of the block", bytes.len());
    Ok(())
}

/// What a client without Spark's authentication ends with.
pub(crate) fn failure(running: &Running, tls: Arc<LiveClientTls>) -> FetchError {
    let client = client("app", Security::Plaintext, Some(tls));
    running.runtime.block_on(fetch(running, &client)).unwrap_err()
}

/// The same where all is well.
#[track_caller]
pub(crate) fn succeeds(running: &Running, tls: Arc<LiveClientTls>) {
    let client = client("app", Security::Plaintext, Some(tls));
    running.runtime.block_on(async {
        register(running, &client).await;
        fetch(running, &client).await.unwrap();
    });
}

/// Another implementation of TLS than our layer: rustls's own, over the socket.
pub(crate) fn stream(running: &Running, tls: &LiveClientTls) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(running.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(tls.current(), name).unwrap(), socket)
}

/// The fingerprint of the certificate that a new connection is shown.
pub(crate) fn shown(running: &Running, tls: &LiveClientTls) -> String {
    let mut stream = stream(running, tls);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    CertificateSummary::of(&stream.conn.peer_certificates().unwrap()[0]).unwrap().fingerprint
}
