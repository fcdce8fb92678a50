//! A task dies that the server cannot be without: the server drains, ends, and says which.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle::internals::merge::{AppStore, MergeDirs, Store};
use sealed_shuffle::{ByteCount, Listeners, MergeConfig, Server, ServerConfig};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;

/// Its keys cannot be swept, which housekeeping does by itself.
#[derive(Debug)]
struct Broken;

impl Store for Broken {
    fn application(
        &self,
        _: &AppId,
        _: i32,
        _: &Arc<MergeDirs>,
        _: Option<WrappedKey>,
    ) -> Result<Arc<dyn AppStore>, String> {
        Err("no application comes here".into())
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn sweep_keys(&self) {
        panic!("a fault of ours");
    }
}

#[test]
fn server_whose_housekeeping_died_drains_and_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let (root, state) = (temp.path().join("root"), temp.path().join("state"));
    std::fs::create_dir(&root).unwrap();
    let mut config = ServerConfig::new([root], state);
    config.recovery = false;
    config.merging = Some(MergeConfig::default());
    config.memory_budget = ByteCount::mib(64);
    config.listen = (Ipv4Addr::LOCALHOST, 0).into();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let server = Server::merging_into(&config, Arc::new(Broken)).await.unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let ended = listeners.serve(server, std::future::pending());
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap()
    });
    assert_eq!((outcome.cut, outcome.lost), (0, Some("housekeeping")));
}
