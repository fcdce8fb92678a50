use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use sealed_shuffle_protocol::auth::{
    AesSession, EngineVersion, FirstBytes, Initiator, Responder, SessionKeys,
};
use sealed_shuffle_protocol::cipher::{CtrLayer, GcmLayer, Role, SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::{AppSecret, Secret};
use tempfile::TempDir;

use super::*;
use crate::random::OsRandom;
use crate::seal::Budget;

const SEGMENT: usize = 4096;

/// A file that regions can be taken from.
struct File {
    path: PathBuf,
    content: Vec<u8>,
    _temp: TempDir,
}

impl File {
    fn of(len: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..len).map(|i| ((7 * i + i / 256) % 256) as u8).collect();
        let path = temp.path().join("rdd_1_2");
        fs::write(&path, &content).unwrap();
        Self { path, content, _temp: temp }
    }

    fn region(&self, offset: u64, len: u64) -> Region {
        Region::new(Arc::new(OpenFile::open(&self.path)), offset, len)
    }
}

fn app() -> AppId {
    AppId::new("app-1")
}

fn pool(segment: usize) -> SegmentPool {
    SegmentPool::new(Budget::new(1 << 20), segment, 2)
}

fn keys() -> (SessionKeys, SessionKeys) {
    let secret = Arc::new(AppSecret::new("a shared secret".to_owned()));
    let (initiator, challenge) = Initiator::start(app(), Arc::clone(&secret), &mut OsRandom).unwrap();
    let (answer, server) = Responder::respond(&challenge, &secret, &mut OsRandom).unwrap();
    (initiator.finish(&answer).unwrap(), server)
}

const MODES: [SessionMode; 4] = [
    SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr },
    SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Ctr },
    SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Gcm },
    SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm },
];

/// The sealing and the opening end of a layer. The sealing one is a client: it knows its cipher at once.
fn ends(mode: SessionMode) -> (Box<dyn Layer>, Box<dyn Layer>) {
    let (client, server) = keys();
    (
        Box::new(AesSession::client(client, mode, Box::new(OsRandom))),
        Box::new(AesSession::server(server, FirstBytes::Frame, Box::new(OsRandom))),
    )
}

/// An RPC of so many bytes, by which a server can recognize the cipher.
fn frame(len: usize) -> Bytes {
    let mut out = BytesMut::new();
    let head = sealed_shuffle_protocol::message::Head::RpcRequest {
        request: sealed_shuffle_protocol::ids::RequestId(1),
    };
    head.encode(len as u64, &mut out).unwrap();
    out.resize(out.len() + len, 0x33);
    out.freeze()
}

/// The whole output of the outbox, and the number of its segments.
async fn say(outbox: &mut Outbox, stack: &mut Stack) -> Result<(Vec<u8>, usize), OutboxError> {
    let (mut said, mut segments) = (Vec::new(), 0);
    loop {
        outbox.prepare(stack).await?;
        if outbox.unwritten().is_empty() {
            assert!(outbox.is_empty(), "nothing to write, and yet not empty");
            return Ok((said, segments));
        }
        segments += 1;
        while !outbox.unwritten().is_empty() {
            let n = outbox.unwritten().len().min(1000);
            said.extend_from_slice(&outbox.unwritten()[..n]);
            outbox.wrote(n);
        }
    }
}

fn open(stack: &mut Stack, sealed: &[u8], piece: usize) -> Vec<u8> {
    let (mut input, mut plain) = (BytesMut::new(), Vec::new());
    for piece in sealed.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(opened) = stack.open(&mut input).unwrap() {
            plain.extend_from_slice(&opened);
        }
    }
    assert!(input.is_empty());
    plain
}

fn bytes(text: &'static [u8]) -> Outbound {
    Outbound::Bytes(Bytes::from_static(text))
}

