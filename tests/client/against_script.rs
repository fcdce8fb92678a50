//! Against servers that misbehave as told. They speak in clear and serve RDD blocks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_client::{Client, ClientError, ErrorKind, Security};
use tokio::net::TcpListener;

use crate::script::{Reply, Scripted, content};
use crate::support::*;

const FOUR: [&str; 4] = ["rdd_0_0", "rdd_0_1", "rdd_0_2", "rdd_0_3"];

fn retrying(max_retries: u32) -> Client {
    let settings =
        settings(Security::Plaintext).max_retries(max_retries).answer_timeout(Duration::from_millis(300));
    Client::new(settings, app())
}

fn served(names: &[&str]) -> Vec<(String, Vec<u8>)> {
    names.iter().map(|name| ((*name).to_owned(), content(name))).collect()
}

#[tokio::test]
async fn a_broken_connection_costs_only_what_is_missing() {
    let server = Scripted::start(|asked| match asked.chunk {
        Some("rdd_0_2") if asked.connection == 0 => Reply::Cut,
        _ => Reply::Serve,
    })
    .await;
    let (found, failed) = all(retrying(1).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found, served(&FOUR));
    let missing = FOUR[2..].iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(server.opened()[1], (1, missing));
}

#[tokio::test]
async fn a_block_that_always_breaks_the_connection_fails_alone() {
    let server = Scripted::start(|asked| match asked.chunk {
        Some("rdd_0_1") => Reply::Cut,
        _ => Reply::Serve,
    })
    .await;
    let (found, failed) = all(retrying(2).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert_eq!(found, served(&["rdd_0_0", "rdd_0_2", "rdd_0_3"]));
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].block.to_string().as_str(), failed[0].kind()), ("rdd_0_1", ErrorKind::Unreachable));
    assert_eq!(server.opened().len(), 4, "one try, two retries, and the rest");
}

#[tokio::test]
async fn a_server_that_hangs_up_at_first_is_tried_again() {
    let server = Scripted::start(|asked| match asked.connection {
        0 | 1 => Reply::Close,
        _ => Reply::Serve,
    })
    .await;
    let (_, failed) = all(retrying(1).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert_eq!(failed.len(), 4, "one retry is not enough");
    let (found, failed) = all(retrying(1).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found, served(&FOUR));
}

#[tokio::test]
async fn an_answered_failure_is_final() {
    let server = Scripted::start(|_| Reply::Fail("java.lang.RuntimeException: boom\n\tat x")).await;
    let (_, failed) = all(retrying(3).fetch(&server.address, &executor(), blocks(&FOUR[..1]))).await;
    assert_eq!(failed[0].kind(), ErrorKind::Failed);
    assert_eq!(failed[0].to_string().lines().count(), 1, "no stack trace: {}", failed[0]);
    assert_eq!(server.opened().len(), 1);
}

/// A server of Spark's resolves the block of a failed chunk again for the next index.
#[tokio::test]
async fn what_lies_behind_a_failed_chunk_is_asked_for_anew() {
    let server = Scripted::start(|asked| match asked.chunk {
        Some("rdd_0_1") => Reply::Fail("java.lang.IllegalStateException: Chunk was not found"),
        Some(_) if asked.blocks.iter().any(|block| block == "rdd_0_1") && asked.chunk != Some("rdd_0_0") => {
            Reply::Raw(Bytes::new())
        }
        _ => Reply::Serve,
    })
    .await;
    let (found, failed) = all(retrying(0).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert_eq!(found, served(&["rdd_0_0", "rdd_0_2", "rdd_0_3"]));
    assert_eq!(failed[0].kind(), ErrorKind::Missing);
    let connections: Vec<_> = server.opened().iter().map(|(connection, _)| *connection).collect();
    assert_eq!(connections, [0, 0], "a failure is no reason to leave the connection");
}

/// An executor resolves all blocks when a stream is opened.
#[tokio::test]
async fn a_request_that_fails_for_one_block_is_halved_until_it_is_found() {
    let server = Scripted::start(|asked| {
        let has_missing = asked.blocks.iter().any(|block| block == "rdd_0_2");
        if asked.chunk.is_none() && has_missing {
            return Reply::Fail("org.apache.spark.storage.BlockNotFoundException: Block rdd_0_2 not found");
        }
        Reply::Serve
    })
    .await;
    let (found, failed) = all(retrying(0).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert_eq!(found, served(&["rdd_0_0", "rdd_0_1", "rdd_0_3"]));
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].block.to_string().as_str(), failed[0].kind()), ("rdd_0_2", ErrorKind::Missing));
}

