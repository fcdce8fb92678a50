//! Against mergers that misbehave as told: the rules of retrying, and answers that are none.

use std::convert::identity;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_client::{
    BlockBody, Client, ErrorKind, FallBackReason, MapOutput, Merge, MergeStatus, MergedPart, MergedPartition,
    PushReport, PushedBlock, Security, Settings,
};
use sealed_shuffle_protocol::codec::Wire as _;
use sealed_shuffle_protocol::ids::{ReduceId, RequestId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockPushReturnCode, BlocksRemoved, MergeStatuses, ReturnCode,
};

use crate::merger::{Asked, Merger, Reply, answer, code};
use crate::support::{app, settings};

const MERGE: Merge = Merge { app_attempt: -1, shuffle: ShuffleId(3), merge: ShuffleMergeId(0) };
const PARTITION: MergedPartition =
    MergedPartition { shuffle: MERGE.shuffle, merge: MERGE.merge, reduce: ReduceId(1) };

fn client(change: impl FnOnce(Settings) -> Settings) -> Client {
    let settings = change(settings(Security::Plaintext).answer_timeout(Duration::from_millis(300)));
    Client::new(settings, app())
}

/// Blocks of ten bytes.
fn output(partitions: i32) -> MapOutput {
    let block = |reduce| (ReduceId(reduce), BlockBody::from(Bytes::from_static(&[7; 10])));
    let blocks = (0..partitions).map(block).collect();
    MapOutput { merge: MERGE, map_index: 5, partitions: partitions.cast_unsigned(), blocks }
}

fn labels(report: &PushReport) -> Vec<&'static str> {
    report.blocks.iter().map(|block| block.pushed.label()).collect()
}

/// Answers what `push_code` says for the number of pushes before it; everything else is a mistake.
async fn pushes(
    push_code: impl Fn(usize, usize, &sealed_shuffle_protocol::shuffle::PushBlockStream) -> Option<ReturnCode>
    + Send
    + Sync
    + 'static,
) -> Merger {
    let count = AtomicUsize::new(0);
    Merger::start(move |connection, asked| match asked {
        Asked::Push(request, push, body) => {
            assert_eq!(body.len(), 10);
            match push_code(connection, count.fetch_add(1, Ordering::Relaxed), push) {
                Some(answer) => code(*request, push, answer),
                None => Reply::Close,
            }
        }
        _ => panic!("nothing else is asked"),
    })
    .await
}

#[tokio::test]
async fn what_had_no_answer_is_pushed_again_and_nothing_else() {
    // The connection ends with the third block.
    let merger = pushes(|connection, n, _| (connection > 0 || n != 2).then_some(ReturnCode::Success)).await;
    let report = client(|s| s.max_retries(1)).push(output(6), std::slice::from_ref(&merger.address)).await;
    assert_eq!(labels(&report), ["merged"; 6], "{report}");
    let all = merger.pushes();
    let first: Vec<_> = all.iter().filter(|(connection, ..)| *connection == 0).collect();
    let second: Vec<_> = all.iter().filter(|(connection, ..)| *connection == 1).collect();
    assert_eq!((first.len(), second.len()), (3, 4), "two answered, four again: {all:?}");
}

#[tokio::test]
async fn a_connection_that_always_breaks_fails_after_the_retries() {
    let merger = pushes(|_, _, _| None).await;
    let report = client(|s| s.max_retries(2)).push(output(1), std::slice::from_ref(&merger.address)).await;
    assert_eq!(labels(&report), ["failed"]);
    assert_eq!(merger.pushes().len(), 3);
}

#[tokio::test]
async fn a_silent_merger_is_tried_again_after_the_deadline() {
    let merger = Merger::start(|connection, asked| match asked {
        Asked::Push(request, push, _) if connection > 0 => code(*request, push, ReturnCode::Success),
        _ => Reply::Silence,
    })
    .await;
    let report = client(|s| s.max_retries(1)).push(output(2), std::slice::from_ref(&merger.address)).await;
    assert_eq!(labels(&report), ["merged"; 2], "{report}");
}

#[tokio::test]
async fn an_answer_is_final_whatever_it_says() {
    let merger = Merger::start(|_, asked| {
        let Asked::Push(request, push, _) = asked else { panic!("nothing else is asked") };
        match push.reduce.0 {
            0 => code(*request, push, ReturnCode::BlockAppendCollisionDetected),
            1 => {
                let error = "java.lang.IllegalStateException: IOExceptions exceeded the threshold".to_owned();
                Reply::Say(Head::RpcFailure { request: *request, error }, Bytes::new())
            }
            2 => Reply::Say(Head::RpcResponse { request: *request }, Bytes::new()),
            3 => answer(*request, BlocksRemoved { count: 1 }),
            4 => {
                let failure_block = "shufflePush_3_0_5_99".to_owned();
                answer(*request, BlockPushReturnCode { code: ReturnCode::TooLateBlockPush, failure_block })
            }
            5 => Reply::Say(Head::RpcResponse { request: *request }, Bytes::from_static(b"\x12\x09\0\0\0\0")),
            _ => code(*request, push, ReturnCode::Success),
        }
    })
    .await;
    let report = client(|s| s.max_retries(5)).push(output(8), std::slice::from_ref(&merger.address)).await;
    assert_eq!(
        labels(&report),
        ["collided", "failed", "failed", "failed", "failed", "failed", "merged", "merged"],
        "{report}"
    );
    assert_eq!(merger.pushes().len(), 8);
    assert!(report.stopped_by().is_none());
}

