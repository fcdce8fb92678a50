//! Our client against our merging server: what is pushed is what is read, and each outcome has its name.

use std::collections::BTreeMap;
use std::convert::identity;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roaring::RoaringBitmap;
use sealed_shuffle::{MergeConfig, ServerConfig};
use sealed_shuffle_client::{
    Address, BlockBody, Client, ClientError, FallBackReason, MapOutput, Merge, MergeStatus, MergedPart,
    MergedPartition, PushReport, PushedBlock, Security, Settings, SuspectChunk,
};
use sealed_shuffle_protocol::ids::{AppId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{Bitmap, CorruptionCause, ReturnCode};

use crate::running::{CTR, GCM, content, eventually};
use crate::support::{APP, Merging, block, pushed, upload};

const MERGE: Merge = Merge { app_attempt: 1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };

/// A client of the registered application, which fails fast.
fn client(merging: &Merging, change: impl FnOnce(Settings) -> Settings) -> Client {
    let secret = AppSecret::new(merging.server.secret.clone());
    let settings = change(
        Settings::new(Security::aes(secret, merging.mode.version, merging.mode.cipher))
            .max_retries(0)
            .retry_wait(Duration::from_millis(10)),
    );
    Client::new(settings, AppId::new(APP))
}

fn address(merging: &Merging) -> Address {
    Address::from(merging.server.address)
}

fn partition(reduce: i32) -> MergedPartition {
    MergedPartition { shuffle: MERGE.shuffle, merge: MERGE.merge, reduce: ReduceId(reduce) }
}

fn run<T>(merging: &Merging, work: impl Future<Output = T>) -> T {
    merging.server.runtime.block_on(work)
}

fn push_one(
    merging: &Merging,
    client: &Client,
    map_index: i32,
    reduce: i32,
    body: &'static [u8],
) -> Result<ReturnCode, ClientError> {
    let body = Bytes::from_static(body).into();
    let block = PushedBlock { map_index, reduce: ReduceId(reduce), body };
    run(merging, client.push_block(&address(merging), MERGE, block))
}

/// Bodies of one map task, partition by partition.
fn output(map_index: i32, bodies: &[Vec<u8>]) -> MapOutput {
    let body = |body: &Vec<u8>| BlockBody::from(Bytes::from(body.clone()));
    let blocks = (0..).map(ReduceId).zip(bodies.iter().map(body)).collect();
    MapOutput { merge: MERGE, map_index, partitions: u32::try_from(bodies.len()).unwrap(), blocks }
}

fn labels(report: &PushReport) -> Vec<&'static str> {
    report.blocks.iter().map(|block| block.pushed.label()).collect()
}

fn maps(maps: &[u32]) -> RoaringBitmap {
    maps.iter().copied().collect()
}