#[tokio::test]
async fn a_silent_server_is_unreachable_after_the_deadline() {
    for at_opening in [true, false] {
        let server = Scripted::start(move |asked| match asked.chunk {
            None if !at_opening => Reply::Serve,
            _ => Reply::Silence,
        })
        .await;
        let started = Instant::now();
        let (_, failed) = all(retrying(1).fetch(&server.address, &executor(), blocks(&FOUR))).await;
        assert!(started.elapsed() >= Duration::from_millis(600), "two tries of 300 ms");
        assert_eq!(failed.len(), 4);
        assert!(failed.iter().all(|error| error.kind() == ErrorKind::Unreachable), "{failed:?}");
    }
}

#[tokio::test]
async fn a_listener_that_never_answers_ends_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().into();
    let settings = settings(gcm()).handshake_timeout(Duration::from_millis(100));
    let client = Client::new(settings, app());
    let (_, failed) = all(client.fetch(&server, &executor(), blocks(&FOUR))).await;
    assert!(matches!(*failed[0].error, ClientError::Handshake { .. }), "{failed:?}");
    assert_eq!(failed[0].kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn nobody_listening_is_unreachable_for_every_block() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let settings = settings(gcm()).max_retries(2);
    let client = Client::new(settings, app());
    let names = ["rdd_0_0", "shuffle_0_0_0", "shuffle_1_0_0"];
    let (_, failed) = all(client.fetch(&free.into(), &executor(), blocks(&names))).await;
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|error| error.kind() == ErrorKind::Unreachable && error.is_retryable()));
}

#[tokio::test]
async fn a_handle_that_does_not_fit_the_request_breaks_the_protocol() {
    for chunks in [-1, 0, 3, 5, i32::MAX] {
        let server = Scripted::start(move |_| Reply::Chunks(chunks)).await;
        let (_, failed) = all(retrying(3).fetch(&server.address, &executor(), blocks(&FOUR))).await;
        assert!(failed.iter().all(|error| error.kind() == ErrorKind::Protocol), "{chunks}: {failed:?}");
        assert_eq!(failed.len(), 4);
    }
}

#[tokio::test]
async fn bytes_that_are_no_frames_are_corrupt_and_not_asked_for_again() {
    let server =
        Scripted::start(|_| Reply::Raw(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n"))).await;
    let (_, failed) = all(retrying(3).fetch(&server.address, &executor(), blocks(&FOUR))).await;
    assert!(failed.iter().all(|error| error.kind() == ErrorKind::Corrupt), "{failed:?}");
    assert_eq!(server.opened().len(), 1);
}

#[tokio::test]
async fn a_slow_taker_gets_its_blocks_and_does_not_hold_up_others() {
    let server = Running::start(&Security::Plaintext).await;
    server.write_map(0, 0, &[&vec![1; 2 << 20], b"small"]);
    let settings =
        settings(Security::Plaintext).answer_timeout(Duration::from_secs(1)).max_size_in_flight(1 << 20);
    let client = Client::new(settings, app());
    server.register(&client).await.unwrap();

    let mut slow = client.fetch(&server.address, &executor(), blocks(&["shuffle_0_0_0"; 8]));
    slow.next().await.unwrap().unwrap();
    // One connection for both: after a second it goes on without the slow one.
    let other = client.fetch(&server.address, &executor(), blocks(&["shuffle_0_0_1"]));
    let (found, failed) = all(other).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found[0].1, b"small");
    let (found, failed) = all(slow).await;
    assert_eq!((found.len(), failed.len()), (7, 0), "{failed:?}");
}
