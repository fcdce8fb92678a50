//! The paths that are guarded.

use std::fs;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle::internals::disk::{BlockStore, DiskLimits, Proof, Roots};
use sealed_shuffle_protocol::cipher::{CtrLayer, GcmLayer, Layer, NullLayer, Role};
use sealed_shuffle_protocol::crypto::random::{Random, RandomError};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, ExecutorId, StreamId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::Region;
use sealed_shuffle_transport::seal::{Body, Budget, Outbound, Outbox, SegmentPool, Stack};
use tempfile::TempDir;

/// Bytes of a segment: the server's default.
const SEGMENT: usize = 256 << 10;

/// Requests in the stream that is decoded.
const REQUESTS: i32 = 1000;
/// Bytes that a socket gives at once.
const READ: usize = 16 << 10;

/// Small blocks that are answered at once, and bytes of each.
const BLOCKS: i32 = 64;
const BLOCK: u64 = 2 << 10;

const STREAM: StreamId = StreamId(0x1234_5678_9abc_def0);

/// One path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// A segment of 256 KiB from a file through the outbox, and no cipher: what is ours.
    SealNull,
    /// The same with AES-256-CTR.
    SealCtr,
    /// The same with AES-128-GCM.
    SealGcm,
    /// Heads for 64 blocks of 2 KiB, and the blocks from a file through the outbox.
    SmallBlocks,
    /// 1,000 chunk requests found in the stream.
    DecodeFrames,
}

impl Case {
    pub(crate) const ALL: [Self; 5] =
        [Self::SealNull, Self::SealCtr, Self::SealGcm, Self::SmallBlocks, Self::DecodeFrames];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SealNull => "seal-null",
            Self::SealCtr => "seal-ctr",
            Self::SealGcm => "seal-gcm",
            Self::SmallBlocks => "small-blocks",
            Self::DecodeFrames => "decode-frames",
        }
    }

    /// Whether its count depends on what the processor can do.
    pub(crate) fn has_cipher(self) -> bool {
        matches!(self, Self::SealCtr | Self::SealGcm)
    }

    /// The work, with all that it needs at hand.
    pub(crate) fn ready(self) -> Box<dyn FnMut()> {
        let iv = [2; 16];
        match self {
            Self::SealNull => seal(Box::new(NullLayer)),
            Self::SealCtr => seal(Box::new(CtrLayer::aes_256(&Secret::new([1; 32]), &iv, &iv))),
            Self::SealGcm => {
                seal(Box::new(GcmLayer::aes_128(Secret::new([1; 16]), Role::Server, Box::new(Counting(0)))))
            }
            Self::SmallBlocks => small_blocks(),
            Self::DecodeFrames => decode_frames(),
        }
    }
}

/// What the processor can do of that which ciphers and libc choose their code by.
pub(crate) fn abilities() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("aes", is_x86_feature_detected!("aes")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("erms", is_x86_feature_detected!("ermsb")),
            ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
            ("vaes", is_x86_feature_detected!("vaes")),
        ];
        found.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    String::new()
}

fn seal(layer: Box<dyn Layer>) -> Box<dyn FnMut()> {
    let file = File::of(SEGMENT);
    let mut way = Way::out_of(layer);
    // A whole segment, and no second one for the rest.
    let len = way.stack.plain_capacity(SEGMENT) as u64;
    Box::new(move || {
        way.outbox.push(Outbound::Region(Body::new(file.region(0, len))));
        way.drain();
    })
}

fn small_blocks() -> Box<dyn FnMut()> {
    let file = File::of(SEGMENT);
    let mut way = Way::out_of(Box::new(NullLayer));
    Box::new(move || {
        for (chunk, offset) in (0..BLOCKS).zip((0..).step_by(BLOCK as usize)) {
            let mut head = BytesMut::new();
            Head::ChunkFetchSuccess { stream: STREAM, chunk: ChunkIndex(chunk) }
                .encode(BLOCK, &mut head)
                .unwrap();
            way.outbox.push(Outbound::Bytes(head.freeze()));
            way.outbox.push(Outbound::Region(Body::new(file.region(offset, BLOCK))));
        }
        way.drain();
    })
}

fn decode_frames() -> Box<dyn FnMut()> {
    let mut stream = BytesMut::new();
    for chunk in (0..REQUESTS).map(ChunkIndex) {
        Head::ChunkFetchRequest { stream: STREAM, chunk }.encode(0, &mut stream).unwrap();
    }
    let pieces: Vec<Bytes> = stream.chunks(READ).map(Bytes::copy_from_slice).collect();
    Box::new(move || {
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut requests = 0;
        for piece in &pieces {
            decoder.feed(piece.clone());
            while let Some(incoming) = decoder.next().unwrap() {
                requests += i32::from(matches!(black_box(incoming), FrameEvent::End));
            }
        }
        assert_eq!(requests, REQUESTS);
    })
}

/// The way out of a server, with a socket that takes everything.
struct Way {
    outbox: Outbox,
    stack: Stack,
}

impl Way {
    fn out_of(layer: Box<dyn Layer>) -> Self {
        // As the server's, whose segments are measured.
        let pool = SegmentPool::new(Budget::new(16 << 20), SEGMENT, 2).with_phases(Arc::default());
        let mut stack = Stack::default();
        stack.push(layer);
        Self { outbox: Outbox::new(pool, Lane::new(1)), stack }
    }

    fn drain(&mut self) {
        while !self.outbox.is_empty() {
            at_once(self.outbox.prepare(&mut self.stack)).unwrap();
            let sealed = black_box(self.outbox.unwritten()).len();
            self.outbox.wrote(sealed);
        }
    }
}

/// What waits for nothing: the page cache has the file, and the budget has room.
fn at_once<F: Future>(work: F) -> F::Output {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for a disk or for memory"),
    }
}

/// A file that regions can be taken from, all of it in the page cache.
struct File {
    whole: Region,
    _dir: TempDir,
}

impl File {
    fn of(len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (app, executor, name) = (AppId::new("app-guard"), ExecutorId::new("1"), layout::rdd_name(1, 2));
        let sub_dir = root.join(Placement::of(&name, 1, 64).unwrap().sub_dir());
        fs::create_dir_all(&sub_dir).unwrap();
        fs::write(sub_dir.join(name), vec![7; len]).unwrap();
        let store = BlockStore::new(Roots::open([&root]).unwrap(), DiskLimits::default());
        store
            .register(&OnLane::here(), &app, &executor, &[root.to_str().unwrap()], 64, "sort", Proof::Proven)
            .unwrap();
        let whole = store.rdd_block(&OnLane::here(), &app, &executor, 1, 2).unwrap().unwrap();
        Self { whole, _dir: dir }
    }

    fn region(&self, offset: u64, len: u64) -> Region {
        Region::new(Arc::clone(self.whole.file().unwrap()), offset, len)
    }
}

/// The same bytes in every run: a count must not depend on luck.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for byte in out {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}