#[test]
fn each_request_of_merging_is_answered_in_types() {
    for mode in [CTR, GCM] {
        let merging = Merging::start(mode);
        let (client, server) = (client(&merging, identity), address(&merging));
        for (map, body) in [(0, "AAAA"), (5, "BBBBBBBBBB"), (2, "CCCCCC"), (7, ""), (1, "DDD"), (1, "DDD")] {
            let code = push_one(&merging, &client, map, 0, body.as_bytes()).unwrap();
            assert_eq!(code, ReturnCode::Success, "{map}");
        }
        assert_eq!(push_one(&merging, &client, 0, 1, &[b'z'; 20]).unwrap(), ReturnCode::Success);
        let mut statuses = run(&merging, client.finalize_shuffle_merge(&server, MERGE)).unwrap();
        statuses.sort_by_key(|status| status.reduce);
        let told = |reduce, size, maps: &[u32]| MergeStatus {
            reduce: ReduceId(reduce),
            size,
            maps: maps.iter().copied().collect(),
        };
        assert_eq!(statuses, [told(0, 23, &[0, 1, 2, 5, 7]), told(1, 20, &[0])]);
        assert_eq!(push_one(&merging, &client, 9, 0, b"late").unwrap(), ReturnCode::TooLateBlockPush);

        let chunks = run(&merging, client.merged_block_meta(&server, partition(0))).unwrap();
        let chunk = |maps: &[u32]| maps.iter().copied().collect::<Bitmap>();
        assert_eq!(chunks, [chunk(&[0, 2, 5]), chunk(&[1, 7])]);
        let fetched = run(&merging, async {
            let mut fetch = client.fetch_merged_chunks(&server, partition(0), [1, 0, 5]);
            let mut all = BTreeMap::new();
            while let Some(outcome) = fetch.next().await {
                match outcome {
                    Ok((block, bytes)) => all.insert(block.to_string(), Some(bytes)),
                    Err(error) => all.insert(error.block.to_string(), None),
                };
            }
            all
        });
        let name = |chunk| format!("shuffleChunk_0_0_0_{chunk}");
        assert_eq!(fetched[&name(0)].as_deref(), Some(&b"AAAABBBBBBBBBBCCCCCC"[..]));
        assert_eq!(fetched[&name(1)].as_deref(), Some(&b"DDD"[..]));
        assert_eq!(fetched[&name(5)], None);

        assert!(!merging.server.merged.paths().is_empty());
        run(&merging, client.remove_shuffle_merge(&server, Merge { merge: ShuffleMergeId(-1), ..MERGE }))
            .unwrap();
        eventually("the files are gone", || merging.server.merged.paths().is_empty());
        let gone = run(&merging, client.merged_block_meta(&server, partition(0))).unwrap_err();
        assert!(gone.to_string().contains("Merged shuffle index file"), "{gone}");
        merging.server.assert_serves();
    }
}

#[test]
fn a_corrupt_chunk_is_diagnosed() {
    let data: &[u8] = b"sixteen bytes or more of them";
    // Of CRC-32 (zlib), computed elsewhere.
    const SOUND: i64 = 0xbe04_8ecb;
    let suspect =
        |chunk, checksum, algorithm: &str| SuspectChunk { chunk, checksum, algorithm: algorithm.into() };
    let merging = Merging::start(GCM);
    let (client, server) = (client(&merging, identity), address(&merging));
    assert_eq!(push_one(&merging, &client, 0, 0, data).unwrap(), ReturnCode::Success);
    run(&merging, client.finalize_shuffle_merge(&server, MERGE)).unwrap();
    let diagnose =
        |reduce, suspect| run(&merging, client.diagnose_chunk(&server, partition(reduce), suspect));
    let told = |chunk, checksum, algorithm| diagnose(0, suspect(chunk, checksum, algorithm)).unwrap();
    // These files are not sealed, so nobody knows whether that was pushed.
    assert_eq!(told(0, SOUND, "CRC32"), CorruptionCause::UnknownIssue);
    assert_eq!(told(0, SOUND ^ 1, "CRC32"), CorruptionCause::NetworkIssue);
    assert_eq!(told(0, SOUND, "crc32"), CorruptionCause::UnsupportedChecksumAlgorithm);
    for (reduce, chunk) in [(0, 1), (0, -1), (1, 0)] {
        let refused = diagnose(reduce, suspect(chunk, SOUND, "CRC32")).unwrap_err();
        assert!(matches!(refused, ClientError::Server { .. }), "{refused}");
    }
    merging.server.assert_serves();
}

#[test]
fn chunks_are_not_diagnosed_where_that_is_switched_off() {
    let merging = Merging::unregistered(GCM, |config| {
        crate::support::merging(config);
        config.merging.as_mut().unwrap().diagnoses_chunks = false;
    });
    let (client, server) = (client(&merging, identity), address(&merging));
    let suspect = SuspectChunk { chunk: 0, checksum: 0, algorithm: "CRC32".to_owned() };
    let cause = run(&merging, client.diagnose_chunk(&server, partition(0), suspect)).unwrap();
    assert_eq!(cause, CorruptionCause::UnknownIssue);
}

