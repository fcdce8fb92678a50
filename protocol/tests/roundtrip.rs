//! What is written is read as it was; what is not a message costs no panic and little memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use sealed_shuffle_protocol::codec::{Decoder, Wire};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::{BodyPlace, Head};
use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockId, BlockPushReturnCode, BlockTransferMessage, BlocksRemoved, CorruptionCause,
    DiagnoseCorruption, DiagnoseShuffleChunkCorruption, ExecutorShuffleInfo, FetchShuffleBlockChunks,
    FetchShuffleBlocks, FinalizeShuffleMerge, GetLocalDirsForExecutors, Lists, LocalDirsForExecutors,
    MergeStatuses, OpenBlocks, OpenRequest, PushBlockStream, RegisterExecutor, RemoveBlocks,
    RemoveShuffleMerge, ReturnCode, StreamHandle, StreamName, Strings, UploadBlock, UploadBlockStream,
};
use support::vectors;

/// Bytes of memory that decoding may take for each byte of input: a bitmap container of one value is the
/// worst, 10 bytes on the wire. Some constant on top for what has a size whatever it holds.
const MEMORY_PER_BYTE: u64 = 8;
const MEMORY_BASE: u64 = 4096;

proptest! {
    #[test]
    fn block_transfer_messages_round_trip(message in message()) {
        let wire = message.encode().unwrap();
        prop_assert_eq!(BlockTransferMessage::decode(wire).unwrap(), message);
    }

    #[test]
    fn heads_and_bodies_round_trip((head, body) in head_and_body(), cuts in vec(1_usize..40, 0..8)) {
        let mut wire = BytesMut::new();
        head.encode(body.len() as u64, &mut wire).unwrap();
        wire.extend_from_slice(&body);
        let mut wire = wire.freeze();

        let mut decoder = FrameDecoder::new(1 << 20);
        for cut in cuts {
            decoder.feed(wire.split_to(cut.min(wire.len())));
        }
        decoder.feed(wire);
        let body_len = body.len() as u64;
        prop_assert_eq!(decoder.next().unwrap(), Some(FrameEvent::Head { head, body_len }));
        let mut read = BytesMut::new();
        while let Some(FrameEvent::Body(piece)) = decoder.next().unwrap() {
            read.extend_from_slice(&piece);
        }
        prop_assert_eq!(read, body);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn bitmaps_round_trip_with_what_follows(bitmap in bitmap(), behind in vec(any::<u8>(), 0..9)) {
        let mut wire = BytesMut::new();
        bitmap.encode(&mut wire).unwrap();
        wire.extend_from_slice(&behind);
        let mut from = Decoder::new(wire.freeze());
        prop_assert_eq!(from.read::<Bitmap>().unwrap(), bitmap);
        prop_assert_eq!(from.into_rest(), behind);
    }

    #[test]
    fn block_ids_that_parse_are_written_as_they_are_read(name in block_name()) {
        if let Ok(id) = name.parse::<BlockId>() {
            prop_assert_eq!(id.to_string().parse::<BlockId>().unwrap(), id);
        }
    }

    #[test]
    fn names_of_any_kind_are_read_without_a_panic(names in vec(block_name(), 0..4)) {
        if let Ok(names) = Strings::try_from_iter(&names) {
            black_box(OpenRequest::parse(&names)).ok();
        }
        names.iter().for_each(|name| { black_box(StreamName::parse(name)).ok(); });
    }

    #[test]
    fn random_bytes_are_read_within_bounds(bytes in vec(any::<u8>(), 0..600)) {
        decode_within_bounds(&bytes);
    }

    #[test]
    fn random_messages_of_every_type_are_read_within_bounds(kind in 0_u8..20, bytes in lengths_and_bytes()) {
        decode_within_bounds(&[&[kind][..], &bytes].concat());
    }

    #[test]
    fn random_frames_of_every_type_are_read_within_bounds(kind in 0_u8..14, bytes in lengths_and_bytes()) {
        let length = (9 + bytes.len() as u64).to_be_bytes();
        frames_within_bounds(&[&length[..], &[kind], &bytes].concat());
    }

    #[test]
    fn random_bitmaps_are_read_within_bounds(
        runs: bool,
        containers in 0_u8..12,
        bytes in vec(any::<u8>(), 0..600),
    ) {
        let head = if runs { [0x3b, 0x30, containers, 0] } else { [0x3a, 0x30, 0, 0] };
        let count: &[u8] = if runs { &[] } else { &[containers, 0, 0, 0] };
        bitmap_within_bounds(&[&head[..], count, &bytes].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One changed byte of a real message reaches deeper than random ones do.
    #[test]
    fn damaged_messages_are_read_within_bounds(at in any::<prop::sample::Index>(), byte: u8) {
        for vector in vectors("block_transfer.json").into_iter().filter(|vector| vector.spark == "4.3.0") {
            let mut wire = vector.hex("hex").to_vec();
            let at = at.index(wire.len());
            wire[at] = byte;
            decode_within_bounds(&wire);
        }
    }

    #[test]
    fn damaged_bitmaps_are_read_within_bounds(at in any::<prop::sample::Index>(), byte: u8) {
        for vector in vectors("bitmaps.json").into_iter().filter(|vector| vector.spark == "4.3.0") {
            let mut wire = vector.hex("hex").to_vec();
            let at = at.index(wire.len().min(64));
            wire[at] = byte;
            bitmap_within_bounds(&wire);
        }
    }
}

#[test]
fn hostile_counts_allocate_nothing() {
    let name = [0, 0, 0, 1, b'a'];
    for count in [0x7fff_ffff_u32, 0x1000_0000, 0x0001_0000, 0x8000_0000, 0xffff_ffff] {
        let count = count.to_be_bytes();
        let number = [0; 4];
        let messages: [&[&[u8]]; 7] = [
            &[&[0], &name, &name, &count],
            &[&[2], &name, &name, &count],
            &[&[9], &name, &name, &number, &count],
            &[&[9], &name, &name, &number, &number, &count],
            &[&[11], &number, &count],
            &[&[14], &number, &number, &count],
            &[&[15], &name, &name, &number, &number, &number, &count],
        ];
        for message in messages {
            let wire = Bytes::from([message.concat(), vec![0; 64]].concat());
            let memory = allocation_counter::measure(|| {
                assert!(BlockTransferMessage::decode(wire.clone()).is_err(), "{wire:?}");
            });
            assert!(memory.bytes_max < 256, "{} bytes for {wire:?}", memory.bytes_max);
        }
    }
}

#[test]
fn a_bitmap_of_many_containers_must_be_there_before_it_costs_memory() {
    for head in [&[0x3a, 0x30, 0, 0, 0, 0, 1, 0][..], &[0x3b, 0x30, 0xff, 0xff]] {
        let wire = Bytes::from([head, &[0; 64]].concat());
        let memory = allocation_counter::measure(|| {
            assert!(Decoder::new(wire.clone()).read::<Bitmap>().is_err());
        });
        assert!(memory.bytes_max < 256, "{} bytes", memory.bytes_max);
    }
}

#[test]
fn the_densest_lists_cost_a_small_multiple_of_their_message() {
    let empty_strings = vec![""; 20_000];
    let one_value_containers: Bitmap = (0..5000).map(|container| container << 16).collect();
    let messages: [BlockTransferMessage; 4] = [
        OpenBlocks {
            app: AppId::new("a"),
            executor: ExecutorId::new("1"),
            blocks: Strings::try_from_iter(&empty_strings).unwrap(),
        }
        .into(),
        FetchShuffleBlocks {
            app: AppId::new("a"),
            executor: ExecutorId::new("1"),
            shuffle: ShuffleId(0),
            maps: vec![MapId(0); 20_000],
            reduces: (0..20_000).map(|_| std::iter::empty()).collect(),
            batch: false,
        }
        .into(),
        merge_statuses(vec![one_value_containers]),
        merge_statuses(vec![Bitmap::default(); 5000]),
    ];
    for message in messages {
        let wire = message.encode().unwrap();
        let memory = decode_within_bounds(&wire);
        assert!(memory > 0, "the measuring itself works");
    }
}

#[test]
fn a_frame_announced_but_not_sent_costs_no_memory() {
    let wire = [&(60_u64 << 20).to_be_bytes()[..], &[6], &[0; 100]].concat();
    let memory = allocation_counter::measure(|| {
        let mut decoder = FrameDecoder::new(64 << 20);
        decoder.feed(Bytes::copy_from_slice(&wire));
        assert_eq!(decoder.next(), Ok(None));
    });
    assert!(memory.bytes_max < 1024, "{} bytes", memory.bytes_max);
}

fn decode_within_bounds(bytes: &[u8]) -> u64 {
    let wire = Bytes::copy_from_slice(bytes);
    within_bounds(bytes.len(), || {
        black_box(BlockTransferMessage::decode(wire.clone())).ok();
    })
}

fn bitmap_within_bounds(bytes: &[u8]) {
    let wire = Bytes::copy_from_slice(bytes);
    within_bounds(bytes.len(), || {
        black_box(Decoder::new(wire.clone()).read::<Bitmap>()).ok();
    });
}

fn frames_within_bounds(bytes: &[u8]) {
    let wire = Bytes::copy_from_slice(bytes);
    within_bounds(bytes.len(), || {
        let mut decoder = FrameDecoder::new(1 << 20);
        decoder.feed(wire.clone());
        while let Ok(Some(incoming)) = decoder.next() {
            black_box(incoming);
        }
    });
}

/// The most memory that was in use at once.
fn within_bounds(len: usize, decode: impl FnOnce()) -> u64 {
    let memory = allocation_counter::measure(decode);
    let bound = MEMORY_BASE + MEMORY_PER_BYTE * len as u64;
    assert!(memory.bytes_max <= bound, "{} bytes of memory for {len} bytes", memory.bytes_max);
    memory.bytes_max
}

fn merge_statuses(bitmaps: Vec<Bitmap>) -> BlockTransferMessage {
    MergeStatuses { shuffle: ShuffleId(0), merge: ShuffleMergeId(0), bitmaps, reduces: vec![], sizes: vec![] }
        .into()
}

/// Bytes in which small big-endian numbers, as lengths are, come often.
fn lengths_and_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0_i32..20).prop_map(|length| length.to_be_bytes().to_vec()),
        any::<i32>().prop_map(|number| number.to_be_bytes().to_vec()),
        vec(any::<u8>(), 0..12),
        "[a-z_0-9]{0,12}".prop_map(String::into_bytes),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn block_name() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec![
        "rdd_",
        "shuffle_",
        "shufflePush_",
        "shuffleMerged_",
        "shuffleChunk_",
        "broadcast_",
        "taskresult_",
        "input-",
        "python-stream-",
        "temp_local_",
        "test_log_",
        "python_worker_log_",
        "test_",
        "",
    ]);
    (kind, "([0-9]{1,19}[_-]){0,4}[0-9a-z_]{0,3}(\\.data|\\.index|\\.meta)?|.{0,20}")
        .prop_map(|(kind, rest)| format!("{kind}{rest}"))
}

