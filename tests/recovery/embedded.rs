//! A server that is part of another program.

use std::path::Path;

use sealed_shuffle::disk::layout::Placement;
use sealed_shuffle::server::Server;
use sealed_shuffle_client::{
    Address, AppId, AppSecret, Client, EngineVersion, ExecutorId, ExecutorShuffleInfo, Security,
    SessionCipher, Settings, Strings,
};
use sealed_shuffle_config::{ConfiguredSecret, ServerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of the program";

/// Serves while `work` runs, from the same configuration each time.
async fn serving(root: &Path, state: &Path, work: impl AsyncFnOnce(Client, Address)) {
    let mut config = ServerConfig::new([root.to_owned()], state);
    config.secret = Some(ConfiguredSecret::new(SECRET));
    let server = Server::from_config(&config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let run = tokio::spawn(async move { server.run(listener, stopped).await });
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
}