#[test]
fn blocks_larger_than_any_buffer_are_pushed_from_a_file_and_from_memory() {
    let large = |config: &mut ServerConfig| config.merging = Some(MergeConfig::default());
    let merging = Merging::unregistered(GCM, large);
    merging.peer().rpc(&merging.register(1)).unwrap();
    let (client, server) = (client(&merging, identity), address(&merging));
    let bytes = content(9_000_000);
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.write_all_at(&bytes, 0).unwrap();
    let bodies =
        [BlockBody::file(Arc::clone(&file), 1000, 8_000_000), BlockBody::from(Bytes::from(bytes.clone()))];
    for (map_index, body) in (0..).zip(bodies) {
        let block = PushedBlock { map_index, reduce: ReduceId(3), body };
        let code = run(&merging, client.push_block(&server, MERGE, block)).unwrap();
        assert_eq!(code, ReturnCode::Success);
    }
    let statuses = run(&merging, client.finalize_shuffle_merge(&server, MERGE)).unwrap();
    assert_eq!(statuses[0].size, 17_000_000);
    let mut read = client.read_merged(&server, MERGE, &statuses[0]);
    let merged = run(&merging, async {
        let mut merged = BTreeMap::new();
        while let Some(MergedPart::Chunk(chunk)) = read.next().await {
            merged.insert(chunk.chunk, chunk.bytes);
        }
        merged
    });
    assert!(merged[&0] == bytes[1000..8_001_000] && merged[&1] == bytes && merged.len() == 2);
    assert_eq!(merging.server.metric("sealed_shuffle_merge_written_bytes_total"), 17_000_000);
    merging.server.assert_serves();
}

#[test]
fn a_map_output_is_merged_but_for_what_is_left_out() {
    for mode in [CTR, GCM] {
        let merging = Merging::start(mode);
        let client = client(&merging, |settings| {
            settings
                .connections_per_peer(2)
                .max_push_batch(3000)
                .max_blocks_in_flight(7)
                .max_block_to_push(1000)
        });
        let mut bodies: Vec<Vec<u8>> =
            (0..100).map(|reduce| vec![reduce; 10 * usize::from(reduce)]).collect();
        bodies[50] = vec![1; 1001];
        let report = run(&merging, client.push(output(3, &bodies), &[address(&merging)]));
        assert_eq!(report.counts(), [("empty", 1), ("merged", 98), ("too_large", 1)], "{report}");
        assert_eq!(report.merged_bytes(), bodies.iter().map(|body| body.len() as u64).sum::<u64>() - 1001);
        let again = run(&merging, client.push(output(3, &bodies), &[address(&merging)]));
        assert_eq!(labels(&again), labels(&report), "twice is once");
        let statuses = run(&merging, client.finalize_shuffle_merge(&address(&merging), MERGE)).unwrap();
        let sizes: BTreeMap<_, _> = statuses.iter().map(|status| (status.reduce.0, status.size)).collect();
        let expected = bodies.iter().enumerate().filter(|(at, _)| ![0, 50].contains(at));
        assert_eq!(
            sizes,
            expected.map(|(at, body)| (i32::try_from(at).unwrap(), body.len() as u64)).collect()
        );
        merging.server.assert_serves();
    }
}