#[tokio::test]
async fn a_stop_ends_a_wait_for_another_try() {
    let merger = pushes(|connection, _, push| match push.reduce.0 {
        0 if connection == 0 => None,
        _ => Some(ReturnCode::TooLateBlockPush),
    })
    .await;
    let client = client(|s| {
        s.max_retries(1000).retry_wait(Duration::from_secs(1000)).max_push_batch(10).connections_per_peer(2)
    });
    let report = client.push(output(2), std::slice::from_ref(&merger.address)).await;
    assert!(labels(&report).iter().all(|label| ["stopped", "too_late"].contains(label)), "{report}");
    assert!(report.stopped_by().is_some());
}

#[tokio::test]
async fn one_block_is_tried_once() {
    let merger = pushes(|_, _, _| None).await;
    let block = PushedBlock { map_index: 0, reduce: ReduceId(0), body: Bytes::from_static(&[7; 10]).into() };
    let error = client(|s| s.max_retries(9)).push_block(&merger.address, MERGE, block).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unreachable, true), "{error}");
    assert_eq!(merger.pushes().len(), 1);
}

/// Spark's merger answers a push of another attempt at its head, and closes with the rest unread, which resets the
/// connection under the block that is still on its way.
#[tokio::test]
async fn an_answer_is_heard_although_the_merger_takes_no_more() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    for _ in 0..20 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().into();
        let merger = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut decoder = sealed_shuffle_protocol::frame::FrameDecoder::new(1 << 20);
            let mut input = BytesMut::new();
            let head = loop {
                socket.read_buf(&mut input).await.unwrap();
                decoder.feed(input.split().freeze());
                if let Some(sealed_shuffle_protocol::frame::FrameEvent::Head { head, .. }) =
                    decoder.next().unwrap()
                {
                    break head;
                }
            };
            let Head::UploadStream { request, .. } = head else { panic!("{head:?}") };
            let failure_block = "shufflePush_3_0_1_2".to_owned();
            let Reply::Say(head, body) =
                answer(request, BlockPushReturnCode { code: ReturnCode::TooOldAttemptPush, failure_block })
            else {
                unreachable!("an answer is said")
            };
            let mut out = BytesMut::new();
            head.encode(body.len() as u64, &mut out).unwrap();
            out.extend_from_slice(&body);
            socket.write_all(&out).await.unwrap();
        });
        let body = BlockBody::from(Bytes::from(vec![7; 30 << 20]));
        let block = PushedBlock { map_index: 1, reduce: ReduceId(2), body };
        let code = client(identity).push_block(&server, MERGE, block).await.unwrap();
        assert_eq!(code, ReturnCode::TooOldAttemptPush);
        merger.await.unwrap();
    }
}

