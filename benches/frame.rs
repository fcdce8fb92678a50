//! What the wire formats cost: finding messages in a stream, and reading and writing them.
//!
//! `cargo bench --bench frame`. Every read stream is decoded as it would come from a socket, in pieces of 16 KiB
//! (requests) or 256 KiB (answers). 80 chunk requests are what one fetch of a reducer asks for at once;
//! 1,000 blocks are a usual fetch, 100,000 a large one.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, StreamId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, FetchShuffleBlocks};

const CHUNKS: i32 = 80;
const STREAM: StreamId = StreamId(0x1234_5678_9abc_def0);

fn decode_stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode-stream");
    for (name, piece, stream) in [
        ("chunk-requests", 16 << 10, chunk_requests()),
        ("fetch-request-1000", 16 << 10, rpc(&fetch(1000).encode().expect("it fits a message"))),
        ("chunk-answers-2KiB", 256 << 10, chunk_answers(2 << 10)),
        ("chunk-answers-128KiB", 256 << 10, chunk_answers(128 << 10)),
    ] {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let pieces = cut(&stream, piece);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let mut decoder = FrameDecoder::new(1 << 20);
                let mut messages = 0;
                for piece in &pieces {
                    decoder.feed(piece.clone());
                    while let Some(incoming) = decoder.next().expect("whole messages") {
                        messages += usize::from(matches!(black_box(incoming), FrameEvent::End));
                    }
                }
                messages
            });
        });
    }
    group.finish();
}

fn fetch_shuffle_blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch-shuffle-blocks");
    for blocks in [1_000, 100_000] {
        let message = fetch(blocks);
        let encoded = message.encode().expect("it fits a message");
        group.throughput(Throughput::Elements(blocks));
        group.bench_function(BenchmarkId::new("encode", blocks), |bencher| {
            bencher.iter(|| black_box(&message).encode().expect("it fits a message"));
        });
        group.bench_function(BenchmarkId::new("decode", blocks), |bencher| {
            bencher
                .iter(|| BlockTransferMessage::decode(black_box(&encoded).clone()).expect("encoded above"));
        });
        let BlockTransferMessage::FetchShuffleBlocks(fetch) = message else { continue };
        group.bench_function(BenchmarkId::new("look-up-chunks", blocks), |bencher| {
            bencher
                .iter(|| (0..fetch.chunk_count()).filter_map(|index| black_box(&fetch).chunk(index)).count());
        });
    }
    group.finish();
}

fn encode_heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode-head");
    let chunk = ChunkIndex(7);
    for head in [
        Head::ChunkFetchRequest { stream: STREAM, chunk },
        Head::ChunkFetchSuccess { stream: STREAM, chunk },
        Head::ChunkFetchFailure { stream: STREAM, chunk, error: "java.io.IOException: gone".to_owned() },
        Head::StreamResponse { stream: format!("{}_{chunk}", STREAM.0) },
    ] {
        let body_len = match &head {
            Head::ChunkFetchSuccess { .. } | Head::StreamResponse { .. } => 128 << 10,
            _ => 0,
        };
        group.bench_function(BenchmarkId::from_parameter(head.kind().name()), |bencher| {
            bencher.iter(|| {
                let mut out = BytesMut::with_capacity(64);
                black_box(&head).encode(body_len, &mut out).expect("it fits a frame");
                out.freeze()
            });
        });
    }
    group.finish();
}

/// One partition of each of 1,000 maps, and so on: what reducers ask for.
fn fetch(blocks: u64) -> BlockTransferMessage {
    let maps: Vec<MapId> = (0..i64::try_from(blocks.min(1_000)).expect("a thousand")).map(MapId).collect();
    let partitions = i32::try_from(blocks / maps.len() as u64).expect("a hundred");
    FetchShuffleBlocks {
        app: AppId::new("app-20260101000000-0001"),
        executor: ExecutorId::new("1"),
        shuffle: ShuffleId(3),
        reduces: maps.iter().map(|_| (0..partitions).map(ReduceId)).collect(),
        maps,
        batch: false,
    }
    .into()
}

fn chunk_requests() -> Bytes {
    stream_of((0..CHUNKS).map(|chunk| {
        let head = Head::ChunkFetchRequest { stream: STREAM, chunk: ChunkIndex(chunk) };
        (head, Bytes::new())
    }))
}

fn chunk_answers(size: usize) -> Bytes {
    let body = Bytes::from(vec![7; size]);
    stream_of((0..CHUNKS).map(|chunk| {
        let head = Head::ChunkFetchSuccess { stream: STREAM, chunk: ChunkIndex(chunk) };
        (head, body.clone())
    }))
}

fn rpc(body: &Bytes) -> Bytes {
    stream_of([(Head::RpcRequest { request: RequestId(1) }, body.clone())])
}

fn stream_of(messages: impl IntoIterator<Item = (Head, Bytes)>) -> Bytes {
    let mut out = BytesMut::new();
    for (head, body) in messages {
        head.encode(body.len() as u64, &mut out).expect("it fits a frame");
        out.extend_from_slice(&body);
    }
    out.freeze()
}

fn cut(stream: &Bytes, piece: usize) -> Vec<Bytes> {
    (0..stream.len()).step_by(piece).map(|at| stream.slice(at..stream.len().min(at + piece))).collect()
}

criterion_group!(benches, decode_stream, fetch_shuffle_blocks, encode_heads);
criterion_main!(benches);