#[tokio::test]
async fn region_larger_than_a_segment_takes_as_many_as_it_needs() {
    let file = File::of(10 * SEGMENT + 17);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    outbox.push(bytes(b"head"));
    outbox.push(Outbound::Region(Body::new(file.region(0, file.content.len() as u64))));
    outbox.push(bytes(b"next"));
    let (said, segments) = say(&mut outbox, &mut Stack::default()).await.unwrap();
    assert_eq!(said, [b"head", &file.content[..], b"next"].concat());
    assert_eq!(segments, 11);
}

#[tokio::test]
async fn small_answers_share_a_segment() {
    let file = File::of(1000);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    let mut expected = Vec::new();
    for n in 0..20 {
        outbox.push(bytes(b"head"));
        outbox.push(Outbound::Region(Body::new(file.region(n * 7, 13))));
        expected.extend_from_slice(b"head");
        expected.extend_from_slice(&file.content[n as usize * 7..][..13]);
    }
    assert_eq!(outbox.queued_bytes(), 80);
    let (said, segments) = say(&mut outbox, &mut Stack::default()).await.unwrap();
    assert_eq!((said, segments), (expected, 1));
    assert_eq!(outbox.queued_bytes(), 0);
}

#[tokio::test]
async fn boundary_begins_a_message_of_its_own() {
    let mode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm };
    let (ours, theirs) = twins(mode);
    let (mut stack, mut peer) = (Stack::default(), Stack::default());
    stack.push(ours);
    peer.push(theirs);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    let parts = [Outbound::Boundary, bytes(b"head"), Outbound::Boundary, bytes(b"body"), Outbound::Boundary];
    parts.into_iter().for_each(|part| outbox.push(part));
    let (sealed, segments) = say(&mut outbox, &mut stack).await.unwrap();
    assert_eq!(segments, 2);
    // The first message ends with its own length.
    let first = u64::from_be_bytes(*sealed.first_chunk().unwrap());
    assert_eq!(first, 8 + 24 + 4 + 16);
    assert_eq!(open(&mut peer, &sealed, 7), b"headbody");
}

#[tokio::test]
async fn layers_change_at_the_exact_byte() {
    for mode in MODES {
        let (sealing, opening) = ends(mode);
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        outbox.push(bytes(b"in clear"));
        outbox.push(Outbound::Layer(sealing));
        outbox.push(Outbound::Bytes(frame(10_000)));
        assert!(outbox.is_changing_layers());
        let (said, _) = say(&mut outbox, &mut Stack::default()).await.unwrap();
        assert!(!outbox.is_changing_layers());
        let sealed = said.strip_prefix(b"in clear").unwrap();
        assert_ne!(sealed, &frame(10_000)[..]);
        let mut stack = Stack::default();
        stack.push(opening);
        assert_eq!(open(&mut stack, sealed, 1), frame(10_000), "{mode}");
        assert_eq!(stack.mode(), Some(mode));
    }
}

#[tokio::test]
async fn two_layers_open_to_the_same_bytes() {
    let file = File::of(100_000);
    for inner in MODES {
        // The outer layer's first plaintext is ciphertext: a server cannot recognise its cipher by it.
        for outer in MODES {
            let (inner_seals, inner_opens) = ends(inner);
            let (outer_seals, outer_opens) = twins(outer);
            let (mut sealing, mut opening) = (Stack::default(), Stack::default());
            sealing.push(inner_seals);
            sealing.push(outer_seals);
            opening.push(inner_opens);
            opening.push(outer_opens);
            let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
            outbox.push(Outbound::Bytes(frame(5)));
            outbox.push(Outbound::Region(Body::new(file.region(0, 100_000))));
            let (said, _) = say(&mut outbox, &mut sealing).await.unwrap();
            let expected = [&frame(5)[..], &file.content].concat();
            assert!(open(&mut opening, &said, 999) == expected, "{inner} inside {outer}");
        }
    }
}

