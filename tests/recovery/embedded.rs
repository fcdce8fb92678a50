//! A server that is part of another program.

use std::net::Ipv4Addr;
use std::path::Path;

use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle::{ConfiguredSecret, Listeners, Server, ServerConfig};
use sealed_shuffle_client::{
    Address, AppId, AppSecret, Client, EngineVersion, ExecutorId, ExecutorShuffleInfo, Security,
    SessionCipher, Settings, Strings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of the program";

/// Nothing but what the program says, and the defaults.
fn config(root: &Path, state: &Path) -> ServerConfig {
    let mut config = ServerConfig::new([root.to_owned()], state);
    config.secret = Some(ConfiguredSecret::new(SECRET));
    config.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config
}

/// Serves while `work` runs, from the same configuration each time.
async fn serving(root: &Path, state: &Path, work: impl AsyncFnOnce(Client, Address)) {
    let config = config(root, state);
    let server = Server::from_config(&config).await.unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let address = Address::from(listeners.address());
    let stop = CancellationToken::new();
    let run = tokio::spawn(listeners.serve(server, stop.clone().cancelled_owned()));
    let secret = AppSecret::new(SECRET.to_owned());
    let security = Security::aes(secret, EngineVersion::V2, SessionCipher::Gcm);
    work(Client::new(Settings::new(security).max_retries(0), AppId::new("app-1")), address).await;
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_properties_file_finds_its_executors_after_a_restart() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let executor = ExecutorId::new("1");
    let dir = root.path().join("blockmgr-1");
    let sub_dir = dir.join(Placement::of("rdd_0_0", 1, 64).unwrap().sub_dir());
    std::fs::create_dir_all(&sub_dir).unwrap();
    std::fs::write(sub_dir.join("rdd_0_0"), b"cached").unwrap();
    serving(root.path(), state.path(), async |client, server| {
        let info = ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: 64,
            shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
        };
        client.register(&server, &executor, info).await.unwrap();
    })
    .await;
    serving(root.path(), state.path(), async |client, server| {
        let mut fetch = client.fetch(&server, &executor, vec!["rdd_0_0".parse().unwrap()]);
        let (_, bytes) = fetch.next().await.unwrap().unwrap();
        assert_eq!(bytes, b"cached"[..]);
    })
    .await;
    // The control: what it knows, it knows from there.
    let other = tempfile::tempdir().unwrap();
    serving(root.path(), other.path(), async |client, server| {
        let mut fetch = client.fetch(&server, &executor, vec!["rdd_0_0".parse().unwrap()]);
        fetch.next().await.unwrap().unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn a_server_has_an_operators_port_only_where_its_configuration_names_one() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(root.path(), state.path());
    config.recovery = false;
    assert_eq!(Listeners::bind(&config).await.unwrap().admin_address(), None);
    config.admin.address = Some(config.listen);
    let server = Server::from_config(&config).await.unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let admin = listeners.admin_address().unwrap();
    let stop = CancellationToken::new();
    let run = tokio::spawn(listeners.serve(server, stop.clone().cancelled_owned()));
    let mut operator = TcpStream::connect(admin).await.unwrap();
    operator
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    operator.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.cancel();
    run.await.unwrap();
    assert!(TcpStream::connect(admin).await.is_err(), "the port ends with the server");
    assert!(state.path().read_dir().unwrap().next().is_none(), "nothing is remembered");
}
