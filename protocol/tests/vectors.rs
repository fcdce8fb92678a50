//! Everything that Spark's own classes wrote is read as what it is, and written byte for byte as they did.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::codec::{Decoder, Wire, put_str};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameError, FrameEvent};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId, StreamId};
use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockId, BlockIdError, BlockPushReturnCode, BlockTransferMessage, BlocksRemoved, CorruptionCause,
    DiagnoseCorruption, ExecutorShuffleInfo, FetchShuffleBlockChunks, FetchShuffleBlocks,
    FinalizeShuffleMerge, GetLocalDirsForExecutors, Lists, LocalDirsForExecutors, MergeStatuses, OpenBlocks,
    OpenRequest, PushBlockStream, RegisterExecutor, RemoveBlocks, RemoveShuffleMerge, ReturnCode,
    SHUFFLE_PUSH_MERGER, StreamHandle, StreamName, Strings, UploadBlock, UploadBlockStream,
};
use support::{expected_head, from_hex, vectors};

#[test]
fn transport_messages() {
    for vector in vectors("transport.json") {
        let (wire, body) = (vector.hex("hex"), vector.hex("body"));
        let mut decoder = FrameDecoder::new(1024);
        decoder.feed(wire.clone());
        let head = expected_head(&vector.name);
        let body_len = body.len() as u64;
        let found = decoder.next().unwrap();
        assert_eq!(found, Some(FrameEvent::Head { head: head.clone(), body_len }), "{}", vector.place);
        if !body.is_empty() {
            assert_eq!(decoder.next().unwrap(), Some(FrameEvent::Body(body.clone())), "{}", vector.place);
        }
        assert_eq!(decoder.next().unwrap(), Some(FrameEvent::End), "{}", vector.place);
        assert!(decoder.is_idle(), "{}", vector.place);

        let mut written = BytesMut::new();
        head.encode(body_len, &mut written).unwrap();
        written.extend_from_slice(&body);
        assert_eq!(written, wire, "{}", vector.place);
    }
}

#[test]
fn odd_frames() {
    for vector in vectors("frames.json") {
        let mut decoder = FrameDecoder::new(1024);
        decoder.feed(vector.hex("hex"));
        let found = match decoder.next() {
            Ok(Some(_)) => "message",
            Ok(None) => "waiting",
            Err(_) => "rejected",
        };
        assert_eq!(found, vector.text("result"), "{}", vector.place);
    }
}

/// The one place where we are stricter: Spark drops these 8 bytes without a word (`TransportFrameDecoder`).
#[test]
fn rejects_the_frame_length_that_spark_drops() {
    let mut decoder = FrameDecoder::new(1024);
    decoder.feed(from_hex("0000000000000007"));
    assert_eq!(decoder.next(), Err(FrameError::MarkerLength));
}

#[test]
fn encoders() {
    for vector in vectors("encoders.json") {
        let wire = vector.hex("hex");
        match vector.name.as_str() {
            "string" | "string_empty" => {
                let mut written = BytesMut::new();
                put_str(&mut written, vector.text("fields")).unwrap();
                assert_eq!(written, wire, "{}", vector.place);
                let read = Decoder::new(wire).text("a text", 255);
                assert_eq!(read.as_deref(), Ok(vector.text("fields")), "{}", vector.place);
            }
            "bytes" => both_ways(from_hex(vector.text("fields")), &wire, &vector.place),
            "strings" => both_ways(strings::<255>(["a", "bc"]), &wire, &vector.place),
            "strings_empty" => both_ways(strings::<255>([]), &wire, &vector.place),
            "ints" => both_ways(vec![1, -2], &wire, &vector.place),
            "longs" => both_ways(vec![1_i64, -2], &wire, &vector.place),
            "bitmaps" => {
                both_ways(vec![[1, 5, 9].into_iter().collect(), Bitmap::default()], &wire, &vector.place);
            }
            _ => panic!("no expectation for {}", vector.place),
        }
    }
}