/// The sealing and the opening end of a layer, which both know their cipher.
fn twins(mode: SessionMode) -> (Box<dyn Layer>, Box<dyn Layer>) {
    let (wide, narrow) = (|| Secret::new([1; 32]), || Secret::new([2; 16]));
    let layer = |role, outbound: [u8; 16], inbound: [u8; 16]| -> Box<dyn Layer> {
        match (mode.cipher, mode.version) {
            (SessionCipher::Ctr, EngineVersion::V1) => {
                Box::new(CtrLayer::aes_256(&wide(), &outbound, &inbound))
            }
            (SessionCipher::Ctr, EngineVersion::V2) => {
                Box::new(CtrLayer::aes_128(&narrow(), &outbound, &inbound))
            }
            (SessionCipher::Gcm, EngineVersion::V1) => {
                Box::new(GcmLayer::aes_256(wide(), role, Box::new(OsRandom)))
            }
            (SessionCipher::Gcm, EngineVersion::V2) => {
                Box::new(GcmLayer::aes_128(narrow(), role, Box::new(OsRandom)))
            }
        }
    };
    (layer(Role::Client, [3; 16], [4; 16]), layer(Role::Server, [4; 16], [3; 16]))
}

#[tokio::test]
async fn region_truncated_after_its_head_was_queued_is_an_error() {
    let file = File::of(10_000);
    for left in [0, 1, 5000, 9999] {
        fs::write(&file.path, &file.content).unwrap();
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        outbox.push(bytes(b"head"));
        outbox.push(Outbound::Region(Body::new(file.region(0, 10_000))));
        truncate(&file.path, left);
        let error = say(&mut outbox, &mut Stack::default()).await.unwrap_err();
        assert!(matches!(error, OutboxError::Read(ReadError::Truncated { .. })), "{left}: {error}");
    }
}

