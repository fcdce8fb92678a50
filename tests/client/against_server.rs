//! Against our own server.

use std::sync::{Arc, Mutex};

use sealed_shuffle_client::{Client, ClientError, ErrorKind, Progress, Security, Suspect};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{CorruptionCause, ExecutorShuffleInfo, Strings};

use crate::support::*;

const BIG: usize = 3 << 20;

async fn with_blocks(security: &Security) -> (Running, Client) {
    let server = Running::start(security).await;
    let big = vec![7; BIG];
    server.write_map(0, 3, &[b"AAAA", b"", b"CCCCC", b"D"]);
    server.write_map(0, 4, &[b"x", b"y", &big, b"z"]);
    server.write("rdd_1_2", b"cached");
    let client = client(security.clone());
    server.register(&client).await.unwrap();
    (server, client)
}

fn contents(found: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    found.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
}

#[tokio::test]
async fn fetches_blocks_in_every_mode() {
    for security in modes() {
        let (server, client) = with_blocks(&security).await;
        let names = [
            "shuffle_0_3_0",
            "shuffle_0_4_3",
            "shuffle_0_3_2",
            "shuffle_0_3_1",
            "rdd_1_2",
            "shuffle_0_3_0_4",
        ];
        let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
        assert!(failed.is_empty(), "{security:?}: {failed:?}");
        let expected: &[(&str, &[u8])] = &[
            ("rdd_1_2", b"cached"),
            ("shuffle_0_3_0", b"AAAA"),
            ("shuffle_0_3_0_4", b"AAAACCCCCD"),
            ("shuffle_0_3_1", b""),
            ("shuffle_0_3_2", b"CCCCC"),
            ("shuffle_0_4_3", b"z"),
        ];
        assert_eq!(contents(&found), expected, "{security:?}");
        let (found, _) = all(client.fetch(&server.address, &executor(), blocks(&["shuffle_0_4_2"]))).await;
        assert_eq!(found[0].1.len(), BIG, "{security:?}");
    }
}

/// What is read at once is far more than a small block; whoever keeps one must not keep that.
#[tokio::test]
async fn a_small_block_holds_no_memory_but_its_own() {
    for security in modes() {
        let (server, client) = with_blocks(&security).await;
        let names = ["shuffle_0_3_0", "shuffle_0_3_2", "rdd_1_2"];
        let mut fetch = client.fetch(&server.address, &executor(), blocks(&names));
        while let Some(outcome) = fetch.next().await {
            let (block, bytes) = outcome.unwrap();
            let len = bytes.len();
            let own = bytes.try_into_mut().expect("nobody else holds it");
            assert_eq!(own.capacity(), len, "{block} in {security:?}");
        }
    }
}

#[tokio::test]
async fn the_old_protocol_fetches_the_same() {
    let (server, _) = with_blocks(&gcm()).await;
    let settings = settings(gcm()).old_fetch_protocol(true);
    let client = Client::new(settings, app());
    let names = ["shuffle_0_3_0", "shuffle_0_4_3", "shuffle_0_3_0_2"];
    let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
    assert_eq!(contents(&found), [("shuffle_0_3_0", &b"AAAA"[..]), ("shuffle_0_4_3", b"z")]);
    assert!(matches!(*failed[0].error, ClientError::BatchInOldProtocol(_)));
}

#[tokio::test]
async fn every_block_has_one_outcome_even_if_given_twice() {
    let (server, client) = with_blocks(&gcm()).await;
    let names = ["shuffle_0_3_0", "shuffle_0_3_3", "shuffle_0_3_0"];
    let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
    assert!(failed.is_empty());
    let expected: &[(&str, &[u8])] =
        &[("shuffle_0_3_0", b"AAAA"), ("shuffle_0_3_0", b"AAAA"), ("shuffle_0_3_3", b"D")];
    assert_eq!(contents(&found), expected);
    let (found, failed) = all(client.fetch(&server.address, &executor(), Vec::new())).await;
    assert!(found.is_empty() && failed.is_empty());
}

#[tokio::test]
async fn a_missing_block_does_not_cost_the_others() {
    let (server, client) = with_blocks(&gcm()).await;
    let names = [
        "shuffle_0_3_0",
        "shuffle_0_99_0",
        "shuffle_0_3_77",
        "shuffle_0_4_1",
        "rdd_9_9",
        "shuffle_0_98_0",
        "shuffle_0_3_3",
    ];
    let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
    let found: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(found, ["shuffle_0_3_0", "shuffle_0_3_3", "shuffle_0_4_1"]);
    let mut missing: Vec<_> = failed.iter().map(|error| (error.block.to_string(), error.kind())).collect();
    missing.sort_by(|a, b| a.0.cmp(&b.0));
    let names = ["rdd_9_9", "shuffle_0_3_77", "shuffle_0_98_0", "shuffle_0_99_0"];
    assert_eq!(missing, names.map(|name| (name.to_owned(), ErrorKind::Missing)));
}