#[test]
fn bitmaps() {
    for vector in vectors("bitmaps.json") {
        let mut numbers = BTreeSet::new();
        for range in vector.text("fields").split_whitespace() {
            let parts: Vec<u64> = range.split(',').map(|part| part.parse().unwrap()).collect();
            let step = usize::try_from(parts[2]).unwrap();
            numbers.extend((parts[0]..parts[1]).step_by(step).map(|number| u32::try_from(number).unwrap()));
        }
        let bitmap: Bitmap = numbers.iter().copied().collect();
        both_ways(bitmap, &vector.hex("hex"), &vector.place);
    }
}

#[test]
fn block_transfer_messages() {
    let mut kinds = BTreeSet::new();
    for vector in vectors("block_transfer.json") {
        let wire = vector.hex("hex");
        let expected = expected_message(&vector.name);
        assert_eq!(BlockTransferMessage::decode(wire.clone()), Ok(expected.clone()), "{}", vector.place);
        assert_eq!(expected.encode().unwrap(), wire, "{}", vector.place);
        assert_eq!(expected.name(), vector.text("class"), "{}", vector.place);

        let surplus = Bytes::from([&wire[..], &[0xaa, 0xbb]].concat());
        assert_eq!(BlockTransferMessage::decode(surplus), Ok(expected), "surplus of {}", vector.place);
        for len in 0..wire.len() {
            assert!(BlockTransferMessage::decode(wire.slice(..len)).is_err(), "{len} of {}", vector.place);
        }
        kinds.insert(wire[0]);
    }
    assert_eq!(kinds.len(), 18, "a vector for every message that Spark 4 knows: {kinds:?}");
}

#[test]
fn block_ids() {
    // The forms that a release does not know yet, it takes for a test block or refuses.
    for vector in vectors("block_ids.json").into_iter().filter(|vector| vector.spark == "4.3.0") {
        let parsed = vector.name.parse::<BlockId>();
        match (vector.optional("result"), vector.optional("error")) {
            (Some(name), None) => {
                let id = parsed.unwrap_or_else(|error| panic!("{}: {error}", vector.place));
                assert_eq!(id.to_string(), name, "{}", vector.place);
                assert_eq!(spark_class(&id), vector.text("kind"), "{}", vector.place);
            }
            (None, Some("NumberFormatException")) => {
                assert!(matches!(parsed, Err(BlockIdError::NumberTooLarge(_))), "{}", vector.place);
            }
            _ => assert!(matches!(parsed, Err(BlockIdError::Unrecognized(_))), "{}", vector.place),
        }
    }
}

#[test]
fn names_in_open_blocks() {
    for vector in vectors("open_blocks.json") {
        let count: usize = vector.text("count").parse().unwrap();
        let names: Vec<&str> = vector.name.split(',').take(count).collect();
        assert_eq!(names.len(), count, "{}", vector.place);
        let found = OpenRequest::parse(&strings(names));
        match vector.optional("error") {
            Some(error) => assert_eq!(found.unwrap_err().spark_text(), error, "{}", vector.place),
            None => assert_eq!(found.map(|request| request.len()), Ok(count), "{}", vector.place),
        }
    }
}

#[test]
fn stream_names() {
    for vector in vectors("stream_names.json") {
        let found = StreamName::parse(&vector.name);
        match vector.optional("error") {
            Some(error) => assert_eq!(found.unwrap_err().spark_text(), error, "{}", vector.place),
            None => {
                let name = found.unwrap();
                assert_eq!(
                    format!("{},{}", name.stream, name.chunk),
                    vector.text("result"),
                    "{}",
                    vector.place
                );
            }
        }
    }
}