fn truncate(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[tokio::test]
async fn budget_is_never_exceeded_and_everybody_gets_a_turn() {
    let file = Arc::new(File::of(300_000));
    // Half of 1 MiB is for segments: four of these.
    let pool = pool(128 << 10);
    let most = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (file, pool, most) = (Arc::clone(&file), pool.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                let mut outbox = Outbox::new(pool.clone(), Lane::new(1));
                outbox.push(Outbound::Region(Body::new(file.region(0, 300_000))));
                let (mut stack, mut said) = (Stack::default(), Vec::new());
                while !outbox.is_empty() {
                    outbox.prepare(&mut stack).await.unwrap();
                    most.fetch_max(pool.budget().in_use(), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    said.extend_from_slice(outbox.unwritten());
                    outbox.wrote(outbox.unwritten().len());
                }
                assert!(said == file.content);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!((128 << 10..=512 << 10).contains(&most.load(Ordering::Relaxed)));
    assert_eq!(pool.budget().in_use(), 0);
}

#[tokio::test]
async fn share_larger_than_the_budget_is_cut() {
    let pool = SegmentPool::new(Budget::new(1 << 20), 8 << 20, 2);
    let half = 512 << 10;
    let segment = pool.segment(1, false).await;
    assert!((half * 3 / 4..half).contains(&pool.budget().in_use()), "{}", pool.budget().in_use());
    // Large requests have their own half, so that a segment in hand and a request in arrival never wait for each
    // other.
    let request = pool.for_request(u64::MAX).await;
    assert!(pool.budget().in_use() > half);
    drop((segment, request));
    assert_eq!(pool.budget().in_use(), 0);
}

/// The output in its pieces.
#[derive(Debug, Eq, PartialEq)]
enum Went {
    Segment(usize),
    Stretch(u64),
}

/// The same as [`say`], to a socket that takes files, at most `most` bytes of one at once; sending fails after
/// `fails_after` bytes.
async fn send(
    outbox: &mut Outbox,
    stack: &mut Stack,
    most: usize,
    fails_after: usize,
) -> Result<(Vec<u8>, Vec<Went>), OutboxError> {
    let (mut said, mut went) = (Vec::new(), Vec::new());
    outbox.send_files();
    loop {
        outbox.prepare(stack).await?;
        if let Some(Stretch { file, offset, len }) = outbox.stretch() {
            assert!(outbox.unwritten().is_empty());
            if said.len() >= fails_after {
                outbox.send_no_files();
                continue;
            }
            let mut bytes = vec![0; usize::try_from(len).unwrap().min(most)];
            let n = rustix::io::pread(file.fd(), &mut bytes, offset).unwrap();
            said.extend_from_slice(&bytes[..n]);
            went.push(Went::Stretch(n as u64));
            outbox.sent(n);
        } else if !outbox.unwritten().is_empty() {
            said.extend_from_slice(outbox.unwritten());
            went.push(Went::Segment(outbox.unwritten().len()));
            outbox.wrote(outbox.unwritten().len());
        } else {
            assert!(outbox.is_empty(), "nothing to write, and yet not empty");
            return Ok((said, went));
        }
    }
}

const LARGE: usize = SENT_FROM as usize;

#[tokio::test]
async fn large_body_in_the_page_cache_needs_no_segment_on_a_clear_connection() {
    let file = File::of(LARGE + 17);
    if !is_at_hand(&file.region(0, 1), 0, 1) {
        return println!("this file system never reads without waiting");
    }
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    let counter = Arc::new(AtomicU64::new(0));
    outbox.push(bytes(b"head"));
    let body = Body::counted(file.region(0, file.content.len() as u64), Ticket::take(&counter));
    outbox.push(Outbound::Region(body));
    outbox.push(bytes(b"next"));
    let (said, went) = send(&mut outbox, &mut Stack::default(), usize::MAX, usize::MAX).await.unwrap();
    assert!(said == [b"head", &file.content[..], b"next"].concat());
    let expected = [Went::Segment(4), Went::Stretch(file.content.len() as u64), Went::Segment(4)];
    assert_eq!(went, expected);
    assert_eq!(counter.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn stretches_are_bounded_and_hold_no_memory() {
    let file = File::of(3 * STRETCH as usize + 17);
    let pool = pool(SEGMENT);
    let mut outbox = Outbox::new(pool.clone(), Lane::new(1));
    outbox.send_files();
    outbox.push(Outbound::Region(Body::new(file.region(0, file.content.len() as u64))));
    outbox.prepare(&mut Stack::default()).await.unwrap();
    if let Some(stretch) = outbox.stretch() {
        assert_eq!((stretch.len, pool.budget().in_use()), (STRETCH, 0));
        assert!(!outbox.is_empty());
    }
}

#[tokio::test]
async fn small_bodies_share_a_segment_where_files_are_sent() {
    let file = File::of(2 * SEGMENT);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    for _ in 0..10 {
        outbox.push(bytes(b"head"));
        outbox.push(Outbound::Region(Body::new(file.region(3, 300))));
    }
    let (_, went) = send(&mut outbox, &mut Stack::default(), usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(went, [Went::Segment(3040)]);
}

#[tokio::test]
async fn what_is_sealed_never_goes_out_as_it_is() {
    let file = File::of(2 * LARGE);
    for mode in MODES {
        let (sealing, opening) = twins(mode);
        let (mut here, mut there) = (Stack::default(), Stack::default());
        here.push(sealing);
        there.push(opening);
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        outbox.push(Outbound::Region(Body::new(file.region(0, file.content.len() as u64))));
        let (said, went) = send(&mut outbox, &mut here, usize::MAX, usize::MAX).await.unwrap();
        assert!(went.iter().all(|went| matches!(went, Went::Segment(_))), "{mode}");
        assert!(open(&mut there, &said, 5000) == file.content, "{mode}");
    }
}

#[tokio::test]
async fn layer_installed_behind_a_stretch_seals_what_follows() {
    let file = File::of(2 * LARGE);
    let (sealing, opening) = twins(MODES[0]);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    let region = || Outbound::Region(Body::new(file.region(0, file.content.len() as u64)));
    [region(), Outbound::Layer(sealing), region()].into_iter().for_each(|part| outbox.push(part));
    let (said, _) = send(&mut outbox, &mut Stack::default(), 5000, usize::MAX).await.unwrap();
    let sealed = said.strip_prefix(&file.content[..]).unwrap();
    let mut there = Stack::default();
    there.push(opening);
    assert!(open(&mut there, sealed, 5000) == file.content);
}

#[tokio::test]
async fn body_that_the_page_cache_may_not_have_is_read() {
    let file = File::of(2 * LARGE);
    let region = file.region(0, file.content.len() as u64);
    // The answer of a file system that cannot tell which bytes are in the page cache.
    region.file().unwrap().never_now.store(true, Ordering::Relaxed);
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    outbox.push(bytes(b"head"));
    outbox.push(Outbound::Region(Body::new(region)));
    let (said, went) = send(&mut outbox, &mut Stack::default(), usize::MAX, usize::MAX).await.unwrap();
    assert!(said == [b"head", &file.content[..]].concat());
    assert!(went.iter().all(|went| matches!(went, Went::Segment(_))));
}

#[tokio::test]
async fn what_a_socket_does_not_send_is_read() {
    let file = File::of(3 * STRETCH as usize);
    for fails_after in [0, 4, 5000, STRETCH as usize, STRETCH as usize + 1] {
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        outbox.push(bytes(b"head"));
        outbox.push(Outbound::Region(Body::new(file.region(0, file.content.len() as u64))));
        outbox.push(bytes(b"next"));
        let (said, went) = send(&mut outbox, &mut Stack::default(), 4999, fails_after).await.unwrap();
        assert!(said == [b"head", &file.content[..], b"next"].concat(), "{fails_after}");
        assert!(went.len() > 3 * STRETCH as usize / 5000);
    }
}

#[tokio::test]
async fn ticket_counts_until_its_body_has_gone_out() {
    let file = File::of(3 * SEGMENT);
    let counter = Arc::new(AtomicU64::new(0));
    let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
    for _ in 0..2 {
        let region = file.region(0, 3 * SEGMENT as u64);
        outbox.push(Outbound::Region(Body::counted(region, Ticket::take(&counter))));
    }
    assert_eq!(counter.load(Ordering::Relaxed), 2);
    say(&mut outbox, &mut Stack::default()).await.unwrap();
    assert_eq!(counter.load(Ordering::Relaxed), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With every stack, a segment that is filled to its plain capacity still fits when sealed.
    #[test]
    fn plain_capacity_never_overflows(
        bytes in 0..200_000usize, modes in proptest::collection::vec(0..4usize, 0..3),
    ) {
        let mut stack = Stack::default();
        for mode in modes {
            stack.push(twins(MODES[mode]).0);
        }
        let room = stack.plain_capacity(bytes);
        prop_assert!(room <= bytes);
        let mut segment = Segment::with_capacity(bytes);
        segment.reset(stack.layout());
        prop_assert_eq!(segment.put(&vec![7; room]), room);
        stack.seal(&mut segment).unwrap();
        prop_assert!(segment.sealed().len() <= bytes);
        prop_assert!(room == 0 || segment.sealed().len() >= room);
    }
}

/// Yields a few bytes at a time, every other time only to a caller that waits; fails or ends too early at `fails_at`.
#[derive(Debug)]
struct Pulled {
    content: Bytes,
    announced: u64,
    taken: usize,
    ready: usize,
    is_next_ready: bool,
    fails_at: Option<usize>,
    /// The bytes go directly to their target: all of a few, or none.
    is_straight: bool,
}

impl Pulled {
    fn of(content: Vec<u8>) -> Self {
        let announced = content.len() as u64;
        let content = Bytes::from(content);
        Self {
            content,
            announced,
            taken: 0,
            ready: 0,
            is_next_ready: true,
            fails_at: None,
            is_straight: false,
        }
    }

    fn body(self) -> Body {
        Body::pulled(Box::new(self), Ticket::take(&Arc::default()))
    }

    fn fill(&mut self) -> Result<(), PullError> {
        if self.fails_at.is_some_and(|at| self.taken >= at) {
            return Err(PullError("damaged".to_owned()));
        }
        self.ready = (self.content.len() - self.taken).min(1234);
        Ok(())
    }
}

impl Pull for Pulled {
    fn remaining(&self) -> u64 {
        self.announced - self.taken as u64
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        if self.ready > 0 {
            return Ok(true);
        }
        self.is_next_ready = !self.is_next_ready;
        if self.is_next_ready {
            self.fill()?;
        }
        Ok(self.is_next_ready)
    }

    fn fill_blocking(&mut self, _: &OnLane) -> Result<(), PullError> {
        self.fill()
    }

    fn put_now(&mut self, out: &mut [u8]) -> Result<Option<usize>, PullError> {
        if !self.is_straight || self.ready > 0 {
            return Ok(None);
        }
        self.fill()?;
        let n = std::mem::take(&mut self.ready);
        if n > out.len() {
            return Ok(Some(0));
        }
        out[..n].copy_from_slice(&self.content[self.taken..self.taken + n]);
        self.taken += n;
        Ok((n > 0).then_some(n))
    }

    fn plain(&self) -> &[u8] {
        &self.content[self.taken..self.taken + self.ready]
    }

    fn consume(&mut self, n: usize) {
        self.taken += n;
        self.ready -= n;
    }
}

#[tokio::test]
async fn what_is_pulled_goes_out_whole_in_every_cipher() {
    let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    for (mode, is_straight) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let (sealing, opening) = ends(mode);
        let (mut here, mut there) = (Stack::default(), Stack::default());
        here.push(sealing);
        there.push(opening);
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        let head = frame(content.len());
        outbox.push(Outbound::Bytes(head.clone()));
        outbox.push(Outbound::Region(Pulled { is_straight, ..Pulled::of(content.clone()) }.body()));
        outbox.push(Outbound::Bytes(frame(3)));
        let (said, segments) = say(&mut outbox, &mut here).await.unwrap();
        assert!(segments > 20, "{segments}");
        let plain = open(&mut there, &said, 777);
        let heads = head.len() - content.len();
        assert!(plain[head.len()..].starts_with(&content), "{mode}");
        assert_eq!(plain.len(), heads + 2 * content.len() + frame(3).len(), "{mode}");
    }
}

#[tokio::test]
async fn what_cannot_be_pulled_to_its_end_is_an_error() {
    for (fails_at, announced) in [(Some(50_000), 100_000), (None, 100_001), (None, 99_999)] {
        let pulled = Pulled { fails_at, announced, ..Pulled::of(vec![7; 100_000]) };
        let mut outbox = Outbox::new(pool(SEGMENT), Lane::new(1));
        outbox.push(Outbound::Region(pulled.body()));
        let error = say(&mut outbox, &mut Stack::default()).await.unwrap_err();
        assert!(matches!(error, OutboxError::Pull(_)), "{error}");
    }
}

/// Seals block bytes in each way, and tells how many segments each phase has counted.
async fn counted(pool: SegmentPool, layer: Option<Box<dyn Layer>>, out: Vec<Outbound>) -> [u64; 4] {
    let phases = Arc::new(Phases::of_every_segment());
    let mut outbox = Outbox::new(pool.with_phases(Arc::clone(&phases)), Lane::new(1));
    let mut stack = Stack::default();
    if let Some(layer) = layer {
        stack.push(layer);
    }
    out.into_iter().for_each(|item| outbox.push(item));
    while !outbox.is_empty() {
        outbox.prepare(&mut stack).await.unwrap();
        let before = phases.figures(Phase::Socket).count;
        let ready = outbox.unwritten().len();
        outbox.wrote(ready - 1);
        assert_eq!(phases.figures(Phase::Socket).count, before, "the last byte counts");
        outbox.wrote(1);
    }
    Phase::ALL.map(|phase| phases.figures(phase).count)
}

#[tokio::test]
async fn one_segment_in_eight_is_measured_and_connections_begin_at_different_ones() {
    let file = File::of(16 * SEGMENT);
    let phases = Arc::new(Phases::default());
    let pool = pool(SEGMENT).with_phases(Arc::clone(&phases));
    for connections in 1..=8 {
        let mut outbox = Outbox::new(pool.clone(), Lane::new(1));
        outbox.push(Outbound::Region(Body::new(file.region(0, 16 * SEGMENT as u64))));
        say(&mut outbox, &mut Stack::default()).await.unwrap();
        assert_eq!(phases.figures(Phase::Disk).count, 2 * connections, "of 16 segments each");
    }
    // Of connections with one segment each, one in eight is measured, too.
    for _ in 0..16 {
        let mut outbox = Outbox::new(pool.clone(), Lane::new(1));
        outbox.push(Outbound::Region(Body::new(file.region(0, 1))));
        say(&mut outbox, &mut Stack::default()).await.unwrap();
    }
    assert_eq!(phases.figures(Phase::Disk).count, 16 + 2);
}

#[tokio::test]
async fn each_segment_of_blocks_is_counted_once_in_each_phase_and_what_holds_none_in_none() {
    let file = File::of(3 * SEGMENT);
    let body = || Outbound::Region(Body::new(file.region(0, 2 * SEGMENT as u64 + 1)));
    let head = || Outbound::Bytes(Bytes::from_static(b"head"));
    let gcm = GcmLayer::aes_256(Secret::new([7; 32]), Role::Server, Box::new(OsRandom));
    let sealed = counted(pool(SEGMENT), Some(Box::new(gcm)), vec![head(), body()]).await;
    assert!(sealed[0] >= 3 && sealed == [sealed[0]; 4], "{sealed:?}");
    let clear = counted(pool(SEGMENT), None, vec![head(), body()]).await;
    assert_eq!(clear, [3, 3, 0, 3], "nothing is sealed in clear");
    let answers = counted(pool(SEGMENT), None, vec![head(), head()]).await;
    assert_eq!(answers, [0; 4]);
    let behind_a_boundary = vec![head(), Outbound::Boundary, body()];
    assert_eq!(counted(pool(SEGMENT), None, behind_a_boundary).await, [3, 3, 0, 3], "the head went alone");
}

/// Notes what it is told.
#[derive(Debug, Default)]
struct Notes {
    phases: Mutex<Vec<(Phase, Instant, Duration)>>,
    sent: AtomicU64,
}

impl Notes {
    fn times(&self, of: Phase) -> usize {
        self.phases.lock().unwrap().iter().filter(|(phase, ..)| *phase == of).count()
    }
}

impl Watcher for Notes {
    fn was_in(&self, phase: Phase, began: Instant, time: Duration) {
        self.phases.lock().unwrap().push((phase, began, time));
    }

    fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// An outbox in which a body of `len` bytes waits that is watched; no segment counts for all.
fn watched(file: &File, len: u64) -> (Outbox, Arc<Phases>, Arc<Notes>) {
    let (phases, notes) = (Arc::new(Phases::default()), Arc::new(Notes::default()));
    let mut outbox = Outbox::new(pool(SEGMENT).with_phases(Arc::clone(&phases)), Lane::new(1));
    let watcher: Arc<dyn Watcher> = Arc::clone(&notes) as _;
    outbox.push(Outbound::Region(Body::new(file.region(0, len)).watched_by(Some(watcher))));
    (outbox, phases, notes)
}

#[tokio::test]
async fn whoever_watches_a_body_is_told_of_each_of_its_segments_and_all_count_no_more_of_them() {
    let file = File::of(3 * SEGMENT);
    let (mut outbox, phases, notes) = watched(&file, 3 * SEGMENT as u64);
    let mut stack = Stack::default();
    stack.push(Box::new(GcmLayer::aes_256(Secret::new([7; 32]), Role::Server, Box::new(OsRandom))));
    let began = Instant::now();
    say(&mut outbox, &mut stack).await.unwrap();
    for phase in [Phase::Queue, Phase::Cipher, Phase::Socket] {
        assert!(notes.times(phase) >= 3, "{phase:?}: {notes:?}");
    }
    assert_eq!(notes.sent.load(Ordering::Relaxed), 3 * SEGMENT as u64);
    assert_eq!(Arc::strong_count(&notes), 1, "nobody keeps what has gone out");
    assert_eq!(phases.figures(Phase::Socket).count, 0, "of the first seven segments none counts");
    let laps = notes.phases.lock().unwrap().clone();
    assert!(laps.iter().all(|(_, at, _)| *at >= began));
    let follow = |pair: &[(Phase, Instant, Duration)]| pair[0].1 + pair[0].2 <= pair[1].1;
    assert!(laps.windows(2).all(follow), "one lap follows the other: {laps:?}");
}

#[tokio::test]
async fn bodies_in_one_segment_are_told_of_their_own_bytes_and_others_of_none() {
    let file = File::of(3000);
    let (mut outbox, _, first) = watched(&file, 1000);
    outbox.push(Outbound::Region(Body::new(file.region(1000, 500))));
    let second = Arc::new(Notes::default());
    let watcher: Arc<dyn Watcher> = Arc::clone(&second) as _;
    outbox.push(Outbound::Region(Body::new(file.region(1500, 1500)).watched_by(Some(watcher))));
    outbox.prepare(&mut Stack::default()).await.unwrap();
    let len = outbox.unwritten().len();
    assert_eq!(len, 3000);
    outbox.wrote(len - 1);
    assert_eq!((first.sent.load(Ordering::Relaxed), first.times(Phase::Socket)), (0, 0), "not yet");
    outbox.wrote(1);
    assert_eq!((first.sent.load(Ordering::Relaxed), second.sent.load(Ordering::Relaxed)), (1000, 1500));
    assert_eq!((first.times(Phase::Socket), second.times(Phase::Socket)), (1, 1));
}

#[tokio::test]
async fn segment_that_the_socket_did_not_take_is_told_of_without_its_bytes() {
    let file = File::of(100);
    let (mut outbox, phases, notes) = watched(&file, 100);
    outbox.prepare(&mut Stack::default()).await.unwrap();
    outbox.wrote(99);
    drop(outbox);
    assert_eq!((notes.times(Phase::Socket), notes.sent.load(Ordering::Relaxed)), (1, 0));
    assert_eq!(phases.figures(Phase::Socket).count, 0);
    assert_eq!(Arc::strong_count(&notes), 1);
}

#[tokio::test]
async fn stretch_of_a_file_is_told_of_as_segments_are() {
    let len = 2 * STRETCH;
    let file = File::of(usize::try_from(len).unwrap());
    let (mut outbox, _, notes) = watched(&file, len);
    outbox.send_files();
    let mut stretches = 0;
    while !outbox.is_empty() {
        outbox.prepare(&mut Stack::default()).await.unwrap();
        match outbox.stretch().map(|stretch| usize::try_from(stretch.len).unwrap()) {
            Some(len) => {
                stretches += 1;
                outbox.sent(len - 1);
                outbox.sent(1);
            }
            // The page cache did not have it.
            None => outbox.wrote(outbox.unwritten().len()),
        }
    }
    assert_eq!(notes.sent.load(Ordering::Relaxed), len);
    assert!(notes.times(Phase::Socket) >= stretches, "{notes:?}");
    assert_eq!(Arc::strong_count(&notes), 1);
}