#[tokio::test]
async fn an_unknown_executor_fails_all_blocks_as_missing() {
    let (server, client) = with_blocks(&gcm()).await;
    let names = ["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_1_3_1", "rdd_1_2"];
    let fetch = client.fetch(&server.address, &ExecutorId::new("77"), blocks(&names));
    let (found, failed) = all(fetch).await;
    assert!(found.is_empty());
    assert_eq!(failed.len(), 4);
    assert!(failed.iter().all(|error| error.kind() == ErrorKind::Missing));
    assert!(failed[0].to_string().contains("not registered"), "{}", failed[0]);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_tried_again() {
    let (server, _) = with_blocks(&gcm()).await;
    let wrong = Security::aes(AppSecret::new("wrong".into()), EngineVersion::V2, SessionCipher::Gcm);
    let settings = settings(wrong).max_retries(3).retry_wait(std::time::Duration::from_secs(3600));
    let client = Client::new(settings, app());
    let error = server.register(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("spark.authenticate.secret"), "{error}");
    let names = ["shuffle_0_3_0", "rdd_1_2"];
    let (_, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
    assert!(failed.len() == 2 && failed.iter().all(|error| error.kind() == ErrorKind::Refused));
}

#[tokio::test]
async fn another_application_is_refused() {
    let (server, _) = with_blocks(&gcm()).await;
    let foreign = Client::new(settings(gcm()), AppId::new("app-2"));
    let (_, failed) = all(foreign.fetch(&server.address, &executor(), blocks(&["shuffle_0_3_0"]))).await;
    // It proves to be app-2, whose executor 1 nobody registered.
    assert_eq!(failed[0].kind(), ErrorKind::Missing);
}

#[tokio::test]
async fn a_client_in_clear_is_refused_by_a_server_that_wants_proof() {
    let (server, _) = with_blocks(&gcm()).await;
    let error = server.register(&client(Security::Plaintext)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn a_client_that_wants_proof_is_refused_by_a_server_in_clear() {
    let server = Running::start(&Security::Plaintext).await;
    let error = server.register(&client(gcm())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("spark.authenticate=true"), "{error}");
}

#[tokio::test]
async fn a_block_over_the_memory_limit_fails_alone() {
    let (server, _) = with_blocks(&gcm()).await;
    let settings = settings(gcm()).max_fetch_to_memory(BIG as u64 - 1);
    let client = Client::new(settings, app());
    let names = ["shuffle_0_4_1", "shuffle_0_4_2", "shuffle_0_4_3"];
    let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&names))).await;
    assert_eq!(contents(&found), [("shuffle_0_4_1", &b"y"[..]), ("shuffle_0_4_3", b"z")]);
    assert!(matches!(*failed[0].error, ClientError::TooLargeForMemory { .. }));
    assert!(failed[0].to_string().contains("--out"));
}

#[tokio::test]
async fn blocks_go_to_files_that_appear_whole() {
    for security in modes() {
        let (server, client) = with_blocks(&security).await;
        let dir = tempfile::tempdir().unwrap();
        let told = Arc::new(Mutex::new((0_u64, 0_u64)));
        let progress = {
            let told = Arc::clone(&told);
            Arc::new(move |progress: Progress<'_>| {
                let mut told = told.lock().unwrap();
                match progress {
                    Progress::Begins { len, .. } => told.0 += len,
                    Progress::Bytes(n) => told.1 += n,
                    _ => {}
                }
            })
        };
        let names = ["shuffle_0_4_2", "shuffle_0_3_1", "rdd_1_2", "shuffle_0_3_55"];
        let mut fetch = client
            .fetch_to_files(&server.address, &executor(), blocks(&names), dir.path(), progress)
            .unwrap();
        let mut failed = Vec::new();
        while let Some(outcome) = fetch.next().await {
            match outcome {
                Ok((block, saved)) => {
                    let content = std::fs::read(dir.path().join(block.to_string())).unwrap();
                    assert_eq!((saved.len, saved.crc32c), (content.len() as u64, crc32c::crc32c(&content)));
                }
                Err(error) => failed.push(error.block.to_string()),
            }
        }
        assert_eq!(failed, ["shuffle_0_3_55"], "{security:?}");
        assert_eq!(std::fs::read(dir.path().join("shuffle_0_4_2")).unwrap(), vec![7; BIG]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing but the blocks is left");
        assert_eq!(*told.lock().unwrap(), ((BIG + 6) as u64, (BIG + 6) as u64));
    }
}

#[tokio::test]
async fn files_are_refused_for_names_that_leave_the_directory_and_for_duplicates() {
    let client = client(gcm());
    let server = sealed_shuffle_client::Address::new("127.0.0.1", 1);
    let to_files = |names: &[&str]| {
        client.fetch_to_files(&server, &executor(), blocks(names), "/nowhere", Arc::new(|_| {})).map(drop)
    };
    assert!(matches!(to_files(&["test_/../../x"]), Err(ClientError::NoFileName(_))));
    assert!(matches!(to_files(&["rdd_0_1", "rdd_0_1"]), Err(ClientError::Duplicate(_))));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_our_fault() {
    let (server, client) = with_blocks(&gcm()).await;
    let mut fetch = client
        .fetch_to_files(
            &server.address,
            &executor(),
            blocks(&["rdd_1_2"]),
            "/nowhere/at/all",
            Arc::new(|_| {}),
        )
        .unwrap();
    let error = fetch.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local);
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[tokio::test]
async fn a_dropped_fetch_does_not_disturb_others() {
    let (server, client) = with_blocks(&gcm()).await;
    for _ in 0..5 {
        // Both share the one connection.
        let mut dropped = client.fetch(&server.address, &executor(), blocks(&["shuffle_0_4_2"; 20]));
        dropped.next().await.unwrap().unwrap();
        let other = client.fetch(&server.address, &executor(), blocks(&["shuffle_0_3_2", "shuffle_0_4_2"]));
        drop(dropped);
        let (found, failed) = all(other).await;
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!((found[0].1.as_slice(), found[1].1.len()), (&b"CCCCC"[..], BIG));
    }
}

#[tokio::test]
async fn a_fetch_that_waits_for_its_taker_holds_no_more_than_its_bound() {
    let (server, _) = with_blocks(&gcm()).await;
    let settings = settings(gcm()).max_size_in_flight(BIG as u64);
    let client = Client::new(settings, app());
    let fetch = client.fetch(&server.address, &executor(), blocks(&["shuffle_0_4_2"; 10]));
    let (found, failed) = all(fetch).await;
    assert!(failed.is_empty());
    assert_eq!(found.len(), 10);
}

#[tokio::test]
async fn asks_for_directories_removes_and_diagnoses() {
    let (server, client) = with_blocks(&gcm()).await;
    let dirs = client.local_dirs(&server.address, &[executor()]).await.unwrap();
    assert_eq!(dirs[&executor()], [server.local_dir().to_str().unwrap()]);

    let suspect = Suspect {
        shuffle: ShuffleId(0),
        map: MapId(3),
        reduce: ReduceId(0),
        checksum: 1,
        algorithm: "NONE".into(),
    };
    let cause = client.diagnose(&server.address, &executor(), suspect).await.unwrap();
    assert_eq!(cause, CorruptionCause::UnsupportedChecksumAlgorithm);

    let gone = blocks(&["rdd_1_2", "rdd_1_3"]);
    assert_eq!(client.remove_blocks(&server.address, &executor(), &gone).await.unwrap(), 1);
    assert!(!server.path("rdd_1_2").exists());
}

#[tokio::test]
async fn a_restarted_server_is_found_again_by_the_pool() {
    let (server, _) = with_blocks(&gcm()).await;
    let settings = settings(gcm()).max_retries(5);
    let client = Client::new(settings, app());
    let (found, _) = all(client.fetch(&server.address, &executor(), blocks(&["shuffle_0_3_0"]))).await;
    assert_eq!(found.len(), 1);

    let address = socket_address(&server.address).to_string();
    let root = server.kill().await;
    let server = Running::start_at(&gcm(), root, &address).await;
    // The pooled connection is dead; a call and a fetch notice and connect anew.
    server.register(&client).await.unwrap();
    let (found, failed) = all(client.fetch(&server.address, &executor(), blocks(&["shuffle_0_3_0"]))).await;
    assert_eq!((found.len(), failed.len()), (1, 0), "{failed:?}");
    client.local_dirs(&server.address, &[executor()]).await.unwrap();
}

#[tokio::test]
async fn many_fetches_share_few_connections() {
    let (server, _) = with_blocks(&gcm()).await;
    let settings = settings(gcm()).connections_per_peer(3).max_blocks_in_flight(2);
    let client = Client::new(settings, app());
    let names = [
        "shuffle_0_3_0",
        "shuffle_0_3_1",
        "shuffle_0_3_2",
        "shuffle_0_3_3",
        "shuffle_0_4_0",
        "shuffle_0_4_1",
    ];
    let fetches: Vec<_> =
        (0..8).map(|_| client.fetch(&server.address, &executor(), blocks(&names))).collect();
    for fetch in fetches {
        let (found, failed) = all(fetch).await;
        assert_eq!((found.len(), failed.len()), (6, 0), "{failed:?}");
    }
}

#[tokio::test]
async fn many_executors_are_registered_over_one_connection() {
    let security = gcm();
    let server = Running::start(&security).await;
    server.write_map(0, 0, &[b"first", b"second"]);
    let client = client(security);
    let executors = (0..200).map(|n| ExecutorId::new(n.to_string()));
    client.register_all(&server.address, executors, server.info()).await.unwrap();
    for executor in ["0", "199"] {
        let fetch = client.fetch(&server.address, &ExecutorId::new(executor), blocks(&["shuffle_0_0_1"]));
        let (found, failed) = all(fetch).await;
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(found, [("shuffle_0_0_1".to_owned(), b"second".to_vec())]);
    }

    let outside = ExecutorShuffleInfo {
        local_dirs: Strings::try_from_iter(["/var/empty/elsewhere"]).unwrap(),
        ..server.info()
    };
    let refused = client.register_all(&server.address, [ExecutorId::new("200")], outside).await.unwrap_err();
    assert!(matches!(refused, ClientError::Server { .. }), "{refused}");
}