fn both_ways<T: Wire + PartialEq + std::fmt::Debug>(value: T, wire: &Bytes, place: &str) {
    let mut written = BytesMut::new();
    value.encode(&mut written).unwrap();
    assert_eq!(written, wire, "{place}");
    let mut from = Decoder::new(wire.clone());
    assert_eq!(from.read(), Ok(value), "{place}");
    assert_eq!(from.remaining(), 0, "{place}");
}

fn strings<'a, const MOST: usize>(items: impl IntoIterator<Item = &'a str>) -> Strings<MOST> {
    Strings::try_from_iter(items).unwrap()
}

fn spark_class(id: &BlockId) -> &'static str {
    match id {
        BlockId::Rdd { .. } => "RDDBlockId",
        BlockId::Shuffle { .. } => "ShuffleBlockId",
        BlockId::ShuffleBatch { .. } => "ShuffleBlockBatchId",
        BlockId::ShuffleData { .. } => "ShuffleDataBlockId",
        BlockId::ShuffleIndex { .. } => "ShuffleIndexBlockId",
        BlockId::ShufflePush { .. } => "ShufflePushBlockId",
        BlockId::ShuffleMerged { .. } => "ShuffleMergedBlockId",
        BlockId::ShuffleMergedData { .. } => "ShuffleMergedDataBlockId",
        BlockId::ShuffleMergedIndex { .. } => "ShuffleMergedIndexBlockId",
        BlockId::ShuffleMergedMeta { .. } => "ShuffleMergedMetaBlockId",
        BlockId::ShuffleChunk { .. } => "ShuffleBlockChunkId",
        BlockId::Broadcast { .. } => "BroadcastBlockId",
        BlockId::TaskResult { .. } => "TaskResultBlockId",
        BlockId::Input { .. } => "StreamBlockId",
        BlockId::PythonStream { .. } => "PythonStreamBlockId",
        BlockId::TempLocal { .. } => "TempLocalBlockId",
        BlockId::TempShuffle { .. } => "TempShuffleBlockId",
        BlockId::TestLog { .. } => "TestLogBlockId",
        BlockId::PythonWorkerLog { .. } => "PythonWorkerLogBlockId",
        BlockId::Test { .. } => "TestBlockId",
        other => panic!("no class for {other:?}"),
    }
}