#[test]
fn many_map_outputs_at_once_share_connections() {
    let merging = Merging::start(GCM);
    let client = client(&merging, |settings| settings.connections_per_peer(3));
    let file = Arc::new(tempfile::tempfile().unwrap());
    let bytes = content(400_000);
    file.write_all_at(&bytes, 0).unwrap();
    let merged = run(&merging, async {
        let mut tasks = tokio::task::JoinSet::new();
        for map in 0..20 {
            let output = MapOutput::of_file(MERGE, map, &file, &[100_000; 4]);
            let (client, server) = (client.clone(), address(&merging));
            tasks.spawn(async move { client.push(output, &[server]).await });
        }
        let mut merged = 0;
        for report in tasks.join_all().await {
            let counts = report.counts();
            assert!(counts.iter().all(|(label, _)| ["merged", "collided"].contains(label)), "{report}");
            merged += report.merged().count();
        }
        merged
    });
    let statuses = run(&merging, client.finalize_shuffle_merge(&address(&merging), MERGE)).unwrap();
    assert_eq!(statuses.iter().map(|status| status.maps.len()).sum::<u64>(), merged as u64);
    assert_eq!(statuses.iter().map(|status| status.size).sum::<u64>(), 100_000 * merged as u64);
    merging.server.assert_serves();
}

#[test]
fn a_finalized_merge_stops_the_push() {
    let merging = Merging::start(GCM);
    let client = client(&merging, |settings| settings.max_push_batch(1).max_requests_in_flight(1));
    run(&merging, client.finalize_shuffle_merge(&address(&merging), MERGE)).unwrap();
    let report = run(&merging, client.push(output(0, &vec![vec![1; 10]; 20]), &[address(&merging)]));
    let mut counts = report.counts();
    counts.sort_unstable();
    assert_eq!(counts, [("stopped", 19), ("too_late", 1)], "{report}");
    assert_eq!(report.stopped_by().unwrap().label(), "too_late");
    let second = run(&merging, client.finalize_shuffle_merge(&address(&merging), MERGE)).unwrap_err();
    assert!(second.to_string().contains("is stale shuffle finalize request"), "{second}");
    assert!(!second.is_retryable());
}

#[test]
fn stale_and_too_old_pushes_stop_too() {
    for (merge, label) in [
        (Merge { app_attempt: 2, ..MERGE }, "too_old"),
        (Merge { merge: ShuffleMergeId(0), ..MERGE }, "stale"),
    ] {
        let merging = Merging::start(GCM);
        let client = client(&merging, |settings| settings.max_requests_in_flight(1));
        let newer = Merge { merge: ShuffleMergeId(1), ..MERGE };
        let block = PushedBlock { map_index: 0, reduce: ReduceId(0), body: Bytes::from_static(b"x").into() };
        run(&merging, client.push_block(&address(&merging), newer, block)).unwrap();
        let mut output = output(0, &vec![vec![1; 10]; 3]);
        output.merge = merge;
        let report = run(&merging, client.push(output, &[address(&merging)]));
        assert_eq!(report.stopped_by().unwrap().label(), label, "{report}");
        assert!(labels(&report).iter().all(|found| [label, "stopped"].contains(found)), "{report}");
    }
}

#[test]
fn a_collision_is_not_tried_again_and_hinders_no_other_block() {
    let merging = Merging::start(GCM);
    let client = client(&merging, identity);
    let mut writer = merging.peer();
    writer.try_say(&upload(1, block(0, 0, 9, 1), 4, b"AA")).unwrap();
    eventually("it is the writer", || merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 2);
    let report = run(&merging, client.push(output(0, &vec![vec![1; 10]; 3]), &[address(&merging)]));
    assert_eq!(labels(&report), ["merged", "collided", "merged"], "{report}");
    assert_eq!(merging.server.metric("sealed_shuffle_merge_block_append_collisions_total"), 1);
    writer.try_say(b"aa").unwrap();
    assert_eq!(pushed(&mut writer), "ok");
}