/// More than may be sent ahead on a connection, while the merger reads nothing but what it answers.
#[tokio::test]
async fn answers_are_read_however_much_is_pushed() {
    let merger = pushes(|_, _, _| Some(ReturnCode::Success)).await;
    let client = client(identity);
    let mut tasks = tokio::task::JoinSet::new();
    for map_index in 0..2000 {
        let (client, server) = (client.clone(), merger.address.clone());
        let block = PushedBlock { map_index, reduce: ReduceId(0), body: Bytes::from_static(&[7; 10]).into() };
        tasks.spawn(async move { client.push_block(&server, MERGE, block).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|code| code.unwrap() == ReturnCode::Success));
}

fn statuses(of: (i32, i32), maps: usize, reduces: &[i32], sizes: &[i64]) -> MergeStatuses {
    MergeStatuses {
        shuffle: ShuffleId(of.0),
        merge: ShuffleMergeId(of.1),
        bitmaps: vec![[1].into_iter().collect(); maps],
        reduces: reduces.iter().copied().map(ReduceId).collect(),
        sizes: sizes.to_vec(),
    }
}

#[tokio::test]
async fn statuses_that_cannot_be_are_refused() {
    for (wrong, words) in [
        (statuses((4, 0), 1, &[0], &[1]), "shuffle 4"),
        (statuses((3, 1), 1, &[0], &[1]), "merge 1"),
        (statuses((3, 0), 2, &[0], &[1]), "2 bitmaps"),
        (statuses((3, 0), 1, &[0], &[1, 2]), "2 sizes"),
        (statuses((3, 0), 0, &[0], &[]), "0 bitmaps"),
        (statuses((3, 0), 1, &[0], &[-1]), "-1 bytes"),
        (statuses((3, 0), 1, &[-4], &[1]), "partition -4"),
        (statuses((3, 0), 2, &[6, 6], &[1, 1]), "partition 6"),
    ] {
        let merger = Merger::start(move |_, asked| match asked {
            Asked::Rpc(request) => answer(*request, wrong.clone()),
            _ => panic!("nothing else is asked"),
        })
        .await;
        let error = client(identity).finalize_shuffle_merge(&merger.address, MERGE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn counts_beyond_the_bytes_are_refused() {
    // Two billion bitmaps, and none.
    for body in
        [&b"\x0e\0\0\0\x03\0\0\0\0\x7f\xff\xff\xff"[..], b"\x0e\0\0\0\x03\0\0\0\0\xff\xff\xff\xff", b""]
    {
        let merger = Merger::start(move |_, asked| match asked {
            Asked::Rpc(request) => {
                Reply::Say(Head::RpcResponse { request: *request }, Bytes::from_static(body))
            }
            _ => panic!("nothing else is asked"),
        })
        .await;
        let error = client(identity).finalize_shuffle_merge(&merger.address, MERGE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}

fn bitmaps(bitmaps: &[&[u32]]) -> Bytes {
    let mut out = BytesMut::new();
    for maps in bitmaps {
        maps.iter().copied().collect::<Bitmap>().encode(&mut out).unwrap();
    }
    out.freeze()
}

async fn with_meta(num_chunks: i32, bitmaps: Bytes) -> Merger {
    Merger::start(move |_, asked| match asked {
        Asked::Meta(request, reduce) => {
            assert_eq!(*reduce, PARTITION.reduce);
            Reply::Say(Head::MergedBlockMetaSuccess { request: *request, num_chunks }, bitmaps.clone())
        }
        Asked::Rpc(request) => {
            let error = "java.lang.RuntimeException: Merged shuffle data file /x not found".to_owned();
            Reply::Say(Head::RpcFailure { request: *request, error }, Bytes::new())
        }
        Asked::Push(..) => panic!("nothing is pushed"),
    })
    .await
}

#[tokio::test]
async fn as_many_bitmaps_as_chunks_and_no_byte_more() {
    let two = bitmaps(&[&[1, 2], &[3]]);
    let merger = with_meta(2, two.clone()).await;
    let found = client(identity).merged_block_meta(&merger.address, PARTITION).await.unwrap();
    assert_eq!(found, [[1, 2].into_iter().collect::<Bitmap>(), [3].into_iter().collect()]);
    for (num_chunks, bytes) in [
        (1, two.clone()),
        (3, two.clone()),
        (-1, two.clone()),
        (i32::MAX, two.clone()),
        (i32::MAX, Bytes::new()),
        (2, two.slice(..two.len() - 1)),
        (2, Bytes::from([&two[..], b"x"].concat())),
    ] {
        let merger = with_meta(num_chunks, bytes).await;
        let error = client(identity).merged_block_meta(&merger.address, PARTITION).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{num_chunks}: {error}");
    }
}

#[tokio::test]
async fn chunks_that_fail_are_fallen_back_on_by_their_map_indexes() {
    let merger = with_meta(2, bitmaps(&[&[1, 2], &[3]])).await;
    let status = MergeStatus { reduce: PARTITION.reduce, size: 10, maps: [1, 2, 3, 4].into_iter().collect() };
    let client = client(identity);
    let mut read = client.read_merged(&merger.address, MERGE, &status);
    let mut found = Vec::new();
    while let Some(outcome) = read.next().await {
        let MergedPart::FallBack(outcome) = outcome else { panic!("{outcome:?}") };
        let word = match outcome.reason {
            FallBackReason::Chunk(error) => format!("{:?}", error.kind()),
            FallBackReason::InNoChunk => "none".to_owned(),
            other => panic!("{other}"),
        };
        found.push((outcome.chunk, outcome.maps.into_iter().collect::<Vec<_>>(), word));
    }
    found.sort();
    let failed = || "Missing".to_owned();
    assert_eq!(
        found,
        [(None, vec![4], "none".into()), (Some(0), vec![1, 2], failed()), (Some(1), vec![3], failed())]
    );
}

#[tokio::test]
async fn an_answer_for_another_request_breaks_the_protocol() {
    let merger = Merger::start(|_, asked| match asked {
        Asked::Meta(request, _) => answer(*request, BlocksRemoved { count: 1 }),
        Asked::Push(request, push, _) => code(RequestId(request.0 ^ 1), push, ReturnCode::Success),
        Asked::Rpc(_) => panic!("nothing else is asked"),
    })
    .await;
    let client = client(|s| s.max_retries(5));
    let error = client.merged_block_meta(&merger.address, PARTITION).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let report = client.push(output(1), std::slice::from_ref(&merger.address)).await;
    assert_eq!(labels(&report), ["failed"]);
    assert_eq!(merger.pushes().len(), 1, "a merger that talks nonsense is not asked again");
}