fn expected_message(name: &str) -> BlockTransferMessage {
    let app = AppId::new("app-1");
    let executor = ExecutorId::new("2");
    let (shuffle, merge) = (ShuffleId(5), ShuffleMergeId(2));
    let block = || "rdd_1_2".to_owned();
    let metadata = Bytes::from_static(&[1, 2, 3]);
    match name {
        "open_blocks" => {
            OpenBlocks { app, executor, blocks: strings(["shuffle_0_1_2", "shuffle_0_3_4"]) }.into()
        }
        "open_blocks_empty" => {
            OpenBlocks { app: AppId::new(""), executor: ExecutorId::new(""), blocks: strings([]) }.into()
        }
        "open_blocks_utf8" => OpenBlocks {
            app: AppId::new("ap\u{fc}"),
            executor: ExecutorId::new("driver"),
            blocks: strings(["rdd_7_12"]),
        }
        .into(),
        "upload_block" => {
            let data = Bytes::from_static(&[0xca, 0xfe]);
            UploadBlock { app, executor, block: block(), metadata, data }.into()
        }
        "register_executor" => {
            let info = ExecutorShuffleInfo {
                local_dirs: strings(["/a/blockmgr-1", "/b/blockmgr-2"]),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".into(),
            };
            RegisterExecutor { app, executor, info }.into()
        }
        "stream_handle" => StreamHandle { stream: StreamId(0x0123_4567_89ab_cdef), num_chunks: 3 }.into(),
        "upload_block_stream" => UploadBlockStream { block: block(), metadata }.into(),
        "remove_blocks" => RemoveBlocks { app, executor, blocks: strings(["rdd_1_2"]) }.into(),
        "blocks_removed" => BlocksRemoved { count: 1 }.into(),
        "fetch_shuffle_blocks" => FetchShuffleBlocks {
            app,
            executor,
            shuffle: ShuffleId(0),
            maps: vec![MapId(1), MapId(4_294_967_298)],
            reduces: reduces([vec![0, 1], vec![2]]),
            batch: false,
        }
        .into(),
        "fetch_shuffle_blocks_batch" => FetchShuffleBlocks {
            app,
            executor,
            shuffle: ShuffleId(0),
            maps: vec![MapId(1), MapId(2)],
            reduces: reduces([vec![0, 3], vec![2, 4]]),
            batch: true,
        }
        .into(),
        "get_local_dirs" => {
            GetLocalDirsForExecutors { app, executors: strings(["2", SHUFFLE_PUSH_MERGER]) }.into()
        }
        "local_dirs" => {
            let third = ExecutorId::new("3");
            LocalDirsForExecutors::new([(&executor, vec!["/a", "/b"]), (&third, vec!["/c"])]).unwrap().into()
        }
        "push_block_stream" => PushBlockStream {
            app: AppId::new("application_1_2"),
            app_attempt: 1,
            shuffle,
            merge,
            map_index: 7,
            reduce: ReduceId(9),
            index: 3,
        }
        .into(),
        "push_block_stream_no_attempt" => PushBlockStream {
            app,
            app_attempt: -1,
            shuffle,
            merge: ShuffleMergeId(0),
            map_index: 7,
            reduce: ReduceId(9),
            index: 0,
        }
        .into(),
        "finalize_shuffle_merge" => FinalizeShuffleMerge { app, app_attempt: 1, shuffle, merge }.into(),
        "merge_statuses" => MergeStatuses {
            shuffle,
            merge,
            bitmaps: vec![(1..=8).collect(), [0, 2, 70_000].into_iter().collect()],
            reduces: vec![ReduceId(9), ReduceId(10)],
            sizes: vec![100, 1 << 32],
        }
        .into(),
        "merge_statuses_empty" => {
            MergeStatuses { shuffle, merge, bitmaps: vec![], reduces: vec![], sizes: vec![] }.into()
        }
        "fetch_shuffle_block_chunks" => FetchShuffleBlockChunks {
            app,
            executor: ExecutorId::new(SHUFFLE_PUSH_MERGER),
            shuffle,
            merge,
            reduces: vec![ReduceId(9), ReduceId(10)],
            chunks: [vec![0, 1], vec![0]].into_iter().collect(),
        }
        .into(),
        "diagnose_corruption" => DiagnoseCorruption {
            app,
            executor,
            shuffle,
            map: MapId(7),
            reduce: ReduceId(9),
            checksum: 0x1122_3344,
            algorithm: "ADLER32".into(),
        }
        .into(),
        "remove_shuffle_merge" => RemoveShuffleMerge { app, app_attempt: 1, shuffle, merge }.into(),
        "remove_shuffle_merge_current" => {
            RemoveShuffleMerge { app, app_attempt: -1, shuffle, merge: ShuffleMergeId(-1) }.into()
        }
        other => numbered_message(other),
    }
}

fn numbered_message(name: &str) -> BlockTransferMessage {
    let (kind, number) = name.rsplit_once('_').unwrap();
    let number: usize = number.parse().unwrap();
    match kind {
        "corruption_cause" => CorruptionCause::ALL[number].into(),
        "block_push_return_code" => {
            let failure_block = if number == 0 { "" } else { "shufflePush_5_2_7_9" }.to_owned();
            BlockPushReturnCode { code: ReturnCode::ALL[number], failure_block }.into()
        }
        _ => panic!("no expectation for {name}"),
    }
}

fn reduces<const N: usize>(lists: [Vec<i32>; N]) -> Lists<ReduceId> {
    lists.into_iter().map(|list| list.into_iter().map(ReduceId)).collect()
}