#[test]
fn a_merger_that_takes_no_connection_is_dropped_and_others_go_on() {
    let merging = Merging::start(GCM);
    // Refused connections are not tried again, however often others would be.
    let client = client(&merging, |settings| {
        settings
            .max_retries(1000)
            .retry_wait(Duration::from_secs(1000))
            .max_push_batch(10)
            .max_requests_in_flight(1)
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mergers = [Address::from(free), address(&merging)];
    let report = run(&merging, client.push(output(0, &vec![vec![1; 10]; 6]), &mergers));
    let (nobody, merged) = ("unreachable", "merged");
    assert_eq!(labels(&report), [nobody, nobody, nobody, merged, merged, merged], "{report}");
    assert_eq!(report.merged().collect::<Vec<_>>(), [3, 4, 5].map(ReduceId));
}

#[test]
fn a_service_without_merging_fails_each_block() {
    let merging = Merging::unregistered(GCM, |_| {});
    let client = client(&merging, |settings| settings.max_retries(5));
    let report = run(&merging, client.push(output(0, &vec![vec![1; 10]; 2]), &[address(&merging)]));
    assert_eq!(labels(&report), ["failed", "failed"], "{report}");
    assert!(report.stopped_by().is_none());
}

#[test]
fn a_file_that_is_too_short_stops_the_push() {
    let merging = Merging::start(GCM);
    let client = client(&merging, |settings| settings.max_retries(1000));
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.write_all_at(b"some", 0).unwrap();
    let output = MapOutput::of_file(MERGE, 0, &file, &[1000, 1000]);
    let report = run(&merging, client.push(output, &[address(&merging)]));
    assert_eq!(labels(&report), ["failed", "failed"], "{report}");
    assert_eq!(report.stopped_by().unwrap().label(), "failed");
    merging.server.assert_serves();
}

#[test]
fn what_cannot_be_read_merged_is_named_by_its_map_indexes() {
    let merging = Merging::start(GCM);
    let (client, server) = (client(&merging, identity), address(&merging));
    for (map, body) in [(0, &[1; 20]), (3, &[2; 20]), (4, &[3; 20])] {
        assert_eq!(push_one(&merging, &client, map, 0, body).unwrap(), ReturnCode::Success);
    }
    let mut status = run(&merging, client.finalize_shuffle_merge(&server, MERGE)).unwrap().remove(0);
    // A driver that was told of one more.
    status.maps = [0, 3, 4, 8].into_iter().collect();
    let outcomes = run(&merging, async {
        let mut read = client.read_merged(&server, MERGE, &status).without(maps(&[3]));
        let (mut chunks, mut others) = (BTreeMap::new(), Vec::new());
        while let Some(outcome) = read.next().await {
            match outcome {
                MergedPart::Chunk(chunk) => {
                    chunks.insert(chunk.chunk, (chunk.maps, chunk.bytes));
                }
                MergedPart::FallBack(other) => others.push((other.chunk, other.maps, other.reason)),
            }
        }
        (chunks, others)
    });
    let (chunks, others) = outcomes;
    assert_eq!(chunks[&0], (maps(&[0]), Bytes::from_static(&[1; 20])));
    assert_eq!(chunks[&2], (maps(&[4]), Bytes::from_static(&[3; 20])));
    assert!(matches!(&others[0], (Some(1), found, FallBackReason::Stale) if *found == maps(&[3])));
    assert!(matches!(&others[1], (None, found, FallBackReason::InNoChunk) if *found == maps(&[8])));
    assert_eq!((chunks.len(), others.len()), (2, 2));
}

#[test]
fn a_partition_that_is_gone_is_fallen_back_on_whole() {
    let merging = Merging::start(GCM);
    let client = client(&merging, identity);
    let status = MergeStatus { reduce: ReduceId(7), size: 10, maps: [1, 2].into_iter().collect() };
    run(&merging, async {
        let mut read = client.read_merged(&address(&merging), MERGE, &status);
        match read.next().await {
            Some(MergedPart::FallBack(all)) => {
                assert_eq!((all.chunk, all.maps), (None, maps(&[1, 2])));
                assert!(matches!(all.reason, FallBackReason::Meta(_)));
            }
            other => panic!("{other:?}"),
        }
        assert!(read.next().await.is_none());
    });
}