fn app() -> impl Strategy<Value = AppId> {
    ".{0,12}".prop_map(AppId::new)
}

fn executor() -> impl Strategy<Value = ExecutorId> {
    ".{0,6}".prop_map(ExecutorId::new)
}

fn strings<const MOST: usize>() -> impl Strategy<Value = Strings<MOST>> {
    vec(".{0,20}", 0..8).prop_map(|items| Strings::try_from_iter(items).unwrap())
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn bitmap() -> impl Strategy<Value = Bitmap> {
    let piece = (any::<u32>(), 1_u32..6000, 1_u32..70);
    vec(piece, 0..5).prop_map(|pieces| {
        let ranges = pieces.into_iter();
        ranges
            .flat_map(|(start, count, step)| (0..count).map(move |n| start.wrapping_add(n * step)))
            .collect()
    })
}

fn nested<T>(make: impl Fn(i32) -> T) -> impl Strategy<Value = Lists<T>>
where
    T: std::fmt::Debug,
{
    vec(vec(any::<i32>(), 0..4), 0..5).prop_map(move |lists| {
        lists.into_iter().map(|list| list.into_iter().map(&make).collect::<Vec<_>>()).collect()
    })
}

fn message() -> impl Strategy<Value = BlockTransferMessage> {
    let merge =
        || (app(), any::<i32>(), any::<i32>().prop_map(ShuffleId), any::<i32>().prop_map(ShuffleMergeId));
    let fetch = || (app(), executor(), any::<i32>().prop_map(ShuffleId));
    prop_oneof![
        (app(), executor(), strings()).prop_map(|(app, executor, blocks)| OpenBlocks {
            app,
            executor,
            blocks
        }
        .into()),
        (app(), executor(), ".{0,20}", data(), data()).prop_map(|(app, executor, block, metadata, data)| {
            UploadBlock { app, executor, block, metadata, data }.into()
        }),
        (app(), executor(), strings(), any::<i32>(), ".{0,30}").prop_map(
            |(app, executor, local_dirs, sub_dirs_per_local_dir, shuffle_manager)| {
                let info = ExecutorShuffleInfo { local_dirs, sub_dirs_per_local_dir, shuffle_manager };
                RegisterExecutor { app, executor, info }.into()
            }
        ),
        any::<(i64, i32)>().prop_map(|(stream, num_chunks)| StreamHandle {
            stream: StreamId(stream),
            num_chunks
        }
        .into()),
        (".{0,20}", data()).prop_map(|(block, metadata)| UploadBlockStream { block, metadata }.into()),
        (app(), executor(), strings()).prop_map(|(app, executor, blocks)| RemoveBlocks {
            app,
            executor,
            blocks
        }
        .into()),
        any::<i32>().prop_map(|count| BlocksRemoved { count }.into()),
        (fetch(), vec(any::<i64>(), 0..6), nested(ReduceId), any::<bool>()).prop_map(
            |((app, executor, shuffle), maps, reduces, batch)| {
                let maps = maps.into_iter().map(MapId).collect();
                FetchShuffleBlocks { app, executor, shuffle, maps, reduces, batch }.into()
            }
        ),
        (app(), strings()).prop_map(|(app, executors)| GetLocalDirsForExecutors { app, executors }.into()),
        (strings(), vec(any::<i32>(), 0..6), strings()).prop_map(|(executors, dir_counts, dirs)| {
            LocalDirsForExecutors { executors, dir_counts, dirs }.into()
        }),
        (merge(), any::<(i32, i32, i32)>()).prop_map(
            |((app, app_attempt, shuffle, merge), (map_index, reduce, index))| {
                let reduce = ReduceId(reduce);
                PushBlockStream { app, app_attempt, shuffle, merge, map_index, reduce, index }.into()
            }
        ),
        merge().prop_map(|(app, app_attempt, shuffle, merge)| {
            FinalizeShuffleMerge { app, app_attempt, shuffle, merge }.into()
        }),
        (merge(), vec(bitmap(), 0..3), vec(any::<i32>(), 0..4), vec(any::<i64>(), 0..4)).prop_map(
            |((_, _, shuffle, merge), bitmaps, reduces, sizes)| {
                let reduces = reduces.into_iter().map(ReduceId).collect();
                MergeStatuses { shuffle, merge, bitmaps, reduces, sizes }.into()
            }
        ),
        (fetch(), any::<i32>(), vec(any::<i32>(), 0..6), nested(|chunk| chunk)).prop_map(
            |((app, executor, shuffle), merge, reduces, chunks)| {
                let (merge, reduces) = (ShuffleMergeId(merge), reduces.into_iter().map(ReduceId).collect());
                FetchShuffleBlockChunks { app, executor, shuffle, merge, reduces, chunks }.into()
            }
        ),
        (fetch(), any::<(i64, i32, i64)>(), ".{0,8}").prop_map(
            |((app, executor, shuffle), (map, reduce, checksum), algorithm)| {
                let (map, reduce) = (MapId(map), ReduceId(reduce));
                DiagnoseCorruption { app, executor, shuffle, map, reduce, checksum, algorithm }.into()
            }
        ),
        (merge(), any::<(i32, i32, i64)>(), ".{0,8}").prop_map(
            |((app, _, shuffle, merge), (reduce, chunk, checksum), algorithm)| {
                let reduce = ReduceId(reduce);
                DiagnoseShuffleChunkCorruption { app, shuffle, merge, reduce, chunk, checksum, algorithm }
                    .into()
            }
        ),
        prop::sample::select(CorruptionCause::ALL.to_vec()).prop_map(BlockTransferMessage::from),
        (prop::sample::select(ReturnCode::ALL.to_vec()), ".{0,20}")
            .prop_map(|(code, failure_block)| BlockPushReturnCode { code, failure_block }.into()),
        merge().prop_map(|(app, app_attempt, shuffle, merge)| {
            RemoveShuffleMerge { app, app_attempt, shuffle, merge }.into()
        }),
    ]
}

fn head_and_body() -> impl Strategy<Value = (Head, Bytes)> {
    let chunk = || (any::<i64>().prop_map(StreamId), any::<i32>().prop_map(ChunkIndex));
    let request = || any::<i64>().prop_map(RequestId);
    let head = prop_oneof![
        chunk().prop_map(|(stream, chunk)| Head::ChunkFetchRequest { stream, chunk }),
        chunk().prop_map(|(stream, chunk)| Head::ChunkFetchSuccess { stream, chunk }),
        (chunk(), ".{0,40}").prop_map(|((stream, chunk), error)| Head::ChunkFetchFailure {
            stream,
            chunk,
            error
        }),
        request().prop_map(|request| Head::RpcRequest { request }),
        request().prop_map(|request| Head::RpcResponse { request }),
        (request(), ".{0,40}").prop_map(|(request, error)| Head::RpcFailure { request, error }),
        ".{0,40}".prop_map(|stream| Head::StreamRequest { stream }),
        ".{0,40}".prop_map(|stream| Head::StreamResponse { stream }),
        (".{0,40}", ".{0,40}").prop_map(|(stream, error)| Head::StreamFailure { stream, error }),
        Just(Head::OneWayMessage),
        (request(), data()).prop_map(|(request, meta)| Head::UploadStream { request, meta }),
        (request(), app(), any::<(i32, i32, i32)>()).prop_map(|(request, app, (shuffle, merge, reduce))| {
            let (shuffle, merge, reduce) = (ShuffleId(shuffle), ShuffleMergeId(merge), ReduceId(reduce));
            Head::MergedBlockMetaRequest { request, app, shuffle, merge, reduce }
        }),
        (request(), any::<i32>())
            .prop_map(|(request, num_chunks)| Head::MergedBlockMetaSuccess { request, num_chunks }),
    ];
    (head, data()).prop_map(|(head, body)| match head.body_place() {
        BodyPlace::None => (head, Bytes::new()),
        BodyPlace::InFrame | BodyPlace::Behind => (head, body),
    })
}
